//! A pool maps a function over numbers; each call prints its number and the id of its process.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).worker_info(true).build()?;
    let square = pool.task::<i64, i64>("square_with_pid")?;
    let futures = (1..=5).map(|number| square.submit(&number)).collect::<Result<Vec<_>, _>>()?;
    let mut squares = Vec::new();
    for future in futures {
        squares.push(future.result()?);
        say_log(&future.log().ok_or("every task has a log")?);
    }
    say(&format!("{squares:?}"));
    say(&format!("living workers: {:?}", pool.worker_pids()));
    Ok(())
}
