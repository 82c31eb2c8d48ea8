//! Ten calls in a pool of three, each sleeping for a random time: at most three run at a time.

use std::error::Error;

use wpool::{Guest, Isolation, Pool};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    // A worker with an instance of its own runs one task at a time; otherwise it takes another one while a task sleeps.
    let builder = Pool::builder(guest).workers(3).min_workers(3);
    let pool = builder.isolation(Isolation::Worker).worker_info(true).build()?;
    let long_task = pool.task::<(u32, u64), ()>("long_task")?;
    let mut futures = Vec::new();
    for number in 0..10 {
        futures.push(long_task.apply_async(&(number, 200), |()| {}, |error| say(&error.to_string()))?);
    }
    say("----start----");
    pool.close();
    pool.join()?;
    for future in &futures {
        say_log(&future.log().ok_or("all have ended")?);
    }
    say("-----end-----");
    Ok(())
}
