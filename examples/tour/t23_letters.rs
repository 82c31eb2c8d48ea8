//! The letters of a word, put into a queue by one task of a pool and read by another, each with its process and its parent.

use std::error::Error;

use wpool::{Guest, Manager, Pool, Queue, Receiver, Sender};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).worker_info(true).build()?;
    let queue: Queue<char> = Manager::new().queue(0);
    let fails = |error| say(&format!("failed: {error}"));
    say(&format!("the program: process {}", std::process::id()));
    let write = pool.task::<(String, Sender<char>), ()>("write_word")?;
    let writer = write.apply_async(&("wpool".to_owned(), queue.sender()), |()| {}, fails)?;
    writer.result()?;
    let read = pool.task::<Receiver<char>, ()>("read_word")?;
    let reader = read.apply_async(&queue.receiver(), |()| {}, fails)?;
    pool.close();
    pool.join()?;
    for future in [writer, reader] {
        say_log(&future.log().ok_or("both have ended")?);
    }
    Ok(())
}
