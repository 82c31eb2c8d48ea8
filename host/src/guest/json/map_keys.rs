//! The keys of maps, which are names in a JSON object.

use wpool_abi::Type;
use wpool_wire::message::push_bytes;

use super::numbers::push_integer;
use super::varint::push_varint;

/// Returns whether a map with keys of this type is an object in JSON. Other maps are arrays of pairs.
pub(in crate::guest) fn is_object_key(ty: &Type) -> bool {
    matches!(
        ty,
        Type::String
            | Type::Char
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::U128
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::I128
    )
}

/// Appends a key. Returns false, and appends nothing, if the name is not one of this type.
pub(super) fn push_key(key: &Type, name: &str, out: &mut Vec<u8>) -> bool {
    match key {
        Type::String => push_bytes(out, name.as_bytes()),
        Type::Char if name.chars().count() == 1 => push_bytes(out, name.as_bytes()),
        Type::U128 => match name.parse() {
            Ok(value) => push_varint(out, value),
            Err(_) => return false,
        },
        _ => return name.parse().is_ok_and(|value| push_integer(key, value, out)),
    }
    true
}
