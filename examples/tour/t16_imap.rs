//! `imap` over calls of different length yields in the order of the inputs, `imap_unordered` as they end.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(3).min_workers(3).build()?;
    let work = pool.task::<(u32, u64), u32>("work_for")?;
    let inputs = [1, 5, 3].map(|length| (length, u64::from(length) * 300_000_000));
    for number in work.imap(inputs) {
        say(&format!("imap: {}", number?));
    }
    for number in work.imap_unordered(inputs) {
        say(&format!("imap_unordered: {}", number?));
    }
    Ok(())
}
