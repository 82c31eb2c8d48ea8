//! Two processes, started and joined.

use std::error::Error;

use wpool::{Guest, Process};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let square = Process::builder(guest.clone()).start::<i64, i64>("square", &10)?;
    let cube = Process::builder(guest).start::<i64, i64>("cube", &10)?;
    for process in [&square, &cube] {
        process.join(None);
        let code = process.exit_code();
        say(&format!("{}: {}, exit code {code:?}", process.name(), process.result()?));
    }
    say(&format!("alive: {} and {}", square.is_alive(), cube.is_alive()));
    Ok(())
}
