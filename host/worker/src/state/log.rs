//! A task's log, capped.

#[derive(Debug)]
pub(crate) struct TaskLog {
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes that did not fit.
    pub(crate) dropped: u64,
    limit: usize,
}

impl TaskLog {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), dropped: 0, limit }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.dropped = 0;
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
    fn a_log_is_cut_once_and_counts_the_rest() {
        let mut log = TaskLog::new(5);
        log.write(b"abc");
        log.write(b"defg");
        log.write(b"h");
        assert_eq!((log.bytes.as_slice(), log.dropped), (&b"abcde"[..], 3));
    }
}
