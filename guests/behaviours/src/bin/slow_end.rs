//! Runs until it is cancelled or killed.
#![no_main]

/// Counts until the host wants it to end, and returns the count.
#[wpool_guest::task]
fn until_cancelled() -> u64 {
    (1..).find(|_| wpool_guest::cancelled()).unwrap_or(0)
}

/// Computes without end.
#[wpool_guest::task]
fn forever() {
    loop {
        std::hint::black_box(0);
    }
}

/// Fills memory again and again. Each time takes long, and the engine cannot interrupt it.
#[wpool_guest::task]
fn fill() {
    let mut bytes = vec![0u8; 200 << 20];
    for value in 1.. {
        bytes.fill(value);
        std::hint::black_box(&bytes);
    }
}

/// Returns its argument.
#[wpool_guest::task]
fn echo(value: u64) -> u64 {
    value
}
