//! The smallest task: a number in, a number out.
#![no_main]

/// The square of a number.
#[wpool_guest::task]
fn square(x: i64) -> i64 {
    x.wrapping_mul(x)
}
