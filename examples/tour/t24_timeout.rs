//! A map with a timeout: all calls are submitted first, the time counts from the call, and when it is over what has not
//! ended is ended, and what has not begun never begins.

use std::error::Error;
use std::time::{Duration, Instant};

use wpool::{Guest, Pool, TaskError};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(1).build()?;
    let work = pool.task::<(u32, u64), u32>("work_for")?;
    work.apply(&(0, 0))?;
    let (limit, began) = (Duration::from_secs(1), Instant::now());
    let map = work.map_timeout(limit).map([(1, 0), (2, u64::MAX), (3, 0), (4, 0)]);
    for (number, result) in (1..).zip(map) {
        match result {
            Ok(value) => say(&format!("{number}: {value}")),
            Err(TaskError::Timeout { limit, .. }) => say(&format!("{number}: not within {limit:?}")),
            Err(error) => return Err(error.into()),
        }
    }
    let took = began.elapsed();
    say(&format!("at the right moment: {}", took >= limit && took < limit * 3));
    say(&format!("calls that succeeded: {}", pool.stats().succeeded));
    Ok(())
}
