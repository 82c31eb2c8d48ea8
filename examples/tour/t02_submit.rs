//! Submits a call, does something else, and asks for the result.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let future = pool.task::<i64, i64>("square")?.submit(&7)?;
    say("submitted");
    say(&format!("7 squared is {}", future.result()?));
    say(&format!(
        "done: {}, cancelled: {}, running: {}",
        future.done(),
        future.cancelled(),
        future.running()
    ));
    Ok(())
}
