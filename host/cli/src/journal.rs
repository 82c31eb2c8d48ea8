//! The journal of a run: each finished input with its value, so that an interrupted run can be resumed.
//!
//! The file begins with a line that names the format. Then come records: the input's index (8 bytes), its key (16),
//! the value's length (4) and the value, all little endian, and the first 8 bytes of a hash over these. A record that
//! is cut off or damaged ends the journal: the file is truncated before it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const MAGIC: &[u8] = b"wpool journal 1\n";
/// The size of index, key and length.
const HEADER: usize = 28;
/// The size of the hash behind a record.
const CHECK: usize = 8;
/// The age at which a record is flushed at the latest, so that a kill of this process does not lose it.
const FLUSH: Duration = Duration::from_millis(50);

/// A hash of everything that a result depends on: the arguments, the task, the guest and the limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Key([u8; 16]);

/// The location of a value in the file.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    offset: u64,
    len: u32,
}

/// A journal that is open for writing, and locked against other runs.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: HashMap<u64, Entry>,
    context: [u8; 32],
    file: File,
    out: BufWriter<File>,
    /// When the first record was written that was not flushed.
    behind_since: Option<Instant>,
}

impl Journal {
    /// Opens a journal, or makes one. `context` is the part of the keys that all inputs have in common.
    pub(crate) fn open(path: &Path, context: &[u8]) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another run writes to it"),
            TryLockError::Error(error) => error,
        })?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if !MAGIC.starts_with(&magic) {
            return Err(io::Error::other("it is no journal of wpool"));
        }
        if magic.len() < MAGIC.len() {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(MAGIC)?;
        }
        let (entries, end) = read_entries(&file)?;
        file.set_len(end)?;
        let mut out = file.try_clone()?;
        out.seek(SeekFrom::Start(end))?;
        let context = *blake3::hash(context).as_bytes();
        Ok(Self { entries, context, file, out: BufWriter::with_capacity(1 << 16, out), behind_since: None })
    }

    /// Returns the key of an input with these arguments.
    pub(crate) fn key(&self, arguments: &[u8]) -> Key {
        let hash = blake3::keyed_hash(&self.context, arguments);
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        Key(*first)
    }

    /// Whether the input has a value from an earlier run.
    pub(crate) fn has(&self, index: u64, key: Key) -> bool {
        self.entries.get(&index).is_some_and(|entry| entry.key == key)
    }

    /// Reads the value of an input that the journal has.
    pub(crate) fn read(&self, index: u64) -> io::Result<Vec<u8>> {
        let entry = self.entries.get(&index).ok_or(io::ErrorKind::NotFound)?;
        let mut value = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut value, entry.offset)?;
        Ok(value)
    }

    /// Adds a value.
    pub(crate) fn write(&mut self, index: u64, key: Key, value: &[u8]) -> io::Result<()> {
        let len = u32::try_from(value.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let header = header(index, key, len);
        self.out.write_all(&header)?;
        self.out.write_all(value)?;
        self.out.write_all(&check(&header, value))?;
        let now = Instant::now();
        let is_old = now.duration_since(*self.behind_since.get_or_insert(now)) >= FLUSH;
        if is_old { self.flush() } else { Ok(()) }
    }

    /// Whether a record was written that was not flushed. The caller flushes it before it waits for anything.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// Passes all records to the kernel, so that a kill of this process does not lose them.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.behind_since = None;
        self.out.flush()
    }
}

fn header(index: u64, key: Key, len: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&index.to_le_bytes());
    header[8..24].copy_from_slice(&key.0);
    header[24..].copy_from_slice(&len.to_le_bytes());
    header
}

fn check(header: &[u8; HEADER], value: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(value);
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *first
}

/// Reads all intact records. Returns them, and the offset of their end.
fn read_entries(file: &File) -> io::Result<(HashMap<u64, Entry>, u64)> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file.try_clone()?);
    reader.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    let (mut entries, mut end) = (HashMap::new(), MAGIC.len() as u64);
    loop {
        let mut head = [0; HEADER];
        if !read_whole(&mut reader, &mut head)? {
            return Ok((entries, end));
        }
        let (index, rest) = head.split_first_chunk::<8>().expect("a header has 28 bytes");
        let (key, len) = rest.split_first_chunk::<16>().expect("a header has 28 bytes");
        let len = u32::from_le_bytes(len.try_into().expect("four bytes are left"));
        let offset = end + HEADER as u64;
        // A length beyond the end of the file is damage, and must not be allocated; a sparse file may be of any size.
        if len > wpool::Limits::MAX_PAYLOAD || offset + u64::from(len) + CHECK as u64 > size {
            return Ok((entries, end));
        }
        let mut value = vec![0; len as usize];
        let mut sum = [0; CHECK];
        let whole = read_whole(&mut reader, &mut value)? && read_whole(&mut reader, &mut sum)?;
        if !whole || sum != check(&head, &value) {
            return Ok((entries, end));
        }
        entries.insert(u64::from_le_bytes(*index), Entry { key: Key(*key), offset, len });
        end = offset + u64::from(len) + CHECK as u64;
    }
}

/// Fills the buffer. Returns false if the file ends before that.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intact_records_are_found_again_wherever_the_file_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, b"context").unwrap();
        assert!(Journal::open(&path, b"context").unwrap_err().to_string().contains("another run"));
        for index in 0..3u8 {
            let key = journal.key(&[index]);
            journal.write(index.into(), key, &[index; 100]).unwrap();
        }
        journal.flush().unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let journal = Journal::open(&path, b"context").unwrap();
            let found = (0..3u8).filter(|&n| journal.has(n.into(), journal.key(&[n]))).count();
            assert_eq!(found, cut.saturating_sub(MAGIC.len()) / (HEADER + 100 + CHECK), "cut at {cut}");
            assert!(
                (0..found as u64).all(|n| journal.read(n).unwrap() == vec![u8::try_from(n).unwrap(); 100])
            );
        }
        let mut damaged = whole.clone();
        damaged[MAGIC.len() + HEADER + 100 + CHECK + 40] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let journal = Journal::open(&path, b"context").unwrap();
        assert!(journal.has(0, journal.key(&[0])) && !journal.has(1, journal.key(&[1])));
        drop(journal);
        std::fs::write(&path, whole).unwrap();
        let other = Journal::open(&path, b"another guest").unwrap();
        assert!(!other.has(0, other.key(&[0])), "a value is of no use for another guest, task or limit");
        let same = Journal { context: *blake3::hash(b"context").as_bytes(), ..other };
        assert!(same.has(0, same.key(&[0])) && !same.has(0, same.key(&[7])) && !same.has(1, same.key(&[0])));
    }

    #[test]
    fn a_file_of_another_format_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "Dear reader").unwrap();
        let error = Journal::open(&path, b"").unwrap_err();
        assert_eq!(error.to_string(), "it is no journal of wpool");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Dear reader");
    }
}
