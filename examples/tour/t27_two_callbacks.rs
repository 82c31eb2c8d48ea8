//! `apply_async` with two callbacks that collect results and errors, then `close` and `join`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let divide = pool.task::<(i64, i64), i64>("divide")?;
    // The callbacks come in the order in which the tasks end, which two workers do not promise.
    let gathered = Arc::new(Mutex::new(BTreeMap::new()));
    for by in [5, 0] {
        let keep = |gathered: &Arc<Mutex<BTreeMap<i64, String>>>| {
            let gathered = Arc::clone(gathered);
            move |line| drop(gathered.lock().expect("no callback panics").insert(by, line))
        };
        let (value, failure) = (keep(&gathered), keep(&gathered));
        divide.apply_async(
            &(10, by),
            move |quotient| value(format!("10 / {by} = {quotient}")),
            move |error| failure(format!("10 / {by} failed: {}", error.kind())),
        )?;
    }
    pool.close();
    pool.join()?;
    say("joined");
    gathered.lock().expect("no callback panics").values().rev().for_each(|line| say(line));
    Ok(())
}
