//! Logs, and then computes for a given number of rounds.
#![no_main]

/// Writes `lines` lines, computes for `thousands` thousand rounds, and writes one more line.
#[wpool_guest::task]
fn tell(lines: u32, thousands: u32) -> u64 {
    for line in 0..lines {
        wpool_guest::info!("line {line}");
    }
    let mut state = u64::from(lines);
    for _ in 0..u64::from(thousands) * 1000 {
        state = std::hint::black_box(state.wrapping_mul(6364136223846793005).wrapping_add(1));
    }
    wpool_guest::info!("end");
    state
}
