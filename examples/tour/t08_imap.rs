//! `imap` beside `imap_unordered`, with the slow item first.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(2).build()?;
    let square = pool.task::<(i64, u64), i64>("slow_square")?;
    let inputs = [(3, 400_000_000), (2, 0), (1, 0)];
    let ordered: Result<Vec<i64>, _> = square.imap(inputs).collect();
    say(&format!("imap:           {:?}", ordered?));
    let unordered: Vec<i64> = square.imap_unordered(inputs).collect::<Result<_, _>>()?;
    say(&format!("imap_unordered: the slow one comes last: {}", unordered.last() == Some(&9)));
    Ok(())
}
