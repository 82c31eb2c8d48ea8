//! Tests with real processes. Each is bounded: what takes too long hangs, and that is a failure.

use std::time::{Duration, Instant};

use wpool::{Pool, TaskFuture};

/// What Python's pools promise, by the numbers of a list that docs/src/guides/python.md explains.
mod behaviours;
/// The command line, as snapshots that are its manual.
mod cli;
/// Clocks and kills: a task ends in time, and nothing else does.
mod deadlines;
/// The documents: their transcripts are true, their links and includes lead somewhere, their code is compiled.
mod docs;
/// Values that a task emits while it runs: bounded, in order, for whoever reads.
mod emits;
/// One task's failure is one task's: every kind of error, beside others that succeed.
mod failures;
/// Futures: waiting, awaiting, cancelling, calling back.
mod futures;
/// Guests that guess, flood and die where objects are shared.
mod hostile_objects;
/// Initializers: run once, the same for every task, failing once for all.
mod init;
/// How many workers there are, how long, and for whom.
mod lifecycle;
/// Loading guests: what is refused, what is cached, what is compiled once.
mod loading;
/// Maps: order, laziness, bounds.
mod maps;
/// A program without the engine: what it links, and that it runs tasks.
mod no_engine;
/// What Python's queues, pipes, locks and managers promise, by the same numbers.
mod object_behaviours;
/// Objects that tasks and the host share: used from both sides, and by those who die.
mod objects;
/// Shared memory, and handles on the way: in results, to sub-tasks, through queues.
mod shared;
/// Tasks that submit tasks: without deadlock, within quotas, ended together.
mod subtasks;
/// The code keeps its own rules: imports, opening sentences, no paths of one machine.
mod tidy;
/// Values of all types cross the border and come back.
mod values;
/// Worker processes: what they inherit, how they die, who runs again.
mod workers;

/// This package's own copy of the command, which pools start as their workers.
const WPOOL: &str = env!("CARGO_BIN_EXE_wpool-dup");

/// Asks until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

/// A behaviour without a test does not compile: each is named here with the module that tests it.
mod every_behaviour {
    macro_rules! is_tested {
        ($name:ident) => {
            const _: fn() = super::tested::$name;
        };
    }
    wpool_tests::for_each_behaviour!(is_tested);
}

/// Which behaviours are tested.
mod tested {
    macro_rules! by {
        ($($name:ident in $module:ident;)*) => { $(pub(super) fn $name() {})* };
    }
    by! {
        bad_objects in hostile_objects;
        fail_error in failures;
        fail_mixed in failures;
        fail_when in failures;
        ok_count_visits in maps;
        ok_echo in values;
        ok_emit in emits;
        ok_init in init;
        ok_log in failures;
        ok_objects in objects;
        ok_shared in shared;
        ok_square in futures;
        ok_state in lifecycle;
        ok_submit in subtasks;
        slow_end in deadlines;
        slow_work in workers;
        wasi_init in init;
        wasi_std in values;
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/it")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == "main" || main.contains(&format!("mod {name};")),
            "it/main.rs does not name `{name}`"
        );
    }
}

/// Submits one task.
fn call<A, R>(pool: &Pool, task: &str, arguments: &A) -> TaskFuture<R>
where
    A: serde::Serialize + wpool::Schema,
    R: serde::de::DeserializeOwned + wpool::Schema,
{
    pool.task::<A, R>(task).unwrap().submit(arguments).unwrap()
}
