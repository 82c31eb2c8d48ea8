//! Ten calls in a pool of three, each of random length: at most three run at a time.

use std::collections::BTreeSet;
use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};

use wpool::{Guest, Pool};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(3).min_workers(3).build()?;
    let long_task = pool.task::<(u32, u64), ()>("long_task")?;
    let random = RandomState::new();
    let mut futures = Vec::new();
    for number in 0..10 {
        let rounds = 100_000_000 + random.hash_one(number) % 200_000_000;
        futures.push(long_task.apply_async(&(number, rounds), |()| {}, |error| say(&error.to_string()))?);
    }
    say("----start----");
    pool.close();
    pool.join()?;
    let mut workers = BTreeSet::new();
    for future in &futures {
        say_log(&future.log().ok_or("all have ended")?);
        workers.extend(future.figures().and_then(|figures| figures.worker).map(|worker| worker.to_string()));
    }
    say(&format!("workers: {}", workers.len()));
    say("-----end-----");
    Ok(())
}
