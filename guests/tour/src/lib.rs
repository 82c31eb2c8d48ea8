//! The functions of the tour: what every tutorial on processes begins with.

use std::sync::Mutex;

use wpool_guest::{SubTaskError, submit};

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The square of a number.
#[wpool_guest::task]
fn square(number: i64) -> i64 {
    number * number
}

/// The cube of a number.
#[wpool_guest::task]
fn cube(number: i64) -> i64 {
    number * number * number
}

/// The square of a number, after a while of computing.
#[wpool_guest::task]
fn slow_square(number: i64, rounds: u32) -> i64 {
    (0..rounds).for_each(|round| {
        std::hint::black_box(round);
    });
    number * number
}

/// Puts messages into the list of this process, and says how many it holds now.
#[wpool_guest::task]
fn fill(messages: Vec<String>) -> usize {
    let mut list = MESSAGES.lock().expect("one task at a time");
    list.extend(messages);
    list.len()
}

/// How many letters a message has.
#[wpool_guest::task]
fn measure(message: &str) -> usize {
    message.chars().count()
}

/// Dies of a division.
#[wpool_guest::task]
fn divide(number: i64, by: i64) -> i64 {
    number / by
}

/// Counts to a number, and emits each that it reaches.
#[wpool_guest::task]
fn count(to: u32) -> u32 {
    (1..=to).for_each(|reached| wpool_guest::emit(&reached));
    to
}

/// A Fibonacci number, by two tasks of its own for each but the first two.
#[wpool_guest::task]
fn fibonacci(n: u32) -> Result<u64, SubTaskError> {
    if n < 2 {
        return Ok(n.into());
    }
    let (left, right) = (submit::<u64>("fibonacci", &(n - 1)), submit::<u64>("fibonacci", &(n - 2)));
    Ok(left.result()? + right.result()?)
}
