//! `apply_async`, `close` and `join`; the result is read afterwards.

use std::error::Error;
use std::thread::available_parallelism;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let workers = available_parallelism()?.get();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(workers).build()?;
    let sub_progress = pool.task::<u64, String>("sub_progress")?;
    let future = sub_progress.apply_async(&200, |_value| {}, |error| say(&format!("failed: {error}")))?;
    pool.close();
    pool.join()?;
    say("joined");
    say_log(&future.log().ok_or("it has ended")?);
    say(&format!("get: {}", future.result()?));
    Ok(())
}
