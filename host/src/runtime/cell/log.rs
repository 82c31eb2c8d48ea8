//! The cell of a reader of logs: what running tasks of a map have logged, and was not taken yet.

use std::time::Instant;

use crate::lock::{Condvar, Mutex, wait_until};

/// The bytes that the cell holds at most. A reader that is slower loses parts, and finds them in the results.
const MAX_HELD: usize = 1 << 20;
/// The memory that a part takes beside its bytes.
const PART: usize = 64;

/// A part of the log of a running task of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogPart {
    /// The index of the task's input.
    pub index: u64,
    /// The number of bytes that the task has logged before. A task that runs again, because its worker was lost,
    /// begins anew at zero.
    pub offset: u64,
    /// The bytes that the task has logged. They need not end with a line.
    pub bytes: Vec<u8>,
}

/// Parts of logs on their way from the pool to their reader.
#[derive(Debug, Default)]
pub(crate) struct LogCell {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    parts: Vec<LogPart>,
    held: usize,
}

impl LogCell {
    /// Adds a part, unless the reader is too slow.
    pub(crate) fn push(&self, index: u64, offset: u64, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        let size = bytes.len() + PART;
        if inner.held + size > MAX_HELD {
            return;
        }
        inner.held += size;
        inner.parts.push(LogPart { index, offset, bytes: bytes.to_vec() });
        drop(inner);
        self.arrived.notify_all();
    }

    /// Waits until there is a part, at most until the deadline. Returns whether there is one.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let any = |inner: &mut Inner| (!inner.parts.is_empty()).then_some(());
        wait_until(&self.arrived, &mut self.inner.lock(), deadline, any).is_some()
    }

    /// Takes all parts.
    pub(crate) fn take(&self) -> Vec<LogPart> {
        let mut inner = self.inner.lock();
        inner.held = 0;
        std::mem::take(&mut inner.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_once_and_those_of_a_slow_reader_are_bounded() {
        let cell = LogCell::default();
        assert!(!cell.wait(Some(Instant::now())) && cell.take().is_empty());
        cell.push(3, 0, b"a");
        cell.push(5, 7, b"b");
        assert!(cell.wait(None));
        let taken: Vec<u64> = cell.take().iter().map(|part| part.index).collect();
        assert_eq!(taken, [3, 5]);
        assert_eq!(cell.take(), []);
        (0..2 * MAX_HELD as u64 / 1000).for_each(|index| cell.push(index, 0, &[0; 1000]));
        let held: usize = cell.take().iter().map(|part| part.bytes.len()).sum();
        assert!((MAX_HELD / 2..MAX_HELD).contains(&held), "{held}");
        cell.push(0, 0, b"a");
        assert_eq!(cell.take().len(), 1, "there is room again");
    }
}
