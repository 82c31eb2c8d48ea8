//! Counts its calls in a static: every fresh instance counts from one.
#![no_main]

use std::sync::atomic::{AtomicU32, Ordering};

static VISITS: AtomicU32 = AtomicU32::new(0);

/// Returns the number of calls of this instance, including this one.
#[wpool_guest::task]
fn visit(_input: u32) -> u32 {
    VISITS.fetch_add(1, Ordering::Relaxed) + 1
}
