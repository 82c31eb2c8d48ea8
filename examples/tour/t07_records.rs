//! A list of records that a manager keeps: one process extends it, another shows it.

use std::error::Error;

use wpool::{Guest, List, Manager, Process};
use wpool_examples::{guest, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let manager = Manager::new();
    let records: List<(String, u32)> = manager.list();
    records.extend(&[("Sam".to_owned(), 10), ("Adam".to_owned(), 9), ("Kevin".to_owned(), 9)])?;
    let new = (("Jeff".to_owned(), 8u32), records.clone());
    let add = Process::builder(guest.clone()).start::<_, ()>("add_record", &new)?;
    add.join(None);
    let show = Process::builder(guest).start::<_, ()>("show_records", &records)?;
    show.join(None);
    [add, show].iter().for_each(|process| say_log(&process.completed().log));
    Ok(())
}
