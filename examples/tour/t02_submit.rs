//! Submits one call, and waits for its result.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let future = pool.task::<i64, i64>("echo")?.submit(&1)?;
    say(&format!("result: {}", future.result()?));
    Ok(())
}
