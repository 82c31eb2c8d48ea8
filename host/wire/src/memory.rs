//! Shared memory of plain numbers: the host and its workers map the same file, and every access is atomic.
//!
//! An element is read and written whole. A guest gets copies only: the file is never mapped into linear memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use wpool_abi::object::{Number, ObjectError};

/// The size of a file is a multiple of this.
const WORD: usize = size_of::<u64>();

const _: () =
    assert!(cfg!(target_endian = "little"), "guests are little endian, and copies are not converted");

/// The seals that keep the size of the file, so that an access to the memory cannot fault.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// Memory that is mapped into this process.
#[derive(Debug)]
pub struct SharedMemory {
    address: NonNull<u64>,
    /// The bytes of all elements, without the padding of the last word.
    len: usize,
    form: Number,
    writable: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this value alone unmaps it. So it may be moved to
// another thread.
unsafe impl Send for SharedMemory {}
// SAFETY: `elements` is the only access to the mapping, and it gives out nothing but shared references to atomics.
unsafe impl Sync for SharedMemory {}

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
        let file = Self::file(len)?;
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
        let file = Self::file(bytes.len())?;
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

    /// Creates a file for `len` bytes, whose size cannot change any more.
    fn file(len: usize) -> rustix::io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-shared", flags)?;
        rustix::fs::ftruncate(&file, whole_words(len) as u64)?;
        rustix::fs::fcntl_add_seals(&file, FIXED_SIZE)?;
        Ok(file)
    }

    fn map(file: impl AsFd, form: Number, len: usize, writable: bool) -> rustix::io::Result<Self> {
        let size = usize::try_from(rustix::fs::fstat(&file)?.st_size);
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if size != Ok(whole_words(len)) || !seals.contains(FIXED_SIZE) {
            return Err(rustix::io::Errno::INVAL);
        }
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: `mmap` may replace memory only at a fixed address; here the address is null, so the kernel picks a
        // free range. Each byte of the range stays backed by the file: the checks above found that the file has the
        // size of the mapping, and seals that keep it.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), whole_words(len), protection, MapFlags::SHARED, file, 0)
        }?;
        let address = NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { address, len, form, writable })
    }

    /// Returns the size of all elements in bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Returns the type of the elements.
    pub fn form(&self) -> Number {
        self.form
    }

    /// Returns the memory as elements of one width.
    fn elements<E: Element>(&self) -> &[E] {
        let count = self.len / size_of::<E>();
        // SAFETY: `address` comes from `map`, which mapped at least `len` bytes from the start of a page, so the slice
        // is aligned and inside of the mapping, which lives as long as the borrow of `self`. `E` is one of four atomics
        // (the trait is private, the macro below is its only source), for which all bytes are valid and which may
        // change at any time. A store to a read-only mapping would be a fault, not a data race, and does not happen:
        // `write` and `add`, the only functions that store, return before it if `writable` is false. Accesses of
        // different widths may meet; the machine executes each in one step, and no code relies on their order.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast::<E>(), count) }
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
        let (words, tail) = body.as_chunks_mut::<WORD>();
        let (middle, end) = (at + head.len(), at + head.len() + words.len() * WORD);
        self.read_elements(at, head);
        for (word, element) in words.iter_mut().zip(&self.elements::<AtomicU64>()[middle / WORD..]) {
            *word = element.load(Ordering::Relaxed).to_le_bytes();
        }
        self.read_elements(end, tail);
        Ok(())
    }

    /// Copies `bytes` to the range from `at` on.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and `NoRight` if the memory was mapped for reading only.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        let at = self.checked_offset(at, bytes.len())?;
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

    /// Adds `number` to the element at byte `at` in one atomic step, and returns the element's value before.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        let at = self.checked_offset(at, self.form.width())?;
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
            // Elements of eight bytes are whole words, so nothing is left of them.
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
        // SAFETY: `map` has made this mapping with this address and size, and no other value unmaps it. `self` is
        // borrowed mutably, so no reference into the mapping is left.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), whole_words(self.len)) };
        debug_assert!(unmapped.is_ok(), "a mapping of this process can be unmapped");
    }
}

/// Returns the size of the file for `len` bytes: at least one word, because an empty file cannot be mapped.
fn whole_words(len: usize) -> usize {
    len.next_multiple_of(WORD).max(WORD)
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

/// An atomic number of 8 to 64 bits, which is passed as the lowest bits of a `u64`.
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
    for (bytes, element) in into.chunks_exact_mut(size_of::<E>()).zip(elements) {
        bytes.copy_from_slice(&element.get().to_le_bytes()[..size_of::<E>()]);
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
