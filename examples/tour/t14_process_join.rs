//! A process that sleeps and prints; the program goes on after its join.

use std::error::Error;

use wpool::{Guest, Process};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let process =
        Process::builder(Guest::from_file(guest("tour")?)?).start::<u64, String>("sub_progress", &200)?;
    process.join(None);
    say_log(&process.completed().log);
    say("the main program ends");
    Ok(())
}
