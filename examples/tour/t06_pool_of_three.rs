//! A pool of three takes ten messages of random length, and says which process measured each.

use std::collections::BTreeSet;
use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(3).min_workers(3).build()?;
    let measure = pool.task::<String, u32>("measure")?;
    let random = RandomState::new();
    let mut workers = BTreeSet::new();
    for number in 0..10 {
        let message = "x".repeat(usize::try_from(random.hash_one(number) % 100)?);
        let length = message.len();
        let future = measure.submit(&message)?;
        let counted = future.result()?;
        let worker = future.figures().and_then(|figures| figures.worker).ok_or("every task has a worker")?;
        workers.insert(worker.to_string());
        say(&format!(
            "message {number}: {} by worker {worker}",
            if counted as usize == length { "measured" } else { "mistaken" }
        ));
    }
    say(&format!("{} at most: {}", 3, workers.len() <= 3));
    Ok(())
}
