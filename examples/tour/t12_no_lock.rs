//! Withdrawals and deposits without a lock: updates are lost. A barrier between reading and writing has it happen.

use std::error::Error;

use wpool::{Barrier, Guest, Lock, Pool, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(2).build()?;
    let deposit = pool.task::<(u32, i64, Value<i64>, Option<Lock>), ()>("deposit")?;
    for _ in 0..9 {
        let balance = pool.manager().value(&100)?;
        let both = [-1, 1].map(|amount| deposit.submit(&(10_000, amount, balance.clone(), None)));
        for task in both {
            task?.result()?;
        }
        say(&format!("final balance: {}", balance.get()?));
    }
    let (balance, barrier) = (pool.manager().value(&100)?, pool.manager().barrier(2));
    let meet = pool.task::<(i64, Value<i64>, Barrier), ()>("deposit_together")?;
    let both = [-1, 1].map(|amount| meet.submit(&(amount, balance.clone(), barrier.clone())));
    for task in both {
        task?.result()?;
    }
    say(&format!("one of each, met between reading and writing: {}", balance.get()?));
    Ok(())
}
