//! What a guest's use of shared objects costs, beside a bare round trip between two processes.

use std::path::Path;
use std::time::Instant;

use wpool::{Dict, Guest, Pool, Queue};

use super::{Result, Row, median, per_second, ping_pong};

/// Calls of one round.
const CALLS: u32 = 20_000;
/// Rounds of a thousand values each.
const THOUSANDS: u32 = 200;

/// Measures all of it. `guests` is the folder of the modules.
pub(super) fn measure(guests: &Path, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(Guest::from_file(guests.join("ok_objects.wasm"))?).workers(2).build()?;
    let manager = pool.manager();
    let (queue, dict): (Queue<u32>, Dict<u32, u32>) = (manager.queue(1000), manager.dict());
    let put_and_get = pool.task::<(u32, Queue<u32>), ()>("put_and_get")?;
    let set_keys = pool.task::<(u32, Dict<u32, u32>), ()>("set_keys")?;
    let thousands = pool.task::<(u32, Queue<u32>), ()>("thousands")?;
    put_and_get.apply(&(10, queue.clone()))?;
    let (mut trips, mut trip_ratios) = (Vec::new(), Vec::new());
    let (mut sets, mut set_ratios, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let ping = ping_pong(i64::from(CALLS))?;
        let began = Instant::now();
        put_and_get.apply(&(CALLS, queue.clone()))?;
        let trip = 1e6 / per_second(i64::from(CALLS), began);
        let began = Instant::now();
        set_keys.apply(&(CALLS, dict.clone()))?;
        let set = 1e6 / per_second(i64::from(CALLS), began);
        let began = Instant::now();
        thousands.apply(&(THOUSANDS, queue.clone()))?;
        values.push(1e6 / per_second(i64::from(THOUSANDS) * 1000, began));
        trip_ratios.push(trip / ping);
        set_ratios.push(set / ping);
        trips.push(trip);
        sets.push(set);
    }
    let beside = |ratios| format!("{:.2} bare round trips", median(ratios));
    let row = |what, value, beside| Row { what, value, unit: "us", beside };
    rows.push(row("a guest puts a value and gets it back", median(trips), beside(trip_ratios)));
    rows.push(row("a guest sets a key", median(sets), beside(set_ratios)));
    rows.push(row("one of 1,000 values put and got together", median(values), String::new()));
    Ok(())
}
