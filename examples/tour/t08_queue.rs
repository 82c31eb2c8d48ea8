//! Squares that one task puts into a queue, and this program takes out of it.

use std::error::Error;

use wpool::{Guest, Pool, Queue, Sender};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let queue: Queue<i64> = pool.manager().queue(2);
    let put = pool.task::<(Vec<i64>, Sender<i64>), ()>("put_squares")?;
    let putting = put.submit(&(vec![1, 2, 3, 4], queue.sender()))?;
    for _ in 0..4 {
        say(&queue.get()?.to_string());
    }
    putting.result()?;
    say(&format!("empty: {}", queue.empty()?));
    Ok(())
}
