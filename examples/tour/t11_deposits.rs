//! Two processes at once, ten thousand withdrawals and ten thousand deposits, each under a lock; ten times.

use std::error::Error;

use wpool::{Guest, Lock, Manager, Process, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let manager = Manager::new();
    for _ in 0..10 {
        let (balance, lock): (Value<i64>, Lock) = (manager.value(&100)?, manager.lock());
        let start = |amount: i64| {
            let arguments = (10_000u32, amount, balance.clone(), Some(lock.clone()));
            Process::builder(guest.clone()).start::<_, ()>("deposit", &arguments)
        };
        for process in [start(-1)?, start(1)?] {
            process.result()?;
        }
        say(&format!("final balance: {}", balance.get()?));
    }
    Ok(())
}
