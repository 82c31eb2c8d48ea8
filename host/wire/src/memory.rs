//! Shared memory of plain numbers: the host and its workers map the same file, and every access is atomic.
//!
//! An element is read and written whole. A guest sees the memory through copies only: none of it lies in its own.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use wpool_abi::object::{Number, ObjectError};

/// Files are as long as whole words.
const WORD: usize = size_of::<u64>();

const _: () =
    assert!(cfg!(target_endian = "little"), "guests are little endian, and copies are not converted");

/// Memory that is mapped into this process.
#[derive(Debug)]
pub struct SharedMemory {
    address: NonNull<u64>,
    /// Without what fills up the last word.
    len: usize,
    form: Number,
    writable: bool,
}

// SAFETY: the mapping lives as long as the value, moves with it, and is accessed by atomics only.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

/// The file behind shared memory, as the process has it that made it.
#[derive(Debug)]
pub struct MemoryFile {
    /// None if nobody may write to it any more.
    writable: Option<OwnedFd>,
    read_only: OwnedFd,
}

impl MemoryFile {
    /// What a worker is given. Which of the two decides what the kernel lets it do.
    pub fn for_worker(&self, writable: bool) -> BorrowedFd<'_> {
        self.writable.as_ref().filter(|_| writable).unwrap_or(&self.read_only).as_fd()
    }
}

impl SharedMemory {
    /// Makes memory of so many zeros. Its file can be neither grown nor shrunk, so no access to the memory can fault.
    pub fn create(form: Number, count: usize) -> rustix::io::Result<(Self, MemoryFile)> {
        let len = count.checked_mul(form.width()).ok_or(rustix::io::Errno::NOMEM)?;
        let file = Self::file(len)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Self::map(&file, form, len, true)?;
        let read_only = reopened(&file)?;
        Ok((memory, MemoryFile { writable: Some(file), read_only }))
    }

    /// Makes memory of these bytes, which nobody can ever write to.
    pub fn constant(form: Number, bytes: &[u8]) -> rustix::io::Result<(Self, MemoryFile)> {
        let file = Self::file(bytes.len())?;
        let filled = Self::map(&file, form, bytes.len(), true)?;
        filled.write(0, bytes).map_err(|_| rustix::io::Errno::INVAL)?;
        // The seal against writing is not set while anybody could.
        drop(filled);
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let read_only = reopened(&file)?;
        let memory = Self::map(&read_only, form, bytes.len(), false)?;
        Ok((memory, MemoryFile { writable: None, read_only }))
    }

    /// Maps memory that the parent has made: `len` bytes of elements.
    pub fn open(file: &File, form: Number, len: usize, writable: bool) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        if usize::try_from(stat.st_size) != Ok(whole_words(len)) || !len.is_multiple_of(form.width()) {
            return Err(rustix::io::Errno::INVAL);
        }
        Self::map(file, form, len, writable)
    }

    fn file(len: usize) -> rustix::io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-shared", flags)?;
        rustix::fs::ftruncate(&file, whole_words(len) as u64)?;
        Ok(file)
    }

    fn map(file: impl AsFd, form: Number, len: usize, writable: bool) -> rustix::io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel picks the address, and the file is as long as the mapping: `file` has just made it so,
        // and `open` has just compared it.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), whole_words(len), protection, MapFlags::SHARED, file, 0)
        }?;
        let address = NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { address, len, form, writable })
    }

    /// The size of all elements in bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    pub fn form(&self) -> Number {
        self.form
    }

    /// The memory as elements of one width.
    fn elements<E: Element>(&self) -> &[E] {
        let count = self.len / size_of::<E>();
        // SAFETY: the mapping begins at a page, has `len` bytes and more, lives as long as `self`, and is accessed by
        // atomics only, in every process; any bytes are a good atomic. Who only may read it stores nothing: `write`
        // and `add` look at `writable` first.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast::<E>(), count) }
    }

    /// Where a range of bytes lies, if it is one of whole elements.
    fn place(&self, at: u64, len: usize) -> Result<usize, ObjectError> {
        let at = usize::try_from(at).map_err(|_| ObjectError::NotFound)?;
        if !at.is_multiple_of(self.form.width()) || !len.is_multiple_of(self.form.width()) {
            return Err(ObjectError::WrongType);
        }
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(at),
            _ => Err(ObjectError::NotFound),
        }
    }

    /// Copies bytes from a place on.
    ///
    /// # Errors
    /// If there are not so many, or they are no whole elements.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        let at = self.place(at, into.len())?;
        let (head, body) = into.split_at_mut(before_word(at).min(into.len()));
        let (words, tail) = body.as_chunks_mut::<WORD>();
        let (middle, end) = (at + head.len(), at + head.len() + words.len() * WORD);
        self.read_elements(at, head);
        for (word, element) in words.iter_mut().zip(&self.elements::<AtomicU64>()[middle / WORD..]) {
            *word = element.load(Ordering::Relaxed).to_le_bytes();
        }
        self.read_elements(end, tail);
        Ok(())
    }

    /// Copies bytes to a place.
    ///
    /// # Errors
    /// As [`read`](Self::read), or if the memory is to be read only.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        let at = self.place(at, bytes.len())?;
        self.may_write()?;
        let (head, body) = bytes.split_at(before_word(at).min(bytes.len()));
        let (words, tail) = body.as_chunks::<WORD>();
        let (middle, end) = (at + head.len(), at + head.len() + words.len() * WORD);
        self.write_elements(at, head);
        for (word, element) in words.iter().zip(&self.elements::<AtomicU64>()[middle / WORD..]) {
            element.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.write_elements(end, tail);
        Ok(())
    }

    /// Adds to the element at a place, and tells what it was before.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        let at = self.place(at, self.form.width())?;
        self.may_write()?;
        Ok(match self.form.width() {
            1 => self.add_to::<AtomicU8>(at, number),
            2 => self.add_to::<AtomicU16>(at, number),
            4 => self.add_to::<AtomicU32>(at, number),
            _ => self.add_to::<AtomicU64>(at, number),
        })
    }

    fn may_write(&self) -> Result<(), ObjectError> {
        if self.writable { Ok(()) } else { Err(ObjectError::NoRight) }
    }

    /// Reads less than a word.
    fn read_elements(&self, at: usize, into: &mut [u8]) {
        match self.form.width() {
            1 => read_each(&self.elements::<AtomicU8>()[at..], into),
            2 => read_each(&self.elements::<AtomicU16>()[at / 2..], into),
            4 => read_each(&self.elements::<AtomicU32>()[at / 4..], into),
            // No element is larger, and so no part of one is left.
            _ => {}
        }
    }

    /// Writes less than a word.
    fn write_elements(&self, at: usize, bytes: &[u8]) {
        match self.form.width() {
            1 => write_each(&self.elements::<AtomicU8>()[at..], bytes),
            2 => write_each(&self.elements::<AtomicU16>()[at / 2..], bytes),
            4 => write_each(&self.elements::<AtomicU32>()[at / 4..], bytes),
            _ => {}
        }
    }

    fn add_to<E: Element>(&self, at: usize, number: u64) -> u64 {
        let element = &self.elements::<E>()[at / size_of::<E>()];
        let mut before = element.get();
        while let Err(now) = element.swap(before, self.form.add(before, number)) {
            before = now;
        }
        before
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and nothing borrows from it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), whole_words(self.len)) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

/// The length of a file; an empty one could not be mapped.
fn whole_words(len: usize) -> usize {
    len.next_multiple_of(WORD).max(WORD)
}

/// How many bytes there are from a place to the next word.
fn before_word(at: usize) -> usize {
    at.next_multiple_of(WORD) - at
}

/// The same file, to be read only.
fn reopened(file: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// An atomic number of some width, as the lowest bits of 64.
trait Element {
    fn get(&self) -> u64;
    fn set(&self, bits: u64);
    fn swap(&self, before: u64, after: u64) -> Result<u64, u64>;
}

macro_rules! elements {
    ($($atomic:ident of $ty:ident),*) => { $(
        impl Element for $atomic {
            fn get(&self) -> u64 {
                self.load(Ordering::Relaxed).into()
            }

            fn set(&self, bits: u64) {
                self.store(bits as $ty, Ordering::Relaxed);
            }

            fn swap(&self, before: u64, after: u64) -> Result<u64, u64> {
                self.compare_exchange_weak(before as $ty, after as $ty, Ordering::AcqRel, Ordering::Relaxed)
                    .map(u64::from)
                    .map_err(u64::from)
            }
        }
    )* };
}

#[expect(clippy::cast_possible_truncation, trivial_numeric_casts, reason = "the lowest bits are the number")]
mod element {
    use super::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Element, Ordering};

    elements!(AtomicU8 of u8, AtomicU16 of u16, AtomicU32 of u32, AtomicU64 of u64);
}

fn read_each<E: Element>(elements: &[E], into: &mut [u8]) {
    for (place, element) in into.chunks_exact_mut(size_of::<E>()).zip(elements) {
        place.copy_from_slice(&element.get().to_le_bytes()[..size_of::<E>()]);
    }
}

fn write_each<E: Element>(elements: &[E], bytes: &[u8]) {
    for (bytes, element) in bytes.chunks_exact(size_of::<E>()).zip(elements) {
        let mut word = [0; WORD];
        word[..size_of::<E>()].copy_from_slice(bytes);
        element.set(u64::from_le_bytes(word));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn both(form: Number, count: usize) -> (SharedMemory, SharedMemory) {
        let (here, file) = SharedMemory::create(form, count).unwrap();
        let there = File::from(file.for_worker(true).try_clone_to_owned().unwrap());
        let there = SharedMemory::open(&there, form, here.size(), true).unwrap();
        (here, there)
    }

    proptest! {
        /// Whatever is written in one mapping, the other reads, and nothing beside it has changed.
        #[test]
        fn what_one_writes_the_other_reads(
            form in prop_oneof![
                Just(Number::U8), Just(Number::I16), Just(Number::F32), Just(Number::U32), Just(Number::F64)
            ],
            count in 0usize..40,
            writes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..80)), 0..8),
        ) {
            let (here, there) = both(form, count);
            let mut model = vec![0; here.size()];
            for (at, mut bytes) in writes {
                let at = at.index(count + 1) * form.width();
                bytes.truncate((here.size() - at).min(bytes.len()) / form.width() * form.width());
                here.write(at as u64, &bytes).unwrap();
                model[at..at + bytes.len()].copy_from_slice(&bytes);
                let mut read = vec![0; model.len() - at];
                there.read(at as u64, &mut read).unwrap();
                prop_assert_eq!(&read, &model[at..]);
            }
        }
    }

    #[test]
    fn nothing_beyond_the_end_and_no_part_of_an_element_is_reached() {
        let (memory, _) = both(Number::U32, 3);
        let read = |at, len| memory.read(at, &mut vec![0; len]);
        assert_eq!(read(0, 12), Ok(()));
        assert_eq!(read(12, 0), Ok(()));
        for (at, len) in [(0, 16), (12, 4), (16, 0), (u64::MAX - 3, 4), (1 << 40, 4)] {
            assert_eq!(read(at, len), Err(ObjectError::NotFound), "{at} {len}");
            assert_eq!(memory.write(at, &vec![0; len]), Err(ObjectError::NotFound), "{at} {len}");
        }
        for (at, len) in [(1, 4), (0, 3), (u64::MAX, 4)] {
            assert_eq!(read(at, len), Err(ObjectError::WrongType), "{at} {len}");
        }
        assert_eq!(memory.add(12, 1), Err(ObjectError::NotFound));
        assert_eq!(memory.add(2, 1), Err(ObjectError::WrongType));
    }

    #[test]
    fn a_sum_loses_nothing_and_wraps_around() {
        let (here, there) = both(Number::U16, 1);
        std::thread::scope(|scope| {
            for memory in [&here, &there] {
                scope.spawn(move || (0..40_000).try_for_each(|_| memory.add(0, 1).map(drop)).unwrap());
            }
        });
        assert_eq!(here.add(0, 0), Ok(80_000 % 65_536));
    }

    #[test]
    fn numbers_with_a_point_are_added_as_such() {
        let (memory, _) = both(Number::F32, 2);
        memory.write(4, &1.5f32.to_le_bytes()).unwrap();
        assert_eq!(memory.add(4, 2.25f32.to_bits().into()), Ok(1.5f32.to_bits().into()));
        assert_eq!(memory.add(4, 0), Ok(3.75f32.to_bits().into()));
    }

    #[test]
    fn who_may_only_read_cannot_write_whatever_it_says() {
        let (_, file) = SharedMemory::create(Number::U8, 8).unwrap();
        let read_only = || File::from(file.for_worker(false).try_clone_to_owned().unwrap());
        assert!(SharedMemory::open(&read_only(), Number::U8, 8, true).is_err(), "the kernel refuses");
        let memory = SharedMemory::open(&read_only(), Number::U8, 8, false).unwrap();
        assert_eq!(memory.write(0, &[1]), Err(ObjectError::NoRight));
        assert_eq!(memory.add(0, 1), Err(ObjectError::NoRight));
        assert!(SharedMemory::open(&read_only(), Number::U8, 9, false).is_err(), "it is not so long");
    }

    #[test]
    fn what_is_constant_stays_so() {
        let (memory, file) = SharedMemory::constant(Number::U8, b"broadcast").unwrap();
        let mut read = [0; 9];
        memory.read(0, &mut read).unwrap();
        assert_eq!((&read, memory.write(0, b"x")), (b"broadcast", Err(ObjectError::NoRight)));
        let worker = File::from(file.for_worker(true).try_clone_to_owned().unwrap());
        assert!(SharedMemory::open(&worker, Number::U8, 9, true).is_err(), "nobody is given more");
    }
}
