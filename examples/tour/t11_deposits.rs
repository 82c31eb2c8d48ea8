//! Ten thousand withdrawals and ten thousand deposits at once, each under a lock, ten times.

use std::error::Error;

use wpool::{Guest, Lock, Pool, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(2).build()?;
    let deposit = pool.task::<(u32, i64, Value<i64>, Option<Lock>), ()>("deposit")?;
    for _ in 0..10 {
        let (balance, lock) = (pool.manager().value(&100)?, pool.manager().lock());
        let both =
            [-1, 1].map(|amount| deposit.submit(&(10_000, amount, balance.clone(), Some(lock.clone()))));
        for task in both {
            task?.result()?;
        }
        say(&format!("final balance: {}", balance.get()?));
    }
    Ok(())
}
