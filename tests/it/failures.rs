use std::time::Duration;

use serde::{Deserialize, Serialize};
use wpool::{Clock, Grow, TaskError, Trap};
use wpool_tests::{bounded, pool};

use crate::WPOOL;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, wpool::Schema)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Fine,
    Loop,
    MemoryBomb,
    Panic,
    Trap,
    StackOverflow,
    HugeResult,
}

#[test]
fn every_failure_has_its_own_error_and_costs_nothing_else() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_MIXED)
            .timeout(Duration::from_millis(200))
            .memory(32 << 20)
            .max_result(1000)
            .build()
            .unwrap();
        let act = pool.task::<Deed, Vec<u8>>("act").unwrap();
        let bad =
            [Deed::Loop, Deed::MemoryBomb, Deed::Panic, Deed::Trap, Deed::StackOverflow, Deed::HugeResult];
        let deeds: Vec<Deed> = (0..60).map(|n| if n % 10 == 4 { bad[n / 10] } else { Deed::Fine }).collect();
        let results: Vec<_> = act.map(deeds.clone()).collect();
        for (deed, result) in deeds.iter().zip(results) {
            match (deed, result) {
                (Deed::Fine, result) => assert_eq!(result.unwrap(), b"fine"),
                (Deed::Loop, Err(TaskError::Timeout { clock: Clock::Run, limit })) => {
                    assert_eq!(limit, Duration::from_millis(200));
                }
                (Deed::MemoryBomb, Err(TaskError::MemoryLimit { limit, asked })) => {
                    assert!(limit == 32 << 20 && asked > limit);
                }
                (Deed::Panic, Err(TaskError::Panic { message, location })) => {
                    assert_eq!(message, "no luck with 7");
                    assert!(location.contains("fail_mixed.rs:"), "{location}");
                }
                (Deed::Trap, Err(TaskError::Trap { trap: Trap::UnreachableCodeReached, backtrace })) => {
                    assert!(backtrace.iter().any(|frame| frame.function.contains("act")), "{backtrace:?}");
                }
                (Deed::StackOverflow, Err(TaskError::Trap { trap: Trap::StackOverflow, .. })) => {}
                (Deed::HugeResult, Err(TaskError::OutputLimit { limit: 1000, size })) => {
                    assert!(size > 1 << 20);
                }
                (deed, result) => panic!("{deed:?} gave {result:?}"),
            }
        }
        assert_eq!(pool.stats().workers_lost, 0, "none of this costs a worker");
    });
}

#[test]
fn a_refused_request_for_memory_can_be_the_guests_own_business() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_MIXED).memory(32 << 20).grow(Grow::Deny).build().unwrap();
        let act = pool.task::<Deed, Vec<u8>>("act").unwrap();
        // Rust's own answer to an allocator without memory is to abort.
        let error = act.submit(&Deed::MemoryBomb).unwrap().result().unwrap_err();
        assert!(matches!(error, TaskError::Trap { .. } | TaskError::Panic { .. }), "{error:?}");
    });
}

/// A guest in text form, whose task asks for `elements` more elements of a table, and returns the answer as a u8.
fn table_guest(elements: u32) -> Vec<u8> {
    // A task `t` that takes a u8 and returns one: name, docs, parameters, result, error, types.
    let description = "\\01t\\00\\01\\01x\\00\\00\\00\\00\\01\\02";
    let task = format!(
        r#"(i32.store8 (i32.const 300) (i32.ne (table.grow (ref.null func) (i32.const {elements})) (i32.const -1)))
           (i32.store (i32.const 516) (i32.const 300)) (i32.store (i32.const 520) (i32.const 1)) (i32.const 512)"#
    );
    format!(
        r#"(module
            (memory (export "memory") 1)
            (table 1 funcref)
            (data (i32.const 0) "\00\00\00\00\40\00\00\00\0c\00\00\00\00\00\00\00\00\00\00\00")
            (data (i32.const 64) "{description}")
            (func (export "wpool_abi_v1"))
            (func (export "wpool_alloc") (param i32) (result i32) (i32.const 256))
            (func (export "wpool_describe:t") (result i32) (i32.const 0))
            (func (export "wpool_task:t") (param i32 i32 i32) (result i32) {task}))"#
    )
    .into_bytes()
}

#[test]
fn a_table_has_a_limit() {
    bounded(|| {
        let grown = |elements, grow| {
            let guest = wpool_tests::loader(WPOOL).bytes(table_guest(elements)).unwrap();
            let mut limits = wpool::Limits::default();
            (limits.table, limits.grow) = (1000, grow);
            let pool = wpool::Pool::builder(guest).workers(1).limits(limits).build().unwrap();
            let result = pool.task::<u8, u8>("t").unwrap().submit(&0).unwrap().result();
            assert_eq!(pool.stats().workers_lost, 0);
            result
        };
        assert_eq!(grown(999, Grow::Fail), Ok(1), "the limit itself is allowed");
        assert_eq!(grown(1000, Grow::Fail), Err(TaskError::TableLimit { limit: 1000, asked: 1001 }));
        assert_eq!(grown(1000, Grow::Deny), Ok(0), "it can be the guest's own business");
    });
}

#[test]
fn fuel_is_a_budget() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).fuel(1_000_000).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let small = work.submit(&1).unwrap();
        small.result().unwrap();
        let used = small.figures().unwrap().fuel;
        assert!((1000..1_000_000).contains(&used), "{used}");
        assert_eq!(work.submit(&1000).unwrap().result(), Err(TaskError::OutOfFuel { limit: 1_000_000 }));
        let again = work.submit(&1).unwrap();
        again.result().unwrap();
        assert_eq!(again.figures().unwrap().fuel, used, "the same work costs the same");
    });
}

#[test]
fn a_guests_own_errors_keep_their_type() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, wpool::Schema)]
    enum Problem {
        Negative { by: i64 },
        Odd,
    }
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap();
        assert_eq!(half.submit(&8).unwrap().result(), Ok(4));
        let error = |number| match half.submit(&number).unwrap().result() {
            Err(TaskError::Guest(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (error(-3).message(), error(-3).decode()),
            ("below zero by 3", Some(Problem::Negative { by: 3 }))
        );
        assert_eq!((error(7).to_string().as_str(), error(7).decode()), ("odd", Some(Problem::Odd)));
        assert_eq!(error(7).decode::<u32>(), None, "its bytes are those of a number, its type is not");
        let parse = pool.task::<&str, i32>("parse").unwrap();
        let error = parse.submit(&"x").unwrap().result().unwrap_err();
        assert_eq!(error.to_string(), "invalid digit found in string");
    });
}

#[test]
fn a_log_is_capped_and_the_rest_is_counted() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_LOG).max_log(100).build().unwrap();
        let log = pool.task::<u32, u32>("log").unwrap();
        let short = log.submit(&3).unwrap();
        short.result().unwrap();
        assert_eq!(short.log().unwrap().text(), "info: line 0\nwarn: line 1\nerror: line 2\n");
        let long = log.submit(&1000).unwrap();
        long.result().unwrap();
        let kept = long.log().unwrap();
        assert_eq!(kept.text().len(), 100);
        assert!(kept.dropped() > 10_000, "{}", kept.dropped());
    });
}

#[test]
fn a_timeout_of_zero_and_none() {
    bounded(|| {
        let short = pool(WPOOL, wpool_tests::FAIL_MIXED).timeout(Duration::ZERO).build().unwrap();
        let act = short.task::<Deed, Vec<u8>>("act").unwrap();
        let error = act.submit(&Deed::Loop).unwrap().result().unwrap_err();
        assert!(matches!(error, TaskError::Timeout { .. }), "{error:?}");
        let endless = pool(WPOOL, wpool_tests::FAIL_MIXED).timeout(None).build().unwrap();
        let act = endless.task::<Deed, Vec<u8>>("act").unwrap();
        assert_eq!(act.submit(&Deed::Fine).unwrap().result().unwrap(), b"fine");
        let looping = act.submit(&Deed::Loop).unwrap();
        endless.terminate();
        assert_eq!(looping.result(), Err(TaskError::PoolClosed));
    });
}

/// An error, a panic, a trap, an endless loop and too much memory, while arguments are decoded, while a task runs and
/// while its result is encoded.
#[test]
fn b71_b72_b73_b74_every_way_to_fail_at_every_stage_is_an_error_of_one_task() {
    bounded(|| {
        // A busy machine fills the memory within this time.
        let limit = Duration::from_secs(1);
        let builder = pool(WPOOL, wpool_tests::FAIL_WHEN).timeout(limit).memory(16 << 20);
        let pool = builder.build().unwrap();
        let act = pool.task::<(String, String), (String, String)>("act").unwrap();
        let fate = |when: &str, how: &str| (when.to_owned(), how.to_owned());
        let mut fates = Vec::new();
        for when in ["decode", "run", "encode"] {
            for how in ["error", "panic", "trap", "loop", "memory"] {
                fates.extend([fate(when, how), fate("never", how)]);
            }
        }
        fates.push(fate("lie", ""));
        for (fate, result) in fates.iter().zip(act.map(fates.clone())) {
            let (when, how) = (fate.0.as_str(), fate.1.as_str());
            let fits = match (when, how, &result) {
                ("never", _, Ok(value)) => value == fate,
                ("decode", "error", Err(TaskError::BadArguments { message })) => !message.is_empty(),
                ("run", "error", Err(TaskError::Guest(error))) => error.message() == "as it was told",
                ("encode", "error", Err(TaskError::BadResult { message })) => !message.is_empty(),
                (_, "panic", Err(TaskError::Panic { message, .. })) => message == "as it was told",
                (_, "trap", Err(TaskError::Trap { .. })) => true,
                (_, "loop", Err(TaskError::Timeout { clock: Clock::Run, .. })) => true,
                (_, "memory", Err(TaskError::MemoryLimit { .. })) => true,
                ("lie", _, Err(TaskError::BadResult { .. })) => true,
                _ => false,
            };
            assert!(fits, "{when} {how}: {result:?}");
        }
        assert_eq!(pool.stats().workers_lost, 0, "none of it costs a worker");
        let after: Vec<_> = act.map(std::iter::repeat_n(fate("never", ""), 100)).collect();
        assert!(after.iter().all(Result::is_ok));
    });
}

/// A task whose worker dies each time is not run for ever, and its error has all the evidence.
#[test]
fn a_task_that_brings_down_its_workers_is_given_up_with_the_evidence() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).retries(2).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let doomed = work.timeout(None).submit(&4_000_000_000).unwrap();
        let mut killed = 0;
        while !doomed.done() {
            for pid in pool.worker_pids() {
                // Only while the task runs in it: one that dies before is charged to nobody.
                if doomed.running() {
                    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    killed +=
                        i32::from(rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
                }
            }
            std::thread::yield_now();
        }
        let Err(TaskError::WorkerLost { cause, earlier, .. }) = doomed.result() else {
            panic!("{:?}", doomed.result())
        };
        let outside = wpool::WorkerExit::Signal { signal: 9, by_pool: false };
        assert_eq!((cause, earlier), (outside.clone(), vec![outside.clone(), outside]));
        assert!(killed >= 3, "{killed}");
        assert_eq!(doomed.figures().unwrap().attempts, 3);
    });
}
