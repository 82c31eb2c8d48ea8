//! A list of this program stays empty while a task fills the list of its own process.

use std::error::Error;
use std::sync::Mutex;

use wpool::{Guest, Process};
use wpool_examples::{guest, say};

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let words = ["one", "two", "three"].map(str::to_owned).to_vec();
    let process =
        Process::builder(Guest::from_file(guest("tour")?)?).start::<Vec<String>, u32>("fill", &words)?;
    say(&format!("the list of the process holds {} messages", process.result()?));
    let ours = MESSAGES.lock().map_err(|_| "no thread panics here")?.len();
    say(&format!("the list of this program holds {ours}"));
    Ok(())
}
