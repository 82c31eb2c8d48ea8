//! Prepares a value that differs from run to run.
#![no_main]

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

thread_local! {
    static DRAWN: Cell<u64> = const { Cell::new(0) };
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

/// A random number, from the host.
fn draw() -> u64 {
    RandomState::new().hash_one(0)
}

/// Draws a number.
#[wpool_guest::init]
fn prepare() {
    DRAWN.set(draw());
    RUNS.set(RUNS.get() + 1);
}

/// Returns the number that was drawn, and how often a number was drawn; then draws another one.
#[wpool_guest::task]
fn look() -> (u64, u32) {
    let seen = (DRAWN.get(), RUNS.get());
    prepare();
    seen
}
