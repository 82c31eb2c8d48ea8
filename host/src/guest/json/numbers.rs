//! Numbers from JSON in the types that hold them.

use wpool_abi::Type;

use super::varint::{push_varint, zigzag};

/// Returns whether a float with `DIGITS` binary digits represents an integer exactly.
pub(super) fn exact_in<const DIGITS: u32>(value: i128) -> bool {
    let magnitude = value.unsigned_abs();
    magnitude == 0 || u128::BITS - magnitude.leading_zeros() - magnitude.trailing_zeros() <= DIGITS
}

/// Appends an integer. Returns false, and appends nothing, if the type does not hold it.
pub(super) fn push_integer(ty: &Type, value: i128, out: &mut Vec<u8>) -> bool {
    fn fits<T: TryFrom<i128>>(value: i128) -> bool {
        T::try_from(value).is_ok()
    }
    match ty {
        // Single bytes are written as they are.
        Type::U8 if fits::<u8>(value) => out.push(value.to_le_bytes()[0]),
        Type::I8 if fits::<i8>(value) => out.push(value.to_le_bytes()[0]),
        Type::U16 if fits::<u16>(value) => push_varint(out, value.cast_unsigned()),
        Type::U32 if fits::<u32>(value) => push_varint(out, value.cast_unsigned()),
        Type::U64 if fits::<u64>(value) => push_varint(out, value.cast_unsigned()),
        Type::U128 if fits::<u128>(value) => push_varint(out, value.cast_unsigned()),
        Type::I16 if fits::<i16>(value) => push_varint(out, zigzag(value)),
        Type::I32 if fits::<i32>(value) => push_varint(out, zigzag(value)),
        Type::I64 if fits::<i64>(value) => push_varint(out, zigzag(value)),
        Type::I128 => push_varint(out, zigzag(value)),
        _ => return false,
    }
    true
}

/// Appends a float. Returns false, and appends nothing, if the type is not a float or is too narrow for the value.
pub(super) fn push_float(ty: &Type, value: f64, out: &mut Vec<u8>) -> bool {
    match ty {
        Type::F64 => out.extend_from_slice(&value.to_le_bytes()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to the nearest float of 32 bits is meant"
        )]
        Type::F32 if (value as f32).is_finite() => out.extend_from_slice(&(value as f32).to_le_bytes()),
        _ => return false,
    }
    true
}

/// Appends a float for which JSON has no number. Returns false, and appends nothing, if `name` is none of them.
pub(super) fn push_named_float(ty: &Type, name: &str, out: &mut Vec<u8>) -> bool {
    let value = match name {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => return false,
    };
    match ty {
        Type::F64 => out.extend_from_slice(&value.to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "these three are the same in both sizes")]
        _ => out.extend_from_slice(&(value as f32).to_le_bytes()),
    }
    true
}
