//! A queue of the pool's manager that one task writes and another reads.

use std::error::Error;

use wpool::{Guest, Pool, Queue, Receiver, Sender};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let queue: Queue<i64> = pool.manager().queue(10);
    let reading = pool.task::<Receiver<i64>, Vec<i64>>("take_all")?.submit(&queue.receiver())?;
    let put = pool.task::<(Vec<i64>, Sender<i64>), ()>("put_squares")?;
    put.apply(&((1..=20).collect(), queue.sender()))?;
    queue.close()?;
    say(&format!("read: {:?}", reading.result()?));
    Ok(())
}
