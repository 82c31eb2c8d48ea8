use wpool::{ObjectError, Pool, Queue, Sender, SharedArray, SharedSlice, SubTasks, TaskError};
use wpool_tests::{OK_SHARED, bounded, pool};

use crate::{WPOOL, call};

fn two() -> Pool {
    pool(WPOOL, OK_SHARED).sub_tasks(SubTasks::default()).build().unwrap()
}

#[test]
fn guests_and_host_see_the_same_numbers() {
    bounded(|| {
        let pool = two();
        let squares: SharedArray<u64> = pool.manager().shared_array(1000).unwrap();
        let fill = pool.task::<(u64, u64, SharedArray<u64>), ()>("fill").unwrap();
        let parts = (0..10).map(|n| (n * 100, (n + 1) * 100, squares.clone()));
        assert_eq!(fill.map(parts).filter(Result::is_ok).count(), 10);
        assert_eq!((squares.get(31), squares.len()), (Ok(961), Ok(1000)));
        let sum: u64 = call(&pool, "sum", &squares.read_only()).result().unwrap();
        assert_eq!(sum, (0..1000).map(|n| n * n).sum::<u64>());
        squares.set(0, 1).unwrap();
        assert_eq!(call::<_, u64>(&pool, "sum", &squares.read_only()).result(), Ok(sum + 1));
    });
}

#[test]
fn additions_of_many_tasks_and_the_host_lose_nothing() {
    bounded(|| {
        let pool = two();
        let counts: SharedArray<i32> = pool.manager().shared_array(3).unwrap();
        let count = pool.task::<(u32, SharedArray<i32>), i32>("count").unwrap();
        let tasks: Vec<_> = (0..4).map(|_| count.submit(&(50_000, counts.clone())).unwrap()).collect();
        assert!((0..50_000).all(|_| counts.fetch_add(1, 1).is_ok()));
        assert!(tasks.iter().all(|task| task.result().is_ok()));
        assert_eq!(counts.to_vec(), Ok(vec![0, 250_000, 0]));
    });
}

#[test]
fn nothing_beside_an_array_is_reached() {
    bounded(|| {
        let pool = two();
        let array: SharedArray<u64> = pool.manager().shared_array(3).unwrap();
        let seen: Vec<String> = call(&pool, "stray", &(array.clone(), array.read_only())).result().unwrap();
        let expected =
            ["Err(NotFound)", "Err(NotFound)", "Err(NotFound) [7, 7, 7, 7]", "Ok(0) Ok(3)", "Ok(false)"];
        assert_eq!(seen, expected);
        assert_eq!((array.get(3), array.to_vec()), (Err(ObjectError::NotFound), Ok(vec![0; 3])));
    });
}

#[test]
fn what_is_broadcast_is_read_by_all_and_written_by_nobody() {
    bounded(|| {
        let pool = two();
        let bytes: Vec<u8> = (0..3_000_000).map(|n| (n % 251) as u8).collect();
        let shared: SharedSlice<u8> = pool.manager().broadcast(&bytes).unwrap();
        let checksum = pool.task::<SharedSlice<u8>, u64>("checksum").unwrap();
        let expected: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        let all: Result<Vec<u64>, TaskError> = checksum.map((0..20).map(|_| shared.clone())).collect();
        assert_eq!(all, Ok(vec![expected; 20]));
        let empty: SharedSlice<u8> = pool.manager().broadcast(&[]).unwrap();
        assert_eq!(call::<_, u64>(&pool, "checksum", &empty).result(), Ok(0));
    });
}

#[test]
fn shared_memory_has_a_limit_and_is_given_back() {
    bounded(|| {
        let pool = pool(WPOOL, OK_SHARED).shared_memory(8_000).build().unwrap();
        let first: SharedArray<u64> = pool.manager().shared_array(600).unwrap();
        let quota = |array: Result<SharedArray<u64>, _>| matches!(array, Err(ObjectError::Quota(_)));
        assert!(quota(pool.manager().shared_array(401)) && quota(pool.manager().shared_array(usize::MAX)));
        call::<_, ()>(&pool, "fill", &(0u64, 600u64, first.clone())).result().unwrap();
        drop(first);
        // A thousand arrays, of which no worker may keep any.
        for n in 0..1000u64 {
            let next: SharedArray<u64> = pool.manager().shared_array(1000).unwrap();
            call::<_, ()>(&pool, "fill", &(n % 1000, n % 1000 + 1, next.clone())).result().unwrap();
            let at = usize::try_from(n % 1000).unwrap();
            assert_eq!(next.get(at), Ok((n % 1000) * (n % 1000)));
        }
    });
}

#[test]
fn handles_travel_in_results() {
    bounded(|| {
        let pool = two();
        let array: SharedArray<u64> = pool.manager().shared_array(2).unwrap();
        let queue: Queue<u32> = pool.manager().queue(10);
        let (slice, seven): (SharedSlice<u64>, u32) = call(&pool, "read_only", &array).result().unwrap();
        let sender = call::<_, Sender<u32>>(&pool, "sender", &queue);
        array.set(1, 5).unwrap();
        assert_eq!((slice.get(1), seven), (Ok(5), 7));
        // A result can be read many times, and each reading has the handle.
        sender.result().unwrap().put(&1).unwrap();
        sender.result().unwrap().put(&2).unwrap();
        assert_eq!(queue.get_many(10), Ok(vec![1, 2]));
        // What only a result holds lives as long as that.
        let alone = call::<_, Sender<u32>>(&pool, "sender", &pool.manager().queue::<u32>(1));
        assert_eq!(alone.result().unwrap().put(&1), Ok(()));
    });
}

#[test]
fn handles_travel_to_sub_tasks_and_back() {
    bounded(|| {
        let pool = two();
        let (queue, array) = (pool.manager().queue::<u32>(1), pool.manager().shared_array::<u64>(4).unwrap());
        let sum = call::<_, u64>(&pool, "family", &(queue.clone(), array.clone())).result();
        assert_eq!((sum, queue.get(), array.get(3)), (Ok(1 + 4 + 9), Ok(41), Ok(9)));
    });
}

#[test]
fn an_array_that_comes_through_a_queue_can_be_used_at_once() {
    bounded(|| {
        let pool = two();
        let arrays = pool.manager().queue::<SharedArray<u64>>(1);
        let writer = call::<_, ()>(&pool, "from_queue", &arrays);
        let array = pool.manager().shared_array::<u64>(1).unwrap();
        arrays.put(&array).unwrap();
        writer.result().unwrap();
        assert_eq!(array.get(0), Ok(99));
    });
}

#[test]
fn a_right_that_was_not_passed_on_is_not_there() {
    bounded(|| {
        let pool = two();
        let other = wpool_tests::pool(WPOOL, wpool_tests::BAD_OBJECTS);
        let bad = pool.load(other.build().unwrap().guest().clone(), &wpool::GuestSettings::new()).unwrap();
        let array: SharedArray<u64> = pool.manager().shared_array(2).unwrap();
        // A guest has the whole array, and hands out what is to be read only.
        let (slice, _): (SharedSlice<u64>, u32) = call(&pool, "read_only", &array).result().unwrap();
        let queue: Queue<u32> = pool.manager().queue(1);
        let overreach =
            bad.task::<(SharedArray<u64>, SharedSlice<u64>, Queue<u32>), Vec<u32>>("overreach").unwrap();
        let statuses = overreach.apply(&(array.clone(), slice, queue)).unwrap();
        assert_eq!(statuses[..2], [2, 2], "it is not its right");
    });
}

#[test]
fn inputs_may_hold_the_only_handles_on_their_objects() {
    bounded(|| {
        let pool = two();
        let sum = pool.task::<SharedSlice<u64>, u64>("sum").unwrap();
        let manager = pool.manager();
        let inputs = (0..3000).map(|_| manager.shared_array::<u64>(10).unwrap().read_only());
        assert!(sum.map(inputs).all(|sum| sum == Ok(0)));
    });
}

#[test]
fn what_a_barrier_does_may_hold_the_last_handle_on_another_object() {
    bounded(|| {
        let pool = two();
        let value = pool.manager().value(&0u32).unwrap();
        let barrier = pool.manager().barrier_with(1, {
            let value = value.clone();
            move || drop(value.update(|value| value + 1))
        });
        assert_eq!((barrier.wait(), value.get()), (Ok(0), Ok(1)));
        drop(value);
        drop(barrier);
        assert_eq!(pool.manager().event().is_set(), Ok(false), "the pool goes on");
    });
}
