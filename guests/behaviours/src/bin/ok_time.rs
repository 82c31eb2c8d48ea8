//! A guest that reads clocks, sleeps, draws random numbers, and asks who runs it.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use wpool_guest::{SubTaskError, cancelled, now, random, random_bytes, sleep, submit, system_time, worker};

/// Sleeps, and returns the elapsed time.
#[wpool_guest::task]
fn nap(milliseconds: u64) -> u64 {
    let begun = now();
    sleep(Duration::from_millis(milliseconds));
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps one nanosecond, and returns whether the clock has gone on.
#[wpool_guest::task]
fn blink() -> bool {
    let begun = now();
    sleep(Duration::from_nanos(1));
    now() > begun
}

/// Sleeps in steps until it is to end, and returns whether it was woken in the middle of a step.
#[wpool_guest::task]
fn nap_until_cancelled() -> bool {
    loop {
        let begun = now();
        sleep(Duration::from_secs(3600));
        if cancelled() {
            return begun.elapsed() < Duration::from_secs(3600);
        }
    }
}

/// The seconds since 1970.
#[wpool_guest::task]
fn today() -> u64 {
    system_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Random numbers of all kinds.
#[wpool_guest::task]
fn numbers() -> (u64, [u8; 3], bool, f64) {
    let mut bytes = [0; 3];
    random_bytes(&mut bytes);
    (random(), bytes, random(), random())
}

/// The random number that is the input's, whatever the input is.
#[wpool_guest::task]
fn draw(_index: u32) -> u64 {
    random()
}

/// The random numbers of two sub-tasks.
#[wpool_guest::task]
fn draw_below() -> Result<(u64, u64), SubTaskError> {
    let (left, right) = (submit::<u64>("draw", &0u32), submit::<u64>("draw", &0u32));
    Ok((left.result()?, right.result()?))
}

/// The name, the process id and the parent's process id of the worker.
#[wpool_guest::task]
fn who() -> Option<(String, u32, u32)> {
    worker().map(|worker| (worker.name, worker.pid, worker.parent_pid))
}

/// Keeps this number of bytes while it sleeps, and returns how many they are.
#[wpool_guest::task]
fn hold(bytes: u32, milliseconds: u64) -> u32 {
    let kept = vec![1u8; bytes as usize];
    sleep(Duration::from_millis(milliseconds));
    kept.iter().map(|byte| u32::from(*byte)).sum()
}
