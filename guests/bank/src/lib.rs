//! A bank account that many tasks put money into and take money from, with a lock and without.

use wpool_guest::{Lock, ObjectError, Value};

/// Adds `amount` to the balance `times` times, each time with the lock held if there is one.
#[wpool_guest::task]
fn transact(times: u32, amount: i64, balance: Value<i64>, lock: Option<Lock>) -> Result<(), ObjectError> {
    for _ in 0..times {
        let _held = lock.as_ref().map(Lock::acquire).transpose()?;
        let before = balance.get()?;
        // Without a lock, a change by another task at this point is overwritten.
        balance.set(&(before + amount))?;
    }
    Ok(())
}
