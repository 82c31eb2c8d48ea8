use std::cell::Cell;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use wpool::{GuestSettings, MapEnd, NotYet, PendingTasks, Pool, Process, Status, Task, TaskError, Wait};
use wpool_tests::{bounded, load, pool};

use crate::{WPOOL, until};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn squares() -> (Pool, Task<i64, i64>) {
    let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
    let square = pool.task("square").unwrap();
    (pool, square)
}

/// One worker, whose tasks take as long as they are told.
pub(crate) fn slow() -> (Pool, Task<u32, u64>) {
    let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
    let work = pool.task("work").unwrap();
    (pool, work)
}

#[test]
fn b03_b29_b30_numbers_that_make_no_sense_are_errors_at_once() {
    bounded(|| {
        let (pool, square) = squares();
        let zero = Pool::builder(pool.guest().clone()).workers(0).build().unwrap_err();
        assert_eq!(zero.to_string(), "workers cannot be 0: no worker would run the tasks");
        let chunk = square.clone().chunk(0).unwrap_err();
        assert_eq!(chunk.to_string(), "chunk cannot be 0: no task would ever be sent");
        let buffer = square.clone().buffer(0).unwrap_err();
        assert_eq!(buffer.to_string(), "buffer cannot be 0: no input would ever be pulled");
        for chunk in [1, 2, 7, 100, u32::MAX] {
            let chunked = square.clone().chunk(chunk).unwrap();
            assert!(chunked.map(0..50).map(Result::unwrap).eq((0..50).map(|n| n * n)), "{chunk}");
        }
    });
}

#[test]
fn b04_b05_b06_b07_b08_b14_states_follow_one_another() {
    bounded(|| {
        let (_pool, work) = slow();
        let running = work.submit(&3_000_000).unwrap();
        until("it begins", || running.running());
        let pending = work.submit(&1).unwrap();
        assert_eq!((running.status(), pending.status()), (Status::Running, Status::Pending));
        assert!(!running.cancel() && !running.cancelled() && !running.done(), "it is too late");
        assert_eq!(running.result_timeout(Duration::ZERO), Err(NotYet(Duration::ZERO)));
        assert_eq!(pending.result_timeout(MS), Err(NotYet(MS)));
        let (sender, told) = channel();
        pending.add_done_callback(move |future| sender.send(future.status()).unwrap());
        let waiter = {
            let pending = pending.clone();
            std::thread::spawn(move || pending.result())
        };
        assert!(pending.cancel() && pending.cancel(), "twice is once");
        assert_eq!(waiter.join().unwrap(), Err(TaskError::Cancelled));
        assert_eq!(told.recv().unwrap(), Status::Cancelled);
        assert!(pending.done() && pending.cancelled() && !pending.running());
        running.kill();
        assert_eq!(running.result(), Err(TaskError::Killed));
        assert!(!running.cancel() && running.status() == Status::Finished && !running.running());
    });
}

#[test]
fn b09_why_there_is_no_value_can_be_asked() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap();
        assert_eq!(half.submit(&4).unwrap().exception(), None);
        assert!(matches!(half.submit(&3).unwrap().exception(), Some(TaskError::Guest(_))));
        let (_slow, work) = slow();
        let long = work.submit(&3_000_000).unwrap();
        assert_eq!(long.exception_timeout(MS), Err(NotYet(MS)));
        long.kill();
    });
}

#[test]
fn b19_b64_a_closed_pool_says_by_whom_and_an_open_one_cannot_be_joined() {
    bounded(|| {
        let (pool, square) = squares();
        let open = pool.join().unwrap_err();
        assert_eq!(open.to_string(), "the pool still takes tasks: call `close` or `terminate` before `join`");
        pool.close();
        pool.close();
        assert_eq!(square.submit(&1).unwrap_err().to_string(), "the pool is closed: `close` was called");
        let mut late = square.map([1, 2]);
        let end = MapEnd::PoolClosed("`close`");
        assert_eq!(late.next(), Some(Err(TaskError::MapEnded { end, pulled: 0 })));
        pool.join().unwrap();
        pool.join().unwrap();
    });
}

#[test]
fn b20_b21_b26_b27_b36_results_stand_in_the_places_of_their_inputs() {
    bounded(|| {
        let pool_of_two = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool_of_two.task::<u32, u64>("work").unwrap();
        let figures: Vec<u64> = work.map([200_000, 1, 1, 1]).map(Result::unwrap).collect();
        assert_eq!(figures[1..], [figures[1]; 3], "the slow one is first all the same");
        let halves = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = halves.task::<i64, i64>("half").unwrap();
        for chunk in [None, Some(3)] {
            let results: Vec<_> = half.clone().chunk(chunk).unwrap().map(0..6).collect();
            let odd: Vec<bool> = results.iter().map(Result::is_err).collect();
            assert_eq!(odd, [false, true, false, true, false, true], "each error in its own place");
            assert_eq!(results[4], Ok(2), "and what comes after it comes");
        }
        // Several inputs are one of tuples, as long as the shortest.
        let echo = pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let repeat = echo.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        let words = ["a", "b", "c"].map(str::to_owned);
        let inputs = words.into_iter().zip(1..=2).map(|(word, times)| (word, times, None));
        let repeated: Result<Vec<_>, _> = repeat.starmap(inputs).collect();
        assert_eq!(repeated.unwrap(), ["a", "bb"]);
    });
}

#[test]
fn b22_b31_b32_b33_b40_input_is_read_as_far_as_it_may_be() {
    bounded(|| {
        let (pool, square) = squares();
        let pulled = Cell::new(0usize);
        let counted = || (0i64..).inspect(|_| pulled.set(pulled.get() + 1));
        let map = square.clone().buffer(7).unwrap().map(counted());
        assert_eq!(pulled.get(), 7, "after the call exactly the buffer was taken");
        until("work is done without anybody asking", || pool.stats().succeeded == 7);
        let results: Vec<_> = map.take(100).collect();
        assert!(pulled.get() <= 107 && results.len() == 100, "{}", pulled.get());
        assert_eq!(square.map([]).count(), 0);
        let both = (0i64..).zip(1i64..).map(|(a, b)| a + b);
        assert_eq!(square.clone().buffer(3).unwrap().imap(both).take(4).last(), Some(Ok(49)));
    });
}

#[test]
fn b28_a_map_that_is_closed_gives_nothing_more_and_cancels_the_rest() {
    bounded(|| {
        let (pool, work) = slow();
        let mut map = work.map(std::iter::repeat_n(20_000, 100));
        assert!(map.next().unwrap().is_ok());
        map.close();
        assert_eq!(map.next(), None);
        until("the rest is cancelled", || pool.stats().queued == 0 && pool.stats().in_flight == 0);
        assert!(pool.stats().succeeded < 50, "{:?}", pool.stats());
        work.apply(&1).unwrap();
    });
}

#[test]
fn b37_b38_a_result_that_is_late_is_not_lost() {
    bounded(|| {
        let (_pool, work) = slow();
        let mut map = work.imap([200_000, 1]);
        assert_eq!(map.next_timeout(MS), Err(NotYet(MS)));
        assert!(map.next().unwrap().is_ok() && map.next().unwrap().is_ok() && map.next().is_none());
        let mut unordered: Vec<_> = work.imap_unordered([3, 1, 2]).map(Result::unwrap).collect();
        let mut ordered: Vec<_> = work.imap([1, 2, 3]).map(Result::unwrap).collect();
        unordered.sort_unstable();
        ordered.sort_unstable();
        assert_eq!(unordered, ordered);
    });
}

#[test]
fn a_map_can_end_with_its_first_error() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap().buffer(4).unwrap();
        let pulled = Cell::new(0);
        let inputs = [2, 1].into_iter().chain(std::iter::repeat(2)).inspect(|_| pulled.set(pulled.get() + 1));
        let results: Vec<_> = half.map(inputs).stop_on_error().collect();
        assert!(results[0].is_ok() && matches!(results[1], Err(TaskError::Guest(_))));
        assert!(results.len() <= 7 && pulled.get() <= 7, "{results:?}");
    });
}

#[test]
fn b69_a_trap_brings_the_guests_functions_and_what_the_host_finds_brings_none() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_MIXED).build().unwrap();
        let raw = pool.raw_task("act").unwrap();
        let submit = |json: &[u8]| raw.submit(raw.signature().arguments_from_json(json).unwrap()).unwrap();
        let trapped = submit(b"\"trap\"").exception();
        let Some(TaskError::Trap { backtrace, .. }) = trapped else { panic!("{trapped:?}") };
        assert!(backtrace.iter().any(|frame| frame.function.contains("act") && frame.offset.is_some()));
        let refused = raw.submit(vec![0xff; 3]).unwrap().exception();
        assert!(matches!(refused, Some(TaskError::BadArguments { .. })), "{refused:?}");
    });
}

#[test]
fn b77_submitting_never_waits_for_a_worker_that_does_not_read() {
    bounded(|| {
        let (pool, work) = slow();
        let busy = work.submit(&300_000).unwrap();
        until("it runs", || busy.running());
        let many: Vec<_> = (0..9_000).map(|_| work.submit(&1).unwrap()).collect();
        assert!(!busy.done(), "all were submitted while the worker was busy");
        pool.shutdown(Wait::Join, PendingTasks::Cancel);
        assert!(many.iter().all(|future| future.done()));
    });
}

#[test]
fn b107_b108_b109_a_process_has_an_end_that_can_be_waited_for() {
    bounded(|| {
        let guest = load(WPOOL, wpool_tests::SLOW_WORK);
        let long = Process::builder(guest.clone()).start::<u32, u64>("work", &4_000_000_000).unwrap();
        assert!(long.is_alive() && long.exit_code().is_none());
        let long_pid = long.pid();
        assert!(!long.join(Duration::ZERO) && !long.join(MS));
        let (error, long) = long.close().unwrap_err();
        assert!(error.to_string().starts_with("the process is still running"));
        long.terminate();
        assert!(long.join(None));
        assert_eq!((long.exit_code(), long.is_alive()), (Some(-15), false));
        assert!(long.close().is_ok());

        let killed = Process::builder(guest.clone()).start::<u32, u64>("work", &4_000_000_000).unwrap();
        let pid = killed.pid().expect("it has started");
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists() && Some(pid) != long_pid);
        killed.kill();
        let mut sentinels = [PollFd::new(&killed, PollFlags::IN)];
        let bound = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(
            rustix::event::poll(&mut sentinels, Some(&bound)).unwrap(),
            1,
            "its sentinel wakes who waits"
        );
        assert_eq!((killed.exit_code(), killed.pid()), (Some(-9), Some(pid)), "it keeps its id");

        let quick = Process::builder(guest.clone()).start::<u32, u64>("work", &1).unwrap();
        assert!(quick.result().is_ok() && quick.join(None));
        assert_eq!((quick.exit_code(), quick.name()), (Some(0), "work"));
        assert!(quick.as_fd().try_clone_to_owned().is_ok());
        let failed =
            Process::builder(load(WPOOL, wpool_tests::FAIL_ERROR)).start::<i64, i64>("half", &3).unwrap();
        assert!(failed.join(None) && failed.exit_code() == Some(1));
        let wrong = Process::builder(guest).start::<u32, u64>("wrok", &1).unwrap_err();
        assert!(wrong.to_string().contains("did you mean `work`?"), "{wrong}");
    });
}

#[test]
fn b113_workers_and_guests_share_no_state_and_no_log() {
    bounded(|| {
        let builder = pool(WPOOL, wpool_tests::OK_STATE).isolation(wpool::Isolation::Worker).workers(2);
        let pool = builder.build().unwrap();
        let visit = pool.task::<u32, u32>("visit").unwrap();
        // Each worker counts its own visits: none sees those of the other.
        let mut of_worker = std::collections::HashMap::new();
        // The second worker may start late, so until it is there more is to do.
        while of_worker.len() < 2 {
            let visits: Vec<_> = (0..400).map(|_| visit.submit(&0).unwrap()).collect();
            for visit in visits {
                let count = visit.result().unwrap();
                of_worker
                    .entry(visit.figures().unwrap().worker.unwrap())
                    .or_insert_with(Vec::new)
                    .push(count);
            }
        }
        for counts in of_worker.values_mut() {
            counts.sort_unstable();
            assert!(counts.iter().copied().eq(1..=u32::try_from(counts.len()).unwrap()), "{counts:?}");
        }
        let settings = GuestSettings::new().isolation(wpool::Isolation::Worker);
        let other = pool.load(load(WPOOL, wpool_tests::OK_STATE), &settings).unwrap();
        let note = |task: Task<String, Vec<String>>, name: &str| task.apply(&name.to_owned()).unwrap();
        note(pool.task("note").unwrap(), "secret");
        assert_eq!(note(other.task("note").unwrap(), "spy"), Vec::<String>::new());
        // Tasks of one instance have a log each.
        let logs = wpool_tests::pool(WPOOL, wpool_tests::OK_LOG).isolation(wpool::Isolation::Worker);
        let logs = logs.build().unwrap();
        let log = logs.task::<u32, u32>("log").unwrap();
        let written: Vec<_> = (1..50).map(|lines| log.submit(&lines).unwrap()).collect();
        for future in written {
            let lines = future.result().unwrap();
            let log = future.log().unwrap().text();
            let numbers = log.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap());
            assert!(numbers.eq(0..lines), "{log}");
        }
    });
}

#[test]
fn b114_an_error_keeps_its_type_or_is_told_in_words() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, wpool::Schema)]
    enum Problem {
        Negative { by: i64 },
        Odd,
    }
    bounded(|| {
        let errors = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let guest_error = |error| match error {
            TaskError::Guest(error) => error,
            other => panic!("{other:?}"),
        };
        let half = errors.task::<i64, i64>("half").unwrap();
        let typed = guest_error(half.submit(&-9).unwrap().exception().unwrap());
        assert_eq!(typed.decode(), Some(Problem::Negative { by: 9 }));
        assert_eq!(typed.message(), "below zero by 9");
        // One whose type has no schema crosses as its words alone.
        let parse = errors.task::<String, i32>("parse").unwrap();
        let words = guest_error(parse.submit(&"x".to_owned()).unwrap().exception().unwrap());
        assert_eq!((words.value(), words.decode::<Problem>()), (None, None));
        assert_eq!(words.message(), "invalid digit found in string");
        // And a result that cannot cross is an error that says so.
        let when = pool(WPOOL, wpool_tests::FAIL_WHEN).build().unwrap();
        let act = when.task::<(String, String), (String, String)>("act").unwrap();
        let broken = act.submit(&("encode".to_owned(), "error".to_owned())).unwrap().exception().unwrap();
        assert!(matches!(&broken, TaskError::BadResult { message } if !message.is_empty()), "{broken:?}");
    });
}

#[test]
fn b115_what_a_finished_task_has_put_stays_in_the_queue() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_OBJECTS).workers(1).max_tasks_per_worker(1).build().unwrap();
        let queue: wpool::Queue<u32> = pool.manager().queue(10);
        let produce = pool.task::<(u32, wpool::Sender<u32>), ()>("produce").unwrap();
        produce.apply(&(3, queue.sender())).unwrap();
        until("its worker is gone, too", || pool.stats().workers_started == 2 || pool.stats().workers == 0);
        assert_eq!(queue.get_many(10), Ok(vec![0, 1, 2]));
    });
}

/// A stream is polled where it is, and wakes who awaits it.
#[test]
fn a_map_is_a_stream() {
    use futures_core::Stream as _;
    use std::task::{Context, Poll, Wake};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    bounded(|| {
        let (_pool, square) = squares();
        let mut map = std::pin::pin!(square.map(0..1000));
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut sum = 0;
        loop {
            match map.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(value)) => sum += value.unwrap(),
                Poll::Ready(None) => break,
                Poll::Pending => std::thread::park(),
            }
        }
        assert_eq!(sum, (0..1000).map(|n| n * n).sum::<i64>());
        let (_slow, work) = slow();
        let given_up = work.submit(&40_000_000).unwrap();
        until("it runs", || given_up.running());
        let waiting = work.submit(&1).unwrap();
        drop(waiting.clone().cancel_on_drop());
        assert_eq!(waiting.result(), Err(TaskError::Cancelled));
        given_up.kill();
    });
}
