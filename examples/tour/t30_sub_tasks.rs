//! A task that submits tasks to its own pool and waits for them, with one worker and without a deadlock.

use std::error::Error;

use wpool::{Guest, Pool, SubTasks};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let quota = SubTasks { depth: 12, ..SubTasks::default() };
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(1).sub_tasks(quota).build()?;
    let fibonacci = pool.task::<u32, u64>("fibonacci")?;
    say(&format!("the twelfth: {}", fibonacci.apply(&12)?));
    say(&format!("tasks for that: {}", pool.stats().succeeded));
    match fibonacci.apply(&14) {
        Ok(value) => say(&format!("the fourteenth: {value}")),
        Err(error) => say(&format!("the fourteenth: {error}")),
    }
    Ok(())
}
