//! The tutorial's failures: each task fails in a way of its own, and the tasks beside it succeed.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, Pool, TaskError};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let pool = Pool::builder(guest).timeout(Duration::from_millis(200)).build()?;

    let divide = pool.task::<(i64, i64), i64>("divide")?;
    for result in divide.map([(8, 2), (8, 0), (8, 4)]) {
        say(&outcome(result));
    }

    // `u64::MAX` rounds take years.
    let slow_square = pool.task::<(i64, u64), i64>("slow_square")?;
    say(&outcome(slow_square.submit(&(3, u64::MAX))?.result()));

    // This task submits tasks, which the pool does not allow.
    let fibonacci = pool.task::<u32, u64>("fibonacci")?;
    say(&outcome(fibonacci.submit(&12)?.result()));

    say(&format!("workers lost: {}", pool.stats().workers_lost));
    Ok(())
}

fn outcome<R: ToString>(result: Result<R, TaskError>) -> String {
    match result {
        Ok(value) => format!("value: {}", value.to_string()),
        Err(TaskError::Guest(error)) => format!("an error of its own: {error}"),
        Err(TaskError::Panic { message, .. }) => format!("panic: {message}"),
        Err(TaskError::Timeout { clock, limit }) => format!("timeout: it {clock} longer than {limit:?}"),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}
