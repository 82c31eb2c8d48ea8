//! A map with a timeout: tasks that ended in time have their value, the others an error.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, Pool, TaskError};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(1).build()?;
    let square = pool.task::<(i64, u64), i64>("slow_square")?;
    square.apply(&(1, 0))?;
    let limit = Duration::from_secs(1);
    for (number, result) in (1..).zip(square.map_timeout(limit).map([(1, 0), (2, u64::MAX), (3, u64::MAX)])) {
        match result {
            Ok(value) => say(&format!("{number}: {value}")),
            Err(TaskError::Timeout { limit, .. }) => say(&format!("{number}: not within {limit:?}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
