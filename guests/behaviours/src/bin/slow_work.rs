//! Computes for a given number of rounds.
#![no_main]

/// Computes for `thousands` thousand rounds.
#[wpool_guest::task]
fn work(thousands: u32) -> u64 {
    let mut state = u64::from(thousands);
    for _ in 0..u64::from(thousands) * 1000 {
        state =
            std::hint::black_box(state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
    }
    state
}
