//! What a guest's use of shared objects costs, beside a bare round trip between two processes.

use std::future::Future as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::task::{Context, Waker};
use std::time::Instant;

use wpool::{Dict, Guest, Pool, Queue, SharedArray};

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
    python(rows);
    shared_memory(guests, rounds, rows)?;
    waiters(&pool, rows)
}

/// Measures Python's manager, where there is a Python.
fn python(rows: &mut Vec<Row>) {
    let script = super::manifest().join("peers/python_manager.py");
    let output = Command::new("python3").arg(script).stderr(Stdio::null()).output();
    let printed = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let ours: Vec<f64> = rows.iter().rev().take(3).map(|row| row.value).collect();
    let whats = ["the same with Python's Manager: put and get", "the same with Python's Manager: set a key"];
    for ((what, time), own) in whats.into_iter().zip(printed.split_whitespace()).zip(ours.iter().rev()) {
        if let Ok(value) = time.parse::<f64>() {
            let beside = format!("{:.0} times ours", value / own);
            rows.push(Row { what, value, unit: "us", beside });
        }
    }
}

/// Measures shared memory, beside a copy within one process.
fn shared_memory(guests: &Path, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    /// Elements, and slices of a mebibyte, of one round.
    const ELEMENTS: u32 = 1_000_000;
    const SLICES: u32 = 2_000;
    const MIB: usize = 1 << 20;
    let pool = Pool::builder(Guest::from_file(guests.join("ok_shared.wasm"))?).workers(1).build()?;
    let array: SharedArray<u64> = pool.manager().shared_array(MIB / 8)?;
    let elements = pool.task::<(u32, SharedArray<u64>), u64>("elements")?;
    let slices = pool.task::<(u32, SharedArray<u64>), u64>("slices")?;
    elements.apply(&(10, array.clone()))?;
    let (mut accesses, mut copies, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let gib_per_second = |times: u32, began| {
        let mib = per_second(i64::from(times) * 2, began);
        mib / 1024.0
    };
    for _ in 0..rounds {
        let began = Instant::now();
        elements.apply(&(ELEMENTS, array.clone()))?;
        accesses.push(1e9 / per_second(i64::from(ELEMENTS) * 2, began));
        let began = Instant::now();
        slices.apply(&(SLICES, array.clone()))?;
        let shared = gib_per_second(SLICES, began);
        let (mut here, mut there) = (vec![1u8; MIB], vec![0u8; MIB]);
        let began = Instant::now();
        for _ in 0..SLICES {
            there.copy_from_slice(std::hint::black_box(&here));
            here.copy_from_slice(std::hint::black_box(&there));
        }
        ratios.push(shared / gib_per_second(SLICES, began));
        copies.push(shared);
    }
    let (what, unit) = ("a guest reads or writes an element of a shared array", "ns");
    rows.push(Row { what, value: median(accesses), unit, beside: String::new() });
    let beside = format!("{:.2} of a copy within a process", median(ratios));
    let (what, unit) = ("a guest reads or writes slices of 1 MiB", "GiB/s");
    rows.push(Row { what, value: median(copies), unit, beside });
    Ok(())
}

/// Measures what ten thousand futures cost that wait in the host.
fn waiters(pool: &Pool, rows: &mut Vec<Row>) -> Result<()> {
    let event = pool.manager().event();
    let mut context = Context::from_waker(Waker::noop());
    let before = resident()?;
    let mut waiters: Vec<_> = (0..10_000).map(|_| Box::pin(event.wait_async())).collect();
    for waiter in &mut waiters {
        if waiter.as_mut().poll(&mut context).is_ready() {
            return Err("an event that nobody has set was waited for".into());
        }
    }
    let used = resident()?.saturating_sub(before);
    rows.push(Row {
        what: "10,000 futures that wait",
        value: used as f64 / 1024.0,
        unit: "MiB",
        beside: String::new(),
    });
    Ok(())
}

/// KiB of memory that this process has.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
