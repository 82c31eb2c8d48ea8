//! A task that reports its progress while it runs.

use std::error::Error;

use wpool::{EmitBuffer, Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let count = pool.task::<u32, u32>("count")?;
    let (future, progress) = count.submit_emitting::<u32>(&4, EmitBuffer::default())?;
    for reached in progress {
        say(&format!("{} of 4", reached?));
    }
    say(&format!("it has counted to {}", future.result()?));

    let (future, newest) = count.submit_emitting::<u32>(&1000, EmitBuffer::drop_oldest(1))?;
    future.result()?;
    say(&format!("{} were not looked at", newest.dropped()));
    say(&format!("the newest of all: {:?}", newest.collect::<Result<Vec<_>, _>>()?));
    Ok(())
}
