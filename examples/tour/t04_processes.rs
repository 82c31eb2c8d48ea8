//! Two processes at once, one for the square of a number and one for its cube, both joined.

use std::error::Error;

use wpool::{Guest, Process};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let square = Process::builder(guest.clone()).start::<i64, ()>("print_square", &10)?;
    let cube = Process::builder(guest).start::<i64, ()>("print_cube", &10)?;
    for process in [&square, &cube] {
        process.join(None);
        say_log(&process.completed().log);
    }
    say("Done!");
    Ok(())
}
