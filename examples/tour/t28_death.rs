//! A task that panics affects no other task, and its error says why.

use std::error::Error;

use wpool::{Guest, Pool, TaskError};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let divide = pool.task::<(i64, i64), i64>("divide")?;
    for result in divide.map([(8, 2), (8, 0), (8, 4)]) {
        match result {
            Ok(value) => say(&format!("value: {value}")),
            Err(TaskError::Panic { message, .. }) => say(&format!("panic: {message}")),
            Err(error) => say(&format!("error: {error}")),
        }
    }
    say(&format!("workers lost: {}", pool.stats().workers_lost));
    Ok(())
}
