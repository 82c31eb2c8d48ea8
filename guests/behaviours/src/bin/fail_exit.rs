//! Ends with an exit code instead of a value.
#![no_main]

/// Exits with `code` unless it is negative.
#[wpool_guest::task]
fn leave(code: i32) -> i32 {
    if code >= 0 {
        wpool_guest::exit(code);
    }
    code
}
