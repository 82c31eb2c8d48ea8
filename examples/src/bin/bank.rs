//! Ten thousand deposits and as many withdrawals by twenty tasks: exact under a lock, wrong without one.

use std::error::Error;

use wpool::{Guest, Lock, Pool, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("bank")?)?).build()?;
    let transact = pool.task::<(u32, i64, Value<i64>, Option<Lock>), ()>("transact")?;
    for lock in [Some(pool.manager().lock()), None] {
        let balance: Value<i64> = pool.manager().value(&5_000)?;
        let jobs = (0..20).map(|n| (1_000, if n % 2 == 0 { 3 } else { -2 }, balance.clone(), lock.clone()));
        transact.map(jobs).collect::<Result<Vec<()>, _>>()?;
        let right = balance.get()? == 5_000 + 10_000 * 3 - 10_000 * 2;
        say(&format!("{} the balance is {}", how(lock.as_ref()), if right { "exact" } else { "wrong" }));
    }
    Ok(())
}

fn how(lock: Option<&Lock>) -> &'static str {
    if lock.is_some() { "with a lock" } else { "without a lock" }
}
