//! The one checked door into a guest's memory: no other file indexes it.
//!
//! An address and a length that a guest names are untrusted. A [`GuestSlice`] holds them, and each access compares them
//! with the size that the memory has at that moment.

use crate::guest_error::BadGuest;

/// An address and a length that a guest has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GuestSlice {
    start: usize,
    end: usize,
}

impl GuestSlice {
    /// Makes a slice from a guest's own numbers, which are unsigned although WebAssembly does not tell.
    pub(crate) fn new(ptr: u32, len: u32) -> Self {
        let start = ptr as usize;
        // The sum of two 32-bit numbers cannot overflow 64 bits.
        Self { start, end: start + len as usize }
    }

    /// Makes a slice from an offset in a snapshot, which is as untrusted as the guest that has left it.
    ///
    /// # Errors
    /// If the end of the slice overflows.
    pub(crate) fn from_offset(start: usize, len: usize) -> Result<Self, BadGuest> {
        let end = start
            .checked_add(len)
            .ok_or_else(|| BadGuest(format!("{len} bytes at address {start} end behind the last address")))?;
        Ok(Self { start, end })
    }

    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }

    /// Returns the bytes.
    ///
    /// # Errors
    /// If they do not lie in `memory`, as for all accesses below.
    pub(crate) fn read(self, memory: &[u8]) -> Result<&[u8], BadGuest> {
        memory.get(self.start..self.end).ok_or_else(|| self.outside(memory.len()))
    }

    /// Returns the bytes, to be written to.
    pub(crate) fn write(self, memory: &mut [u8]) -> Result<&mut [u8], BadGuest> {
        let len = memory.len();
        memory.get_mut(self.start..self.end).ok_or_else(|| self.outside(len))
    }

    /// Returns the bytes as text. `what` names the text in the error for bytes that are not UTF-8.
    pub(crate) fn text<'m>(self, memory: &'m [u8], what: &str) -> Result<&'m str, BadGuest> {
        std::str::from_utf8(self.read(memory)?).map_err(|_| BadGuest(format!("{what} is not UTF-8")))
    }

    /// Copies at most `longest` bytes as text, with a replacement character for each that is not UTF-8.
    pub(crate) fn lossy_text(self, memory: &[u8], longest: usize) -> Result<String, BadGuest> {
        let bytes = self.read(memory)?;
        Ok(String::from_utf8_lossy(&bytes[..bytes.len().min(longest)]).into_owned())
    }

    fn outside(self, memory: usize) -> BadGuest {
        BadGuest(format!(
            "{} bytes at address {} do not lie in its memory of {memory} bytes",
            self.len(),
            self.start
        ))
    }
}

/// Reads a record of `N` bytes.
pub(crate) fn read_array<const N: usize>(memory: &[u8], ptr: u32) -> Result<[u8; N], BadGuest> {
    let slice = GuestSlice { start: ptr as usize, end: ptr as usize + N };
    Ok(slice.read(memory)?.try_into().expect("the slice has N bytes"))
}

/// Reads a little-endian `u32`.
pub(crate) fn read_u32(memory: &[u8], ptr: u32) -> Result<u32, BadGuest> {
    Ok(u32::from_le_bytes(read_array(memory, ptr)?))
}

/// Writes a little-endian `u32`.
pub(crate) fn write_u32(memory: &mut [u8], ptr: u32, value: u32) -> Result<(), BadGuest> {
    GuestSlice::new(ptr, 4).write(memory)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Writes a little-endian `u64`.
pub(crate) fn write_u64(memory: &mut [u8], ptr: u32, value: u64) -> Result<(), BadGuest> {
    GuestSlice::new(ptr, 8).write(memory)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Returns the pages of `now` that differ from those of `initial`, with their indices. `initial` continues with zeros,
/// as memory does that has grown.
pub(crate) fn changed_pages<'m, const PAGE: usize>(
    initial: &'m [u8],
    now: &'m [u8],
) -> impl Iterator<Item = (usize, &'m [u8])> {
    now.chunks(PAGE).enumerate().filter(move |(index, page)| {
        let start = index * PAGE;
        let before = initial.get(start..start + page.len()).unwrap_or(&[0; PAGE][..page.len()]);
        before != *page
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_inside_is_read_and_any_other_is_an_error() {
        let memory = [7u8; 16];
        assert_eq!(GuestSlice::new(0, 16).read(&memory).unwrap().len(), 16);
        assert_eq!(GuestSlice::new(16, 0).read(&memory).unwrap().len(), 0);
        for (ptr, len) in [(0, 17), (16, 1), (17, 0), (u32::MAX, 1), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            assert!(GuestSlice::new(ptr, len).read(&memory).is_err(), "{ptr}+{len}");
        }
        assert!(read_u32(&memory, 13).is_err());
        assert_eq!(read_u32(&memory, 12).unwrap(), 0x0707_0707);
        assert!(read_array::<8>(&memory, u32::MAX).is_err());
    }

    #[test]
    fn an_offset_that_overflows_is_an_error() {
        let memory = [7u8; 16];
        assert_eq!(GuestSlice::from_offset(8, 8).unwrap().read(&memory).unwrap().len(), 8);
        assert!(GuestSlice::from_offset(8, 9).unwrap().read(&memory).is_err());
        assert!(GuestSlice::from_offset(usize::MAX, 1).is_err());
    }

    #[test]
    fn text_is_checked() {
        let memory = b"caf\xc3\xa9 \xff";
        assert_eq!(GuestSlice::new(0, 5).text(memory, "its name"), Ok("café"));
        let error = GuestSlice::new(0, 7).text(memory, "its name").unwrap_err();
        assert_eq!(error.0, "its name is not UTF-8");
        assert!(GuestSlice::new(0, 8).text(memory, "its name").unwrap_err().0.contains("do not lie"));
        assert_eq!(GuestSlice::new(0, 7).lossy_text(memory, 100).unwrap(), "café \u{fffd}");
        assert_eq!(GuestSlice::new(0, 7).lossy_text(memory, 3).unwrap(), "caf");
    }

    #[test]
    fn a_page_counts_as_changed_if_one_byte_does() {
        let initial = [1u8; 8];
        let now = [1, 1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0, 0, 3];
        let changed: Vec<_> = changed_pages::<4>(&initial, &now).collect();
        assert_eq!(changed, [(1, &now[4..8]), (3, &now[12..14])]);
    }
}
