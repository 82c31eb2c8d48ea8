//! A producer and a consumer as two processes, with a one-way pipe between them.

use std::error::Error;

use wpool::{Connection, Guest, Manager, PipeMode, Process};
use wpool_examples::{guest, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let (receives, sends): (Connection<String>, _) = Manager::new().pipe(PipeMode::OneWay);
    let producer = Process::builder(guest.clone()).start::<_, ()>("send_one", &(sends, 100u64))?;
    let consumer = Process::builder(guest).start::<_, ()>("receive_one", &(receives, 100u64))?;
    producer.result()?;
    consumer.result()?;
    say_log(&consumer.completed().log);
    Ok(())
}
