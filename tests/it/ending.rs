use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec};
use rustix::process::{Pid, Signal};
use wpool::{
    Cache, Executable, Loader, PendingTasks, Phase, Pool, Process, SubmitError, Task, TaskError, TaskFuture,
    Wait, WorkerExit,
};
use wpool_tests::{bounded, load, pool};

use crate::behaviours::slow;
use crate::{WPOOL, until};

/// Longer than any test: a task of so many thousand rounds is ended, or it fails the test.
const ENDLESS: u32 = 4_000_000_000;

fn submit_all(work: &Task<u32, u64>, rounds: u32, count: usize) -> Vec<TaskFuture<u64>> {
    (0..count).map(|_| work.submit(&rounds).unwrap()).collect()
}

fn begun(work: &Task<u32, u64>, rounds: u32) -> TaskFuture<u64> {
    let running = work.submit(&rounds).unwrap();
    until("it runs", || running.running());
    running
}

fn send(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn b54_a_shutdown_waits_for_what_is_pending_or_leaves_it_to_itself() {
    bounded(|| {
        let (pool, work) = slow();
        let pending = submit_all(&work, 20_000, 10);
        pool.shutdown(Wait::Join, PendingTasks::Finish);
        assert!(pending.iter().all(TaskFuture::done), "it waits for all");
        assert!(pending.iter().all(|future| future.result().is_ok()));
        let (pool, work) = slow();
        let running = begun(&work, 3_000_000);
        let pending = submit_all(&work, 1, 10);
        pool.shutdown(Wait::Return, PendingTasks::Finish);
        assert!(!running.done(), "it does not wait");
        assert!(
            pending.iter().chain([&running]).all(|future| future.result().is_ok()),
            "all is done all the same"
        );
    });
}

#[test]
fn b55_a_shutdown_that_cancels_takes_what_is_pending_and_nothing_that_runs() {
    bounded(|| {
        for waits in [true, false] {
            let (pool, work) = slow();
            let running = begun(&work, 1_000_000);
            let pending = submit_all(&work, 1, 10);
            pool.shutdown(if waits { Wait::Join } else { Wait::Return }, PendingTasks::Cancel);
            assert!(!waits || running.done());
            assert!(pending.iter().all(|future| future.result() == Err(TaskError::Cancelled)));
            assert!(running.result().is_ok(), "what runs comes to its end");
            assert_eq!((pool.stats().succeeded, pool.stats().failed), (1, 10));
        }
    });
}

#[test]
fn b56_nothing_that_was_cancelled_or_waits_for_room_holds_up_a_shutdown() {
    bounded(|| {
        for n in 0..10 {
            let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
            let square = pool.task::<i64, i64>("square").unwrap();
            let future = square.submit(&n).unwrap();
            let cancelled = future.cancel();
            pool.shutdown(Wait::Join, PendingTasks::Finish);
            let expected = if cancelled { Err(TaskError::Cancelled) } else { Ok(n * n) };
            assert_eq!(future.result(), expected);
        }
        let pool =
            pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).max_queued(1).timeout(None).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let running = begun(&work, ENDLESS);
        // A worker takes some ahead: the queue is full when it stays so.
        let mut accepted = Vec::new();
        let mut refused = 0;
        while refused < 50 {
            std::thread::sleep(Duration::from_millis(1));
            match work.try_submit(&1) {
                Ok(future) => accepted.push(future),
                Err(_) => refused += 1,
            }
        }
        std::thread::scope(|scope| {
            let (begins, begun) = std::sync::mpsc::channel();
            let work = &work;
            let waits_for_room = scope.spawn(move || {
                begins.send(()).unwrap();
                work.submit(&1)
            });
            begun.recv().unwrap();
            pool.shutdown(Wait::Return, PendingTasks::Finish);
            let refused = waits_for_room.join().unwrap().unwrap_err();
            assert_eq!(refused, SubmitError::Closed { by: "`shutdown`" });
        });
        running.kill();
        pool.join().unwrap();
        assert!(!accepted.is_empty() && accepted.iter().all(|future| future.result().is_ok()));
    });
}

#[test]
fn b57_a_pool_that_is_dropped_finishes_its_work_and_leaves_no_process() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let mut futures = submit_all(&work, 20_000, 20);
        until("both work", || pool.stats().workers == 2);
        let workers = pool.worker_pids();
        assert!(workers.len() == 2 && workers.iter().all(|pid| exists(*pid)));
        let cancelled = futures.pop().unwrap();
        assert!(cancelled.cancel());
        drop(pool);
        assert!(futures.iter().all(|future| future.done() && future.result().is_ok()));
        assert!(!workers.iter().any(|pid| exists(*pid)), "they were collected, too");
        assert_eq!(work.submit(&1).unwrap_err(), SubmitError::Closed { by: "drop" });
    });
}

#[test]
fn b59_a_worker_runs_as_many_tasks_as_it_may_and_another_one_follows() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).workers(1).max_tasks_per_worker(3).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let mut workers = Vec::new();
        for n in 0..12 {
            let future = square.submit(&n).unwrap();
            assert_eq!(future.result(), Ok(n * n));
            workers.push(future.figures().unwrap().worker.unwrap());
            assert!(pool.worker_pids().len() <= 2, "one works, and one that is worn out may be ending");
        }
        let runs: Vec<_> = workers.chunk_by(|a, b| a == b).collect();
        assert!(runs.iter().all(|run| run.len() == 3) && runs.len() == 4, "{workers:?}");
        // Long tasks wait as short ones do: no more run at once.
        let pool = wpool_tests::pool(WPOOL, wpool_tests::SLOW_WORK)
            .workers(1)
            .max_tasks_per_worker(1)
            .build()
            .unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let long: Vec<_> = submit_all(&work, 100_000, 8);
        let mut most = 0;
        while !long.iter().all(TaskFuture::done) {
            most = most.max(long.iter().filter(|future| future.running()).count());
        }
        assert_eq!(most, 1, "{long:?}");
        let builder = Pool::builder(pool.guest().clone()).max_tasks_per_worker(0);
        let zero = "max_tasks_per_worker cannot be 0: no worker could run anything";
        assert_eq!(builder.build().unwrap_err().to_string(), zero);
    });
}

#[test]
fn b60_replacing_workers_strands_no_task() {
    bounded(|| {
        type End = fn(Pool);
        let ends: [(&str, End); 4] = [
            ("waits for all", |pool| pool.shutdown(Wait::Join, PendingTasks::Finish)),
            ("leaves the rest to itself", |pool| {
                pool.shutdown(Wait::Return, PendingTasks::Finish);
                pool.join().unwrap();
            }),
            ("is dropped", drop),
            ("is closed", |pool| {
                pool.close();
                pool.join().unwrap();
            }),
        ];
        for (how, end) in ends {
            let pool = pool(WPOOL, wpool_tests::OK_SQUARE).max_tasks_per_worker(2).build().unwrap();
            let square = pool.task::<i64, i64>("square").unwrap();
            let futures: Vec<_> = (0..40).map(|n| square.submit(&n).unwrap()).collect();
            end(pool);
            let mut tasks_of = HashMap::new();
            for (n, future) in (0..).zip(&futures) {
                assert!(future.done(), "{how}");
                assert_eq!(future.result(), Ok(n * n), "{how}");
                *tasks_of.entry(future.figures().unwrap().worker.unwrap()).or_insert(0) += 1;
            }
            assert!(tasks_of.values().all(|tasks| *tasks <= 2), "{how}: {tasks_of:?}");
        }
    });
}

/// A pool of one worker whose program can be exchanged, and the program. `name` makes it a module of its own: guests of
/// one module share a program if theirs are the same file.
fn pool_of_program(folder: &Path, name: u8) -> (Pool, Task<u32, u64>, std::path::PathBuf) {
    let program = folder.join("program");
    std::os::unix::fs::symlink(WPOOL, &program).unwrap();
    let loader = Loader::new().executable(Executable::at(&program)).cache(Cache::none());
    let mut module = std::fs::read(wpool_tests::SLOW_WORK).unwrap();
    // A custom section: its id, its size, and its name, which has one byte.
    module.extend([0, 2, 1, name]);
    let guest = loader.bytes(module).unwrap();
    let pool = Pool::builder(guest).workers(1).max_tasks_per_worker(1).build().unwrap();
    let work = pool.task("work").unwrap();
    (pool, work, program)
}

#[test]
fn b61_if_no_worker_can_be_started_what_waits_fails_with_the_reason() {
    bounded(|| {
        let folder = tempfile::tempdir().unwrap();
        let (pool, work, program) = pool_of_program(folder.path(), b'a');
        let running = begun(&work, 300_000);
        std::fs::remove_file(&program).unwrap();
        let waiting = submit_all(&work, 1, 20);
        assert!(running.result().is_ok(), "the worker that was there finishes its task");
        let reason = format!("cannot start `{}`: ", program.display());
        for future in &waiting[2..] {
            let error = future.result().unwrap_err();
            assert!(
                matches!(&error, TaskError::NoWorker { message } if message.starts_with(&reason)),
                "{error}"
            );
        }
        // Nor does such a pool hang when it is ended.
        pool.terminate();
        pool.join().unwrap();
    });
}

#[test]
fn b68_the_reason_names_the_exit_code() {
    bounded(|| {
        let folder = tempfile::tempdir().unwrap();
        let (_pool, work, program) = pool_of_program(folder.path(), b'b');
        let running = begun(&work, 300_000);
        // Another process writes the program: this one may be starting others at the moment, which would inherit the
        // file.
        let script = r#"rm "$0"; printf '#!/bin/sh\nexit 7\n' > "$0"; chmod 755 "$0""#;
        assert!(Command::new("sh").args(["-c", script]).arg(&program).status().unwrap().success());
        let waiting = submit_all(&work, 1, 20);
        assert!(running.result().is_ok());
        for future in &waiting[2..] {
            let error = future.result().unwrap_err();
            let TaskError::NoWorker { message } = &error else { panic!("{error:?}") };
            assert!(message.contains("it exited with code 7"), "{message}");
        }
    });
}

#[test]
fn b62_everything_is_ended_at_once_and_nobody_is_left() {
    bounded(|| {
        let (pool, work) = slow();
        pool.terminate();
        assert_eq!(work.submit(&1).unwrap_err().to_string(), "the pool is closed: `terminate` was called");
        let (pool, work) = slow();
        let running = begun(&work, ENDLESS);
        let workers = pool.worker_pids();
        pool.terminate();
        assert_eq!(running.result(), Err(TaskError::PoolClosed));
        pool.terminate();
        pool.join().unwrap();
        assert_eq!(pool.stats().workers, 0);
        assert!(workers.len() == 1 && !exists(workers[0]), "its process does not go on");
        // Also while workers come and go.
        let pool = wpool_tests::pool(WPOOL, wpool_tests::SLOW_WORK).max_tasks_per_worker(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let futures = submit_all(&work, 1, 200);
        let mut workers = Vec::new();
        until("some were replaced", || pool.stats().workers_started >= 4);
        workers.extend(pool.worker_pids());
        pool.terminate();
        workers.extend(pool.worker_pids());
        pool.join().unwrap();
        assert!(!workers.iter().any(|pid| exists(*pid)), "none escapes");
        assert!(futures.iter().all(TaskFuture::done));
        // And where no worker was ever started.
        let idle = wpool_tests::pool(WPOOL, wpool_tests::SLOW_WORK).min_workers(0).build().unwrap();
        idle.terminate();
        idle.join().unwrap();
        assert_eq!(idle.stats().workers_started, 0);
    });
}

#[test]
fn b63_ten_thousand_that_wait_are_ended_as_quickly_as_one() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).max_queued(20_000).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        begun(&work, ENDLESS);
        let waiting = submit_all(&work, ENDLESS, 10_000);
        let began = Instant::now();
        pool.terminate();
        pool.join().unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(waiting.iter().all(|future| future.result() == Err(TaskError::PoolClosed)));
        assert_eq!((pool.stats().succeeded, pool.stats().failed), (0, 10_001));
    });
}

#[test]
fn b66_b67_a_worker_that_is_killed_costs_its_own_task_alone() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).retries(0).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let running: Vec<_> = (0..2).map(|_| begun(&work, ENDLESS)).collect();
        let waiting = submit_all(&work, 1, 20);
        let lost = |signal| {
            let cause = WorkerExit::Signal { signal, by_pool: false };
            Err(TaskError::WorkerLost { cause, phase: Phase::Running, earlier: vec![] })
        };
        let workers = pool.worker_pids();
        let other = |future: &TaskFuture<u64>| usize::from(future.id() == running[0].id());
        send(workers[0], Signal::KILL);
        until("one has failed", || running.iter().any(TaskFuture::done));
        let first = running.iter().find(|future| future.done()).unwrap();
        let second = &running[other(first)];
        assert_eq!(first.result(), lost(9));
        assert!(!second.done(), "the other goes on");
        assert!(waiting.iter().all(|future| future.result().is_ok()), "so does what waits");
        send(workers[1], Signal::QUIT);
        assert_eq!((first.result(), second.result()), (lost(9), lost(3)), "each has an error of its own");
    });
}

#[test]
fn b68_a_worker_that_dies_is_named_with_its_signal() {
    bounded(|| {
        for (signal, number) in [(Signal::KILL, 9), (Signal::QUIT, 3), (Signal::ABORT, 6)] {
            let cause = WorkerExit::Signal { signal: number, by_pool: false };
            let lost = TaskError::WorkerLost { cause, phase: Phase::Running, earlier: vec![] };
            assert_eq!(ended_from_outside(signal), lost);
        }
    });
}

/// Ends the workers of a pool from outside while one of its tasks runs; how that task ends if it is not run again.
fn ended_from_outside(signal: Signal) -> TaskError {
    let running =
        Process::builder(load(WPOOL, wpool_tests::SLOW_WORK)).start::<u32, u64>("work", &ENDLESS).unwrap();
    until("it has begun", || running.pid().is_some_and(computes));
    let pid = i32::try_from(running.pid().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    running.result().unwrap_err()
}

/// Whether a process has used some time.
fn computes(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() >= 10
}

#[test]
fn b75_a_worker_that_dies_after_the_close_loses_nothing() {
    bounded(|| {
        let (pool, work) = slow();
        let running = begun(&work, 500_000);
        let waiting = submit_all(&work, 1, 3);
        pool.close();
        send(pool.worker_pids()[0], Signal::KILL);
        assert!(running.result().is_ok() && waiting.iter().all(|future| future.result().is_ok()));
        assert_eq!(running.figures().unwrap().attempts, 2, "it ran again");
        pool.join().unwrap();
    });
}

#[test]
fn b76_a_worker_that_dies_in_the_midst_of_a_large_message_loses_nothing() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).workers(1).build().unwrap();
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        bytes.apply(&vec![1]).unwrap();
        let worker = pool.worker_pids()[0];
        // A stopped worker reads nothing, so more than its socket holds is on the way.
        send(worker, Signal::STOP);
        let large = vec![5; 8 << 20];
        let futures: Vec<_> = (0..4).map(|_| bytes.submit(&large).unwrap()).collect();
        assert!(futures.iter().all(|future| !future.done()));
        send(worker, Signal::KILL);
        assert!(futures.iter().all(|future| future.result().as_deref() == Ok(&large[..])), "they run again");
        assert_eq!((pool.stats().workers_lost, pool.stats().failed), (1, 0));
    });
}

#[test]
fn b111_a_daemon_ends_with_its_handle_and_others_are_waited_for() {
    bounded(|| {
        let guest = load(WPOOL, wpool_tests::SLOW_WORK);
        let daemon =
            Process::builder(guest.clone()).daemon(true).start::<u32, u64>("work", &ENDLESS).unwrap();
        until("it has started", || daemon.pid().is_some());
        let pid = daemon.pid().unwrap();
        let began = Instant::now();
        drop(daemon);
        assert!(began.elapsed() < Duration::from_secs(30) && !exists(pid), "it was ended");
        let rounds = 1_000_000u32;
        let once = Process::builder(guest.clone()).start::<u32, u64>("work", &rounds).unwrap();
        let took = once.completed().figures.run;
        let waited_for = Process::builder(guest).start::<u32, u64>("work", &rounds).unwrap();
        until("it has started", || waited_for.pid().is_some());
        let sentinel = waited_for.as_fd().try_clone_to_owned().unwrap();
        let began = Instant::now();
        drop(waited_for);
        assert!(began.elapsed() > took / 4, "it was not ended early: {:?} of {took:?}", began.elapsed());
        let mut ended = [PollFd::new(&sentinel, rustix::event::PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut ended, Some(&at_once)).unwrap(), 1);
    });
}
