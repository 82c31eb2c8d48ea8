//! The parts of the binary format of modules that the two rewriters need.

/// The ids of sections.
pub(super) const MEMORIES: u8 = 5;
pub(super) const GLOBALS: u8 = 6;
pub(super) const EXPORTS: u8 = 7;
pub(super) const START: u8 = 8;
pub(super) const DATA: u8 = 11;
pub(super) const DATA_COUNT: u8 = 12;

pub(super) fn write_section(out: &mut Vec<u8>, id: u8, section: &[u8]) {
    out.push(id);
    write_u32(out, u32::try_from(section.len()).expect("a module is smaller than 4 GiB"));
    out.extend_from_slice(section);
}

/// Writes a number in LEB128: seven bits per byte, the lowest first.
pub(super) fn write_u32(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads a number in LEB128, and returns it with the bytes behind it.
pub(super) fn read_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u32;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Writes a signed number in LEB128.
pub(super) fn write_i64(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        let whole = (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0);
        if whole {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for value in [0, 1, 127, 128, 300, 65_535, u32::MAX] {
            let mut bytes = Vec::new();
            write_u32(&mut bytes, value);
            assert_eq!(read_u32(&bytes), Some((value, &[][..])));
        }
    }

    #[test]
    fn signed_numbers_are_as_the_specification_has_them() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (63, &[0x3f]),
            (64, &[0xc0, 0x00]),
            (-1, &[0x7f]),
            (-64, &[0x40]),
            (-65, &[0xbf, 0x7f]),
            (i64::from(i32::MIN), &[0x80, 0x80, 0x80, 0x80, 0x78]),
        ] {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }
}
