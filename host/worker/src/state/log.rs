//! A task's log, capped.

#[derive(Debug)]
pub(crate) struct TaskLog {
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes that did not fit.
    pub(crate) dropped: u64,
    limit: usize,
    /// The number of bytes that were sent while the task runs.
    sent: usize,
}

impl TaskLog {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), dropped: 0, limit, sent: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.dropped = 0;
        self.sent = 0;
    }

    /// Takes what was logged since the last call, and the offset of its first byte; `None` if that is nothing.
    pub(crate) fn take_unsent(&mut self) -> Option<(u64, &[u8])> {
        let offset = std::mem::replace(&mut self.sent, self.bytes.len());
        (offset < self.bytes.len()).then(|| (offset as u64, &self.bytes[offset..]))
    }

    /// Appends bytes up to the limit, and counts the others. Once a byte was dropped all later ones are, so that a log
    /// has no gap.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let room = if self.dropped > 0 { 0 } else { self.limit - self.bytes.len() };
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.dropped += dropped.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_sent_once() {
        let mut log = TaskLog::new(5);
        assert_eq!(log.take_unsent(), None);
        log.write(b"abc");
        assert_eq!(log.take_unsent(), Some((0, &b"abc"[..])));
        assert_eq!(log.take_unsent(), None);
        log.write(b"defg");
        assert_eq!(log.take_unsent(), Some((3, &b"de"[..])));
        log.clear();
        log.write(b"h");
        assert_eq!(log.take_unsent(), Some((0, &b"h"[..])));
    }

    #[test]
    fn a_log_is_cut_once_and_counts_the_rest() {
        let mut log = TaskLog::new(5);
        log.write(b"abc");
        log.write(b"defg");
        log.write(b"h");
        assert_eq!((log.bytes.as_slice(), log.dropped), (&b"abcde"[..], 3));
    }
}
