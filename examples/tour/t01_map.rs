//! An executor's map over a list.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let square = pool.task::<i64, i64>("square")?;
    for result in square.map([1, 2, 3, 4, 5]) {
        say(&result?.to_string());
    }
    Ok(())
}
