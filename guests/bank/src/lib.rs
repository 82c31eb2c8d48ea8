//! A bank account that many tasks put money into and take money from, with a lock and without.

use wpool_guest::{Lock, ObjectError, Value};

/// Adds an amount to the balance so many times, each time holding the lock if there is one.
#[wpool_guest::task]
fn transact(times: u32, amount: i64, balance: Value<i64>, lock: Option<Lock>) -> Result<(), ObjectError> {
    for _ in 0..times {
        let _held = lock.as_ref().map(Lock::acquire).transpose()?;
        let before = balance.get()?;
        // Whoever changes the balance between here and there has not.
        balance.set(&(before + amount))?;
    }
    Ok(())
}
