//! Errors of a guest's own, with and without a schema.
#![no_main]

use serde::{Deserialize, Serialize};

/// Why a number has no half.
#[derive(Serialize, Deserialize, wpool_guest::Schema)]
enum Problem {
    Negative { by: i64 },
    Odd,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Negative { by } => write!(f, "below zero by {by}"),
            Problem::Odd => f.write_str("odd"),
        }
    }
}

/// Half of a number that is even and not negative.
#[wpool_guest::task]
fn half(number: i64) -> Result<i64, Problem> {
    match number {
        ..0 => Err(Problem::Negative { by: -number }),
        _ if number % 2 == 1 => Err(Problem::Odd),
        _ => Ok(number / 2),
    }
}

/// Parses a number; the error has no schema.
#[wpool_guest::task]
fn parse(text: &str) -> Result<i32, std::num::ParseIntError> {
    text.parse()
}
