//! `terminate` while ten calls run or wait in a pool of three: all end at once, and none has a result.

use std::error::Error;
use std::time::{Duration, Instant};

use wpool::{Guest, Pool, TaskError};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(3).build()?;
    let long_task = pool.task::<(u32, u64), ()>("long_task")?;
    let futures: Vec<_> =
        (0..10).map(|number| long_task.submit(&(number, u64::MAX))).collect::<Result<_, _>>()?;
    say("----start----");
    while !futures.iter().any(|future| future.running()) {
        std::thread::yield_now();
    }
    let began = Instant::now();
    pool.terminate();
    pool.join()?;
    say(&format!("ended within a second: {}", began.elapsed() < Duration::from_secs(1)));
    let closed = futures.iter().filter(|future| future.exception() == Some(TaskError::PoolClosed)).count();
    say(&format!("without a result: {closed} of {}", futures.len()));
    say("-----end-----");
    Ok(())
}
