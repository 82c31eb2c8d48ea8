//! The ways to end a task early: one that waits is cancelled, one that runs is killed.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, Isolation, Pool, Status, Task};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    // In a shared instance one task at a time sleeps.
    let tour = Guest::from_file(guest("tour")?)?;
    let pool = Pool::builder(tour).workers(1).isolation(Isolation::Worker).build()?;
    let sleep_for: Task<(u32, u64), u32> = pool.task("sleep_for")?;
    let (first, second) = (sleep_for.submit(&(1, 60_000))?, sleep_for.submit(&(2, 60_000))?);
    while first.status() == Status::Pending {
        std::thread::sleep(Duration::from_millis(1));
    }
    say(&format!("cancel the one that runs: {}", first.cancel()));
    say(&format!("cancel the one that waits: {}", second.cancel()));
    first.kill();
    for future in [first, second] {
        match future.result() {
            Ok(value) => say(&format!("value: {value}")),
            Err(error) => say(error.kind()),
        }
    }
    say(&format!("the pool goes on: {}", sleep_for.apply(&(3, 0))?));
    Ok(())
}
