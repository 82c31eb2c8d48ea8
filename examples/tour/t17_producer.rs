//! A producer and a consumer as two processes, with a queue between them.

use std::error::Error;

use wpool::{Guest, Manager, Process, Queue};
use wpool_examples::{guest, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let queue: Queue<String> = Manager::new().queue(0);
    let producer = Process::builder(guest.clone()).start::<_, ()>("produce", &(queue.sender(), 100u64))?;
    let consumer = Process::builder(guest).start::<_, ()>("consume", &(queue.receiver(), 100u64))?;
    producer.result()?;
    consumer.result()?;
    say_log(&consumer.completed().log);
    Ok(())
}
