//! Managers that stand alone: their objects are shared by pools, processes and the host.

use std::thread;

use wpool::{
    Array, Dict, Event, List, Lock, Manager, ObjectError, Process, Queue, Semaphore, Sender, TaskError, Value,
};
use wpool_tests::{FAIL_EXIT, OK_OBJECTS, OK_SHARED, bounded, load, pool};

use crate::{WPOOL, call};

#[test]
fn one_queue_joins_a_process_a_pool_and_the_host() {
    bounded(|| {
        let guest = load(WPOOL, OK_OBJECTS);
        let manager = Manager::new();
        let queue: Queue<u32> = manager.queue(10);
        let producer = Process::builder(guest.clone())
            .start::<(u32, Sender<u32>), ()>("produce", &(1000, queue.sender()))
            .unwrap();
        let pools = [pool(WPOOL, OK_OBJECTS).build().unwrap(), pool(WPOOL, OK_OBJECTS).build().unwrap()];
        let consumers = pools.each_ref().map(|pool| call::<_, Vec<u32>>(pool, "consume", &queue.receiver()));
        producer.result().unwrap();
        queue.put(&1000).unwrap();
        queue.close().unwrap();
        let [one, other] = consumers.map(|future| future.result().unwrap());
        let mut all = [one, other].concat();
        all.sort_unstable();
        assert_eq!(all, (0..=1000).collect::<Vec<_>>());
        assert!(producer.join(None) && producer.exit_code() == Some(0));
    });
}

#[test]
fn a_handle_reaches_its_own_managers_object_and_no_other() {
    bounded(|| {
        // Both pools and the manager have a first queue, which the same number named once.
        let pools = [pool(WPOOL, OK_OBJECTS).build().unwrap(), pool(WPOOL, OK_OBJECTS).build().unwrap()];
        let [own, foreign]: [Queue<u32>; 2] = pools.each_ref().map(|pool| pool.manager().queue(10));
        let third: Queue<u32> = Manager::new().queue(10);
        for (n, queue) in (1..).zip([&own, &foreign, &third]) {
            queue.put(&n).unwrap();
        }
        for (n, queue) in (1..).zip([&own, &foreign, &third]) {
            let taken: u32 = call(&pools[0], "wait_for_one", &queue.receiver()).result().unwrap();
            assert_eq!((taken, queue.qsize()), (n, Ok(0)));
        }
    });
}

#[test]
fn a_lock_of_a_process_that_dies_is_released_for_tasks_of_a_pool() {
    bounded(|| {
        let manager = Manager::new();
        let (lock, held, go): (Lock, Event, Event) = (manager.lock(), manager.event(), manager.event());
        let process = Process::builder(load(WPOOL, OK_OBJECTS))
            .start::<_, ()>("hold_until", &(lock.clone(), held.clone(), go))
            .unwrap();
        held.wait().unwrap();
        let pool = pool(WPOOL, OK_OBJECTS).build().unwrap();
        let waits = call::<_, bool>(&pool, "sees_locked", &lock);
        assert!(waits.result().unwrap());
        process.kill();
        assert!(process.join(None) && process.exit_code() == Some(-9));
        assert!(lock.acquire().unwrap().poisoned());
    });
}

#[test]
fn a_cycle_of_waits_between_two_pools_is_found() {
    bounded(|| {
        let manager = Manager::new();
        let (a, b): (Lock, Lock) = (manager.lock(), manager.lock());
        let (held, go): (Semaphore, Event) = (manager.semaphore(0), manager.event());
        let pools = [pool(WPOOL, OK_OBJECTS).build().unwrap(), pool(WPOOL, OK_OBJECTS).build().unwrap()];
        let tasks = [(&pools[0], (&a, &b)), (&pools[1], (&b, &a))].map(|(pool, (first, second))| {
            call::<_, bool>(pool, "two_locks", &(first.clone(), second.clone(), held.clone(), go.clone()))
        });
        held.acquire().unwrap().forget();
        held.acquire().unwrap().forget();
        go.set().unwrap();
        let results = tasks.map(|task| task.result());
        let told = |result: &&Result<bool, TaskError>| matches!(result, Err(TaskError::Guest(error)) if error.to_string().starts_with("deadlock: "));
        assert_eq!(results.iter().filter(told).count(), 1, "the younger one is told: {results:?}");
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    });
}

#[test]
fn shared_memory_of_a_manager_is_mapped_by_workers_of_any_pool() {
    bounded(|| {
        let manager = Manager::with_shared_memory(1 << 16);
        assert!(matches!(manager.shared_array::<u64>(10_000), Err(ObjectError::Quota(_))));
        let array = manager.shared_array::<i32>(4).unwrap();
        let pools = [pool(WPOOL, OK_SHARED).build().unwrap(), pool(WPOOL, OK_SHARED).build().unwrap()];
        let counting = pools.each_ref().map(|pool| call::<_, i32>(pool, "count", &(1000u32, array.clone())));
        for future in counting {
            future.result().unwrap();
        }
        assert_eq!(array.get(1), Ok(2000), "both pools have the same memory");
    });
}

#[test]
fn an_object_outlives_its_manager_and_its_pools_by_a_handle() {
    bounded(|| {
        let list: List<u32> = Manager::new().list();
        let value: Value<i64> = {
            let pool = pool(WPOOL, OK_OBJECTS).build().unwrap();
            let value = pool.manager().value(&1).unwrap();
            call::<_, ()>(&pool, "update", &(3u32, value.clone())).result().unwrap();
            value
        };
        list.append(&5).unwrap();
        assert_eq!((list.get(0), value.get()), (Ok(5), Ok(4)));
    });
}

#[test]
fn a_host_thread_that_waits_for_a_process_is_answered_by_it() {
    bounded(|| {
        let (event, there): (Event, Semaphore) = (Manager::new().event(), Manager::new().semaphore(0));
        let process = Process::builder(load(WPOOL, OK_OBJECTS))
            .start::<_, ()>("wait_for_event", &(event.clone(), there.clone()))
            .unwrap();
        let waiting = thread::spawn(move || there.acquire().map(|permit| permit.forget()));
        assert!(waiting.join().unwrap().is_ok());
        event.set().unwrap();
        assert!(process.join(None) && process.exit_code() == Some(0));
    });
}

#[test]
fn b110_a_process_has_the_exit_code_that_its_guest_asks_for() {
    bounded(|| {
        let guest = load(WPOOL, FAIL_EXIT);
        for code in [0, 3, 255, i32::MAX] {
            let process = Process::builder(guest.clone()).start::<i32, i32>("leave", &code).unwrap();
            assert!(process.pid().is_some() && process.name() == "leave" && !process.is_daemon());
            assert!(process.join(None));
            assert_eq!(
                (process.exit_code(), process.result()),
                (Some(code), Err(TaskError::Exited { code }))
            );
        }
        let named =
            Process::builder(guest).name("Process-1").daemon(true).start::<i32, i32>("leave", &-1).unwrap();
        assert_eq!((named.name(), named.is_daemon(), named.result()), ("Process-1", true, Ok(-1)));
        assert!(named.join(None) && named.exit_code() == Some(0));
    });
}

#[test]
fn b104_lists_and_dictionaries_have_what_pythons_have() {
    bounded(|| {
        let manager = Manager::new();
        let list: List<String> = manager.list();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        list.extend(&words("pear fig apple fig")).unwrap();
        assert_eq!((list.index(&"fig".to_owned()), list.count(&"fig".to_owned())), (Ok(1), Ok(2)));
        assert_eq!(list.contains(&"plum".to_owned()), Ok(false));
        list.sort().unwrap();
        assert_eq!(list.to_vec().unwrap(), words("apple fig fig pear"));
        list.reverse().unwrap();
        assert_eq!(list.slice(0, -2).unwrap(), words("pear fig"));
        list.splice(1, 3, &words("kiwi")).unwrap();
        assert_eq!(list.iter().unwrap().collect::<Vec<_>>(), words("pear kiwi apple"));
        let array: Array<u32> = manager.array(&[3, 1, 2]).unwrap();
        array.sort().unwrap();
        assert_eq!(array.to_vec().unwrap(), [1, 2, 3]);

        let dict: Dict<String, u32> = manager.dict();
        let entries = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        dict.update(entries.iter().map(|(key, value)| (key, value))).unwrap();
        assert_eq!((dict.contains(&"a".to_owned()), dict.values()), (Ok(true), Ok(vec![1, 2])));
        assert_eq!(dict.iter().unwrap().collect::<Vec<_>>(), entries);
        assert_eq!(dict.popitem(), Ok(Some(("b".to_owned(), 2))));
        assert_eq!((dict.popitem().unwrap().is_some(), dict.popitem()), (true, Ok(None)));
    });
}

#[test]
fn a_list_is_sorted_while_others_change_it_and_loses_nothing() {
    bounded(|| {
        let list: List<u32> = Manager::new().list();
        let numbers: Vec<u32> = (0..200).map(|n| n * 7919 % 200).collect();
        thread::scope(|scope| {
            let (appends, sorts) = (list.clone(), list.clone());
            scope.spawn(move || numbers.iter().for_each(|number| appends.append(number).unwrap()));
            scope.spawn(move || (0..50).for_each(|_| sorts.sort().unwrap()));
        });
        list.sort().unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..200).collect::<Vec<_>>());
    });
}
