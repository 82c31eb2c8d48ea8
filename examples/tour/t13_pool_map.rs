//! A pool maps a function over numbers, and the worker that ran each call is known.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let square = pool.task::<i64, i64>("square")?;
    let futures = (1..=5).map(|number| square.submit(&number)).collect::<Result<Vec<_>, _>>()?;
    let mut squares = Vec::new();
    for (number, future) in (1..).zip(futures) {
        squares.push(future.result()?);
        let worker = future.figures().and_then(|figures| figures.worker).ok_or("every task has a worker")?;
        say(&format!("{number}: worker {worker}"));
    }
    say(&format!("{squares:?}"));
    Ok(())
}
