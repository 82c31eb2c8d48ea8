//! A pipe to a task that sends back what it receives, until END.

use std::error::Error;

use wpool::{Connection, Guest, ObjectError, PipeMode, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let (here, there) = pool.manager().pipe::<String>(PipeMode::Duplex);
    let echo = pool.task::<Connection<String>, u32>("echo_until_end")?.submit(&there)?;
    drop(there);
    for message in ["hello", "hey", "hru?"] {
        here.send(&message.to_owned())?;
        say(&format!("echoed: {}", here.recv()?));
    }
    here.send(&"END".to_owned())?;
    say(&format!("messages: {}", echo.result()?));
    say(&format!("nobody is left: {}", here.recv() == Err(ObjectError::Closed)));
    Ok(())
}
