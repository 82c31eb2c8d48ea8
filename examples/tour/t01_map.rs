//! An executor's map over a list, whose results are read when the executor's scope has ended.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let results = {
        // As many workers as processors.
        let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
        pool.task::<i64, i64>("echo")?.map([1, 2, 3, 4])
    };
    for result in results {
        say(&result?.to_string());
    }
    Ok(())
}
