//! A callback that receives the future and prints its result, before the executor's scope has ended.

use std::error::Error;

use wpool::{Guest, Pool, TaskFuture};
use wpool_examples::{guest, say};

/// Prints the result of a future that is done.
fn when_done(future: &TaskFuture<i64>) {
    match future.result() {
        Ok(value) => say(&format!("result: {value}")),
        Err(error) => say(&format!("failed: {error}")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    {
        let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
        pool.task::<i64, i64>("echo")?.submit(&1)?.add_done_callback(when_done);
        // The end of the scope waits for tasks and callbacks.
    }
    say("the scope has ended");
    Ok(())
}
