//! A global list: a process appends to its own, and the list of this program stays empty.

use std::error::Error;
use std::sync::Mutex;

use wpool::{Guest, Process};
use wpool_examples::{guest, say, say_log};

static RESULT: Mutex<Vec<i64>> = Mutex::new(Vec::new());

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let process = Process::builder(guest).start::<Vec<i64>, ()>("append_squares", &vec![1, 2, 3, 4])?;
    process.join(None);
    say_log(&process.completed().log);
    let ours = RESULT.lock().map_err(|_| "no thread panics here")?;
    say(&format!("result (in the main program): {ours:?}"));
    Ok(())
}
