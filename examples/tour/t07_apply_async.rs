//! `apply_async` with two callbacks, then `close` and `join`.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let divide = pool.task::<(i64, i64), i64>("divide")?;
    for by in [5, 0] {
        divide.apply_async(
            &(10, by),
            move |value| say(&format!("10 / {by} = {value}")),
            move |error| say(&format!("10 / {by} failed: {}", error.kind())),
        )?;
        // One after the other, so that the lines come in order.
        pool.task::<i64, i64>("square")?.apply(&1)?;
    }
    pool.close();
    pool.join()?;
    say("joined");
    Ok(())
}
