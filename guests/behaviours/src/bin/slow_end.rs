//! Runs until it is ended, by itself if it is asked.
#![no_main]

/// Computes for ever, unless the host wants it to end; then it says how far it came.
#[wpool_guest::task]
fn until_cancelled() -> u64 {
    (1..).find(|_| wpool_guest::cancelled()).unwrap_or(0)
}

/// Computes for ever.
#[wpool_guest::task]
fn forever() {
    loop {
        std::hint::black_box(0);
    }
}

/// Fills memory again and again, each time for longer than the engine can interrupt.
#[wpool_guest::task]
fn fill() {
    let mut bytes = vec![0u8; 200 << 20];
    for value in 1.. {
        bytes.fill(value);
        std::hint::black_box(&bytes);
    }
}

/// Returns what it is given.
#[wpool_guest::task]
fn echo(value: u64) -> u64 {
    value
}
