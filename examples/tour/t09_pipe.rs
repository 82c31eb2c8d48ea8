//! A pipe between two processes that run at once: one sends messages, the other answers one of them and stops at END.

use std::error::Error;

use wpool::{Connection, Guest, Manager, PipeMode, Process};
use wpool_examples::{guest, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let (one, other): (Connection<String>, _) = Manager::new().pipe(PipeMode::Duplex);
    let sender = Process::builder(guest.clone()).start::<_, ()>("send_messages", &one)?;
    let receiver = Process::builder(guest).start::<_, ()>("receive_messages", &other)?;
    for process in [sender, receiver] {
        process.join(None);
        say_log(&process.completed().log);
    }
    Ok(())
}
