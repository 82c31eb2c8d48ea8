//! A memory file of 64-bit words that several processes map. Every access is an atomic one of a whole word.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// The size of a word in bytes.
pub(crate) const WORD: usize = size_of::<u64>();

/// The seals that keep the size of the file, so that an access to the memory cannot fault.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// Creates a file of `count` zeros, whose size cannot change any more. Further seals can be added.
///
/// # Errors
/// `ENOMEM` if the size overflows, or the error of the system call that failed.
pub(crate) fn create_file(name: &str, count: usize) -> rustix::io::Result<OwnedFd> {
    let len = count.checked_mul(WORD).ok_or(rustix::io::Errno::NOMEM)?;
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    rustix::fs::fcntl_add_seals(&file, FIXED_SIZE)?;
    Ok(file)
}

/// Words that this process can read.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<u64>,
    count: usize,
}

/// Words that this process can read and write.
#[derive(Debug)]
pub(crate) struct WritableMapping(Mapping);

/// A word that other processes may write to.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct ReadOnlyWord(AtomicU64);

impl ReadOnlyWord {
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and this value alone unmaps it. So it may be moved to
// another thread.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference gives access to the words as atomics, and to nothing else.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the `count` words of a file, to read them.
    ///
    /// # Errors
    /// `EINVAL` if the file has another size, or if its size could change; else the kernel's error.
    pub(crate) fn open(file: impl AsFd, count: usize) -> rustix::io::Result<Self> {
        Self::map(file, count, ProtFlags::READ)
    }

    fn map(file: impl AsFd, count: usize, protection: ProtFlags) -> rustix::io::Result<Self> {
        let len = count.checked_mul(WORD).ok_or(rustix::io::Errno::INVAL)?;
        let size = usize::try_from(rustix::fs::fstat(&file)?.st_size);
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if size != Ok(len) || !seals.contains(FIXED_SIZE) {
            return Err(rustix::io::Errno::INVAL);
        }
        // SAFETY: `mmap` may replace memory only at a fixed address; here the address is null, so the kernel picks a
        // free range. Each byte of the range stays backed by the file: the checks above found that the file has the
        // size of the mapping, and seals that keep it.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        let address = NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { address, count })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[ReadOnlyWord] {
        // SAFETY: `map` mapped `count` words for reading, from the start of a page on, so they are aligned. They live
        // as long as the borrow of `self`, because only `drop` unmaps them. All bytes are a valid atomic, which may
        // change at any time; a `ReadOnlyWord` is one that is loaded only, so it may lie in read-only memory.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast(), self.count) }
    }
}

impl WritableMapping {
    /// Maps the `count` words of a file, to read and to write them.
    ///
    /// # Errors
    /// Those of [`Mapping::open`]; the kernel's if the descriptor does not allow writing.
    pub(crate) fn open(file: impl AsFd, count: usize) -> rustix::io::Result<Self> {
        Mapping::map(file, count, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    pub(crate) fn read_only(&self) -> &Mapping {
        &self.0
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: as in `Mapping::words`; `open` mapped these words for writing, too.
        unsafe { std::slice::from_raw_parts(self.0.address.as_ptr().cast(), self.0.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` has made this mapping with this address and size, and no other value unmaps it. `self` is
        // borrowed mutably, so no reference into the mapping is left.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.count * WORD) };
        debug_assert!(unmapped.is_ok(), "a mapping of this process can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_size_or_whose_size_could_change_is_not_mapped() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-test", flags).unwrap();
        rustix::fs::ftruncate(&file, 16).unwrap();
        assert!(Mapping::open(&file, 2).is_err());
        rustix::fs::fcntl_add_seals(&file, FIXED_SIZE).unwrap();
        assert!(Mapping::open(&file, 1).is_err() && Mapping::open(&file, 3).is_err());
        assert!(Mapping::open(&file, usize::MAX).is_err());
        assert!(Mapping::open(&file, 2).is_ok() && WritableMapping::open(&file, 2).is_ok());
    }
}
