//! A list of records that the pool's manager keeps: one task extends it, another shows it.

use std::error::Error;

use wpool::{Guest, List, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let records: List<(String, u32)> = pool.manager().list();
    records.extend(&[("Sam".to_owned(), 10), ("Adam".to_owned(), 9), ("Kevin".to_owned(), 9)])?;
    let add = pool.task::<((String, u32), List<(String, u32)>), ()>("add_record")?;
    add.apply(&(("Jeff".to_owned(), 8), records.clone()))?;
    let show = pool.task::<List<(String, u32)>, Vec<String>>("show_records")?;
    show.apply(&records)?.iter().for_each(|line| say(line));
    Ok(())
}
