//! Tests with real processes. Each is bounded: what takes too long hangs, and that is a failure.

use std::time::{Duration, Instant};

use wpool::{Pool, TaskFuture};

/// The behaviours of Python's pools, by their numbers in docs/src/internals/behaviours.md.
mod behaviours;
/// Bindings that `wpool inspect --rust` prints: they compile, and carry every type; and the schemas of the same types.
mod bindings;
/// The command line, as snapshots that are its manual.
mod cli;
mod cli_files;
/// The flags of the command: inputs of every form, results in files, retries, halts, dry runs.
mod cli_flags;
/// The command in pipes: results as they come, readers that leave, inputs that do not come.
mod cli_streams;
/// Clocks and kills: a task ends in time, and nothing else does.
mod deadlines;
/// The documents: their transcripts are true, their links and includes lead somewhere, their code is compiled.
mod docs;
/// Values that a task emits while it runs: bounded, in order, for whoever reads.
mod emits;
/// The ways in which pools, workers and processes end, by the same numbers.
mod ending;
/// One task's failure is one task's: every kind of error, beside others that succeed.
mod failures;
/// The behaviours of Python's futures, by the same numbers.
mod future_behaviours;
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
/// Managers that stand alone, for any pool and process.
mod managers;
/// The behaviours of Python's maps, by the same numbers.
mod map_behaviours;
/// Maps: order, laziness, bounds.
mod maps;
/// A program without the engine: what it links, and that it runs tasks.
mod no_engine;
/// The behaviours of Python's queues, pipes, locks and managers, by the same numbers.
mod object_behaviours;
/// Objects that tasks and the host share: used from both sides, and by those who die.
mod objects;
/// Shared memory, and handles on the way: in results, to sub-tasks, through queues.
mod shared;
/// Tasks that submit tasks: without deadlock, within quotas, ended together.
mod subtasks;
/// The code keeps its own rules: imports, opening sentences, no paths of one machine.
mod tidy;
/// Clocks, sleep and random numbers: by policy, the same through both doors, repeatable by a seed.
mod time;
/// Values of all types cross the border and come back.
mod values;
/// Worker processes: what they inherit, how they die, who runs again.
mod workers;

/// This package's own copy of the command, which pools start as their workers.
const WPOOL: &str = env!("CARGO_BIN_EXE_wpool-dup");

/// Waits until `so` returns true. Panics after 30 s.
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
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
