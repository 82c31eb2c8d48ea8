//! Shared memory of plain numbers: the host and its workers map the same file, and every access is atomic.
//!
//! An element is read and written whole. A guest gets copies only: the file is never mapped into linear memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, SealFlags};
use wpool_abi::object::{Number, ObjectError};

use crate::mapping::{Mapping, ReadOnlyWord, WORD, WritableMapping, create_file};

const _: () =
    assert!(cfg!(target_endian = "little"), "guests are little endian, and copies are not converted");

/// The name of the files in `/proc`.
const FILE_NAME: &str = "wpool-shared";

/// Memory that is mapped into this process.
#[derive(Debug)]
pub struct SharedMemory {
    words: Words,
    /// The bytes of all elements, without the padding of the last word.
    len: usize,
    form: Number,
}

#[derive(Debug)]
enum Words {
    Writable(WritableMapping),
    ReadOnly(Mapping),
}

/// The file of shared memory, in the process that has created it.
#[derive(Debug)]
pub struct MemoryFile {
    /// `None` if the memory is constant.
    writable: Option<OwnedFd>,
    read_only: OwnedFd,
}

impl MemoryFile {
    /// Returns the descriptor to send to a worker. The kernel refuses to map it for writing unless `writable` is true
    /// and the memory is not constant.
    pub fn for_worker(&self, writable: bool) -> BorrowedFd<'_> {
        self.writable.as_ref().filter(|_| writable).unwrap_or(&self.read_only).as_fd()
    }
}

impl SharedMemory {
    /// Creates memory of `count` zeros.
    ///
    /// # Errors
    /// `ENOMEM` if the size overflows, or the error of the system call that failed.
    pub fn create(form: Number, count: usize) -> rustix::io::Result<(Self, MemoryFile)> {
        let len = count.checked_mul(form.width()).ok_or(rustix::io::Errno::NOMEM)?;
        let file = create_file(FILE_NAME, words_of(len))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL)?;
        let memory = Self::map(&file, form, len, true)?;
        let read_only = reopened(&file)?;
        Ok((memory, MemoryFile { writable: Some(file), read_only }))
    }

    /// Creates memory that holds `bytes` and can never be written to.
    ///
    /// # Errors
    /// `EINVAL` if `bytes` are not whole elements, or the error of the system call that failed.
    pub fn constant(form: Number, bytes: &[u8]) -> rustix::io::Result<(Self, MemoryFile)> {
        let file = create_file(FILE_NAME, words_of(bytes.len()))?;
        let filled = Self::map(&file, form, bytes.len(), true)?;
        filled.write(0, bytes).map_err(|_| rustix::io::Errno::INVAL)?;
        // The kernel refuses the seal against writing while a writable mapping exists.
        drop(filled);
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SEAL)?;
        let read_only = reopened(&file)?;
        let memory = Self::map(&read_only, form, bytes.len(), false)?;
        Ok((memory, MemoryFile { writable: None, read_only }))
    }

    /// Maps memory that the parent has created: `len` bytes of elements.
    ///
    /// # Errors
    /// `EINVAL` if `len` is not the size of whole elements or not that of the file, or if the size of the file could
    /// change; the kernel's error if the descriptor does not allow the access.
    pub fn open(file: &File, form: Number, len: usize, writable: bool) -> rustix::io::Result<Self> {
        if !len.is_multiple_of(form.width()) {
            return Err(rustix::io::Errno::INVAL);
        }
        Self::map(file, form, len, writable)
    }

    fn map(file: impl AsFd, form: Number, len: usize, writable: bool) -> rustix::io::Result<Self> {
        let count = words_of(len);
        let words = if writable {
            Words::Writable(WritableMapping::open(file, count)?)
        } else {
            Words::ReadOnly(Mapping::open(file, count)?)
        };
        Ok(Self { words, len, form })
    }

    /// Returns the size of all elements in bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Returns the type of the elements.
    pub fn form(&self) -> Number {
        self.form
    }

    fn readable(&self) -> &[ReadOnlyWord] {
        match &self.words {
            Words::Writable(mapping) => mapping.read_only().words(),
            Words::ReadOnly(mapping) => mapping.words(),
        }
    }

    fn writable(&self) -> Result<&[AtomicU64], ObjectError> {
        match &self.words {
            Words::Writable(mapping) => Ok(mapping.words()),
            Words::ReadOnly(_) => Err(ObjectError::NoRight),
        }
    }

    /// Returns `at` as an index of bytes, if the range from there lies inside and consists of whole elements.
    fn checked_offset(&self, at: u64, len: usize) -> Result<usize, ObjectError> {
        let at = usize::try_from(at).map_err(|_| ObjectError::NotFound)?;
        if !at.is_multiple_of(self.form.width()) || !len.is_multiple_of(self.form.width()) {
            return Err(ObjectError::WrongType);
        }
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(at),
            _ => Err(ObjectError::NotFound),
        }
    }

    /// Copies the bytes from `at` on into `into`.
    ///
    /// # Errors
    /// `NotFound` if the range does not lie inside, `WrongType` if it does not consist of whole elements.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        let at = self.checked_offset(at, into.len())?;
        let (head, body) = into.split_at_mut(before_word(at).min(into.len()));
        let (whole, tail) = body.as_chunks_mut::<WORD>();
        let (middle, end) = (at + head.len(), at + head.len() + whole.len() * WORD);
        let words = self.readable();
        read_part(words, at, head);
        for (bytes, word) in whole.iter_mut().zip(&words[middle / WORD..]) {
            *bytes = word.load().to_le_bytes();
        }
        read_part(words, end, tail);
        Ok(())
    }

    /// Copies `bytes` to the range from `at` on.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and `NoRight` if the memory was mapped for reading only.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        let at = self.checked_offset(at, bytes.len())?;
        let words = self.writable()?;
        let (head, body) = bytes.split_at(before_word(at).min(bytes.len()));
        let (whole, tail) = body.as_chunks::<WORD>();
        let (middle, end) = (at + head.len(), at + head.len() + whole.len() * WORD);
        write_part(words, at, head);
        for (bytes, word) in whole.iter().zip(&words[middle / WORD..]) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        write_part(words, end, tail);
        Ok(())
    }

    /// Adds `number` to the element at byte `at` in one atomic step, and returns the element's value before.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        let width = self.form.width();
        let at = self.checked_offset(at, width)?;
        let shift = at % WORD * 8;
        let mask = u64::MAX >> ((WORD - width) * 8);
        let element = |word: u64| word >> shift & mask;
        let before = self.writable()?[at / WORD].update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            let sum = self.form.add(element(word), number) & mask;
            word & !(mask << shift) | sum << shift
        });
        Ok(element(before))
    }
}

/// Reads a part of one word. An empty part may lie behind the last word.
fn read_part(words: &[ReadOnlyWord], at: usize, into: &mut [u8]) {
    if !into.is_empty() {
        let word = words[at / WORD].load().to_le_bytes();
        into.copy_from_slice(&word[at % WORD..][..into.len()]);
    }
}

/// Writes a part of one word, in one step with the rest of the word as it is.
fn write_part(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    if !bytes.is_empty() {
        words[at / WORD].update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let mut word = word.to_le_bytes();
            word[at % WORD..][..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        });
    }
}

/// Returns the number of words for `len` bytes: at least one, because an empty file cannot be mapped.
fn words_of(len: usize) -> usize {
    len.div_ceil(WORD).max(1)
}

/// Returns the number of bytes between `at` and the next word.
fn before_word(at: usize) -> usize {
    at.next_multiple_of(WORD) - at
}

/// Opens the same file again, for reading only.
fn reopened(file: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
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
        /// A write in one mapping is read in the other, and changes no byte beside it.
        #[test]
        fn a_write_is_read_in_the_other_mapping(
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
    fn a_range_outside_and_a_part_of_an_element_are_errors() {
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
    fn floats_are_added_as_floats() {
        let (memory, _) = both(Number::F32, 2);
        memory.write(4, &1.5f32.to_le_bytes()).unwrap();
        assert_eq!(memory.add(4, 2.25f32.to_bits().into()), Ok(1.5f32.to_bits().into()));
        assert_eq!(memory.add(4, 0), Ok(3.75f32.to_bits().into()));
    }

    #[test]
    fn a_read_only_descriptor_cannot_be_written_through() {
        let (_, file) = SharedMemory::create(Number::U8, 8).unwrap();
        let read_only = || File::from(file.for_worker(false).try_clone_to_owned().unwrap());
        assert!(SharedMemory::open(&read_only(), Number::U8, 8, true).is_err(), "the kernel refuses");
        let memory = SharedMemory::open(&read_only(), Number::U8, 8, false).unwrap();
        assert_eq!(memory.write(0, &[1]), Err(ObjectError::NoRight));
        assert_eq!(memory.add(0, 1), Err(ObjectError::NoRight));
        assert!(SharedMemory::open(&read_only(), Number::U8, 9, false).is_err(), "the file is shorter");
    }

    #[test]
    fn constant_memory_cannot_be_written() {
        let (memory, file) = SharedMemory::constant(Number::U8, b"broadcast").unwrap();
        let mut read = [0; 9];
        memory.read(0, &mut read).unwrap();
        assert_eq!((&read, memory.write(0, b"x")), (b"broadcast", Err(ObjectError::NoRight)));
        let worker = File::from(file.for_worker(true).try_clone_to_owned().unwrap());
        assert!(
            SharedMemory::open(&worker, Number::U8, 9, true).is_err(),
            "the writable descriptor does not exist"
        );
    }
}
