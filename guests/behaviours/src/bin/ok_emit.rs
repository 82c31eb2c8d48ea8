//! Emits values while it runs.
#![no_main]

/// Emits the numbers up to `to`, and returns the number of them.
#[wpool_guest::task]
fn count(to: u64) -> u64 {
    (1..=to).inspect(wpool_guest::emit).count() as u64
}

/// Emits a number, and then runs until it is killed.
#[wpool_guest::task]
fn emit_and_stay(number: u64) {
    wpool_guest::emit(&number);
    loop {
        std::hint::black_box(number);
    }
}

/// Emits one value of `size` bytes.
#[wpool_guest::task]
fn emit_bytes(size: usize) {
    wpool_guest::emit(&vec![7u8; size]);
}
