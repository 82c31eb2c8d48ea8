//! Leaves as much state as it can for later tasks, and returns the state that it found.
#![no_main]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

static VISITS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Stores a name, and returns all names that were stored before.
#[wpool_guest::task]
fn note(name: String) -> Vec<String> {
    SEEN.with_borrow_mut(|seen| {
        let before = seen.clone();
        seen.push(name);
        before
    })
}

/// Counts its calls; the call with this number panics.
#[wpool_guest::task]
fn visit(panics: u32) -> u32 {
    let visit = VISITS.fetch_add(1, Ordering::Relaxed) + 1;
    assert_ne!(visit, panics, "as it was told");
    visit
}
