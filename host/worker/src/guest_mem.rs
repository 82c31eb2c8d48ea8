//! The one checked door into a guest's memory.
//!
//! What a guest hands over is an allegation: [`GuestSlice`] only says that its end can be computed.
//! `read` and `write` check it against the memory as it is now, and nothing else indexes that memory.

use super::faults::BadGuest;

/// An address and a length that a guest named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GuestSlice {
    start: usize,
    end: usize,
}

impl GuestSlice {
    /// Takes the guest at its word. Both numbers are unsigned, whatever type WebAssembly gave them.
    pub(super) fn new(ptr: u32, len: u32) -> Self {
        let start = ptr as usize;
        // On 64 bits the sum of two 32-bit numbers cannot wrap.
        Self { start, end: start + len as usize }
    }

    pub(super) fn len(self) -> usize {
        self.end - self.start
    }

    /// The bytes, if the guest's memory has them.
    pub(super) fn read(self, memory: &[u8]) -> Result<&[u8], BadGuest> {
        memory.get(self.start..self.end).ok_or_else(|| self.outside(memory.len()))
    }

    /// The bytes to write to, if the guest's memory has them.
    pub(super) fn write(self, memory: &mut [u8]) -> Result<&mut [u8], BadGuest> {
        let len = memory.len();
        memory.get_mut(self.start..self.end).ok_or_else(|| self.outside(len))
    }

    fn outside(self, memory: usize) -> BadGuest {
        BadGuest(format!(
            "{} bytes at address {} do not lie in its memory of {memory} bytes",
            self.len(),
            self.start
        ))
    }
}

/// Reads a little-endian `u32` that a guest left at an address.
pub(super) fn read_u32(memory: &[u8], ptr: u32) -> Result<u32, BadGuest> {
    let bytes = GuestSlice::new(ptr, 4).read(memory)?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("the slice has four bytes")))
}

/// Writes a little-endian `u32` where a guest asked for it.
pub(super) fn write_u32(memory: &mut [u8], ptr: u32, value: u32) -> Result<(), BadGuest> {
    GuestSlice::new(ptr, 4).write(memory)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Writes a little-endian `u64` where a guest asked for it.
pub(super) fn write_u64(memory: &mut [u8], ptr: u32, value: u64) -> Result<(), BadGuest> {
    GuestSlice::new(ptr, 8).write(memory)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_opens_for_what_is_there_and_nothing_else() {
        let memory = [7u8; 16];
        assert_eq!(GuestSlice::new(0, 16).read(&memory).unwrap().len(), 16);
        assert_eq!(GuestSlice::new(16, 0).read(&memory).unwrap().len(), 0);
        for (ptr, len) in [(0, 17), (16, 1), (17, 0), (u32::MAX, 1), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            assert!(GuestSlice::new(ptr, len).read(&memory).is_err(), "{ptr}+{len}");
        }
        assert!(read_u32(&memory, 13).is_err());
        assert_eq!(read_u32(&memory, 12).unwrap(), 0x0707_0707);
    }
}
