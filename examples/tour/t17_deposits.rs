//! Deposits and withdrawals by two tasks at a time, ten times with a lock and ten times without.

use std::error::Error;

use wpool::{Guest, Lock, Pool, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let deposit = pool.task::<(u32, i64, Value<i64>, Option<Lock>), ()>("deposit")?;
    for lock in [Some(pool.manager().lock()), None] {
        let mut right = 0;
        for _ in 0..10 {
            let balance = pool.manager().value(&100)?;
            let both: Vec<_> = [1, -1]
                .iter()
                .map(|amount| deposit.submit(&(500, *amount, balance.clone(), lock.clone())))
                .collect::<Result<_, _>>()?;
            both.iter().try_for_each(|task| task.result())?;
            right += u32::from(balance.get()? == 100);
        }
        match lock {
            Some(_) => say(&format!("with a lock the balance was right {right} times of 10")),
            None => say(&format!("without one it was wrong: {}", right < 10)),
        }
    }
    Ok(())
}
