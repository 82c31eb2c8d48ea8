//! Integers in postcard's encoding, which is not written through serde here.

use wpool_abi::object::Number;

/// Appends an unsigned integer: seven bits a byte, the least significant first.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u128) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends the length of a sequence or a map, whose elements follow.
pub(crate) fn push_len(out: &mut Vec<u8>, len: usize) {
    push_varint(out, len as u128);
}

/// Returns the unsigned form of a signed integer, which is small for small absolute values.
pub(super) fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)).cast_unsigned()
}

pub(super) fn unzigzag(value: u128) -> i128 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Encodes the numbers of a shared array, which lie in `bytes` as in memory, as a sequence.
pub(crate) fn numbers_in_postcard(form: Number, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_len(&mut out, bytes.len() / form.width());
    for element in bytes.chunks_exact(form.width()) {
        let mut word = [0; 8];
        word[..element.len()].copy_from_slice(element);
        let unsigned = u64::from_le_bytes(word);
        let unused = 64 - 8 * element.len();
        let signed = (unsigned << unused).cast_signed() >> unused;
        match form {
            Number::U8 | Number::I8 | Number::F32 | Number::F64 => out.extend_from_slice(element),
            Number::U16 | Number::U32 | Number::U64 => push_varint(&mut out, unsigned.into()),
            Number::I16 | Number::I32 | Number::I64 => push_varint(&mut out, zigzag(signed.into())),
        }
    }
    out
}
