//! `imap` over calls that sleep yields in the order of the inputs, `imap_unordered` as they end.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(3).min_workers(3).build()?;
    let sleep = pool.task::<(u32, u64), u32>("sleep_for")?;
    let inputs = [1, 5, 3].map(|number| (number, u64::from(number) * 200));
    for number in sleep.imap(inputs) {
        say(&format!("imap: {}", number?));
    }
    for number in sleep.imap_unordered(inputs) {
        say(&format!("imap_unordered: {}", number?));
    }
    Ok(())
}
