//! [`Number`]: the element types of shared arrays.

use serde::{Deserialize, Serialize};

/// The type of the elements of a shared array. The order of the variants is the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the type of the same name")]
pub enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Number {
    /// Returns the size of one element in bytes: 1, 2, 4 or 8.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Number::U8 | Number::I8 => 1,
            Number::U16 | Number::I16 => 2,
            Number::U32 | Number::I32 | Number::F32 => 4,
            Number::U64 | Number::I64 | Number::F64 => 8,
        }
    }

    /// Returns the sum of two elements, each in the lowest bits. Integers wrap around.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an element is in the lowest bits")]
    pub fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Number::F32 => (f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits().into(),
            Number::F64 => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
            _ => a.wrapping_add(b),
        }
    }
}
