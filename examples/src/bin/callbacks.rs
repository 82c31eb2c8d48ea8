//! Counts primes in several tasks; a callback receives each count when it is done.

use std::error::Error;
use std::sync::mpsc::channel;

use wpool::{Guest, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(wpool_examples::guest("primes")?)?).build()?;
    let primes = pool.task::<u32, u32>("primes")?;
    let (sender, receiver) = channel();
    for exponent in 1..=6 {
        let limit = 10u32.pow(exponent);
        let sender = sender.clone();
        primes.submit(&limit)?.add_done_callback(move |future| {
            // The receiver lives until every callback has run.
            let _heard = sender.send((limit, future.result()));
        });
    }
    drop(sender);
    let mut counts: Vec<_> = receiver.iter().collect();
    counts.sort_by_key(|(limit, _)| *limit);
    for (limit, count) in counts {
        wpool_examples::say(&format!("{} primes below {limit}", count?));
    }
    Ok(())
}
