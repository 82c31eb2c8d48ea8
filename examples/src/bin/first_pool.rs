//! The tutorial's first pool: one call and one map of the same task.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("primes")?)?;
    let pool = Pool::builder(guest).workers(2).timeout(Duration::from_secs(5)).build()?;
    let primes = pool.task::<u32, u32>("primes")?;

    let future = primes.submit(&1_000)?;
    say(&format!("{} primes below a thousand", future.result()?));

    let limits = [10, 100, 10_000];
    for (limit, count) in limits.into_iter().zip(primes.map(limits)) {
        say(&format!("{} primes below {limit}", count?));
    }
    say(&format!("{} tasks succeeded", pool.stats().succeeded));
    Ok(())
}
