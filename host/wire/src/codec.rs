//! Frames: a length, a kind and a payload, which this file does not interpret.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the payload, little endian |
//! | 4 | 1 | kind |
//! | 5 | 3 | zero |
//! | 8 | | payload |

use std::io;

pub const HEADER: usize = 8;

/// The size of a read. A frame with a full batch of small tasks is smaller.
const CHUNK: usize = 64 * 1024;

/// A frame that breaks the rules: a protocol violation of its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {len} bytes, {max} are allowed")]
    TooLong { len: usize, max: usize },
    #[error("a frame whose reserved bytes are not zero")]
    Reserved,
}

/// One whole frame in a reader's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub payload: &'a [u8],
}

/// Splits a stream of bytes into frames.
///
/// It allocates for bytes that have arrived, never for those that a header announces.
#[derive(Debug)]
pub struct FrameReader {
    /// `buffer[start..end]` has arrived and was not yet returned as a frame.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    max_payload: usize,
}

impl FrameReader {
    pub fn new(max_payload: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, max_payload }
    }

    /// Reads once from `source`, which may be non-blocking. Returns the number of bytes; zero at the end of the stream.
    pub fn fill(&mut self, mut source: impl io::Read) -> io::Result<usize> {
        let room = self.make_room();
        let count = source.read(room)?;
        self.end += count;
        Ok(count)
    }

    /// Returns the next frame; `None` if it has not arrived as a whole.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let arrived = &self.buffer[self.start..self.end];
        let Some((header, rest)) = arrived.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, kind, reserved @ ..] = *header;
        if reserved != [0; 3] {
            return Err(FrameError::Reserved);
        }
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > self.max_payload {
            return Err(FrameError::TooLong { len, max: self.max_payload });
        }
        if rest.len() < len {
            return Ok(None);
        }
        let payload = self.start + HEADER;
        self.start = payload + len;
        Ok(Some(Frame { kind, payload: &self.buffer[payload..payload + len] }))
    }

    /// Returns the free end of the buffer: at least half a chunk, or twice the size if a long frame fills it.
    fn make_room(&mut self) -> &mut [u8] {
        let held = self.end - self.start;
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, held);
        if held == 0 && self.buffer.len() > 16 * CHUNK {
            // A long frame has been read: its buffer is not kept for short ones.
            self.buffer = Vec::new();
        }
        let wanted = held + CHUNK.max(held);
        if self.buffer.len() < held + CHUNK / 2 {
            self.buffer.resize(wanted, 0);
        }
        &mut self.buffer[held..]
    }
}

/// Collects frames, to send them together.
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
}

impl FrameWriter {
    /// Appends one frame, whose payload `write` appends.
    pub fn frame(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let header = self.begin(kind);
        write(&mut self.bytes);
        self.finish(header);
    }

    /// Starts a frame, whose payload is all that is appended until `finish`. Returns the offset of its header.
    #[inline]
    pub fn begin(&mut self, kind: u8) -> usize {
        let header = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
        header
    }

    /// Ends the frame whose header is at the offset `header`, as `begin` has returned it.
    #[inline]
    pub fn finish(&mut self, header: usize) {
        let len = self.bytes.len() - header - HEADER;
        let len = u32::try_from(len).expect("limits keep payloads below 4 GiB");
        self.bytes[header..header + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Removes the first `len` bytes, which were sent.
    pub fn discard(&mut self, len: usize) {
        self.bytes.drain(..len);
    }

    /// Returns the bytes, to append to the payload of an open frame.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the bytes of all frames.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes all frames, and keeps a small buffer for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(16 * CHUNK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The frames are the same for every way in which the stream is cut.
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            cuts in prop::collection::vec(1usize..64, 1..200),
        ) {
            let mut writer = FrameWriter::default();
            for (kind, payload) in &frames {
                writer.frame(*kind, |out| out.extend_from_slice(payload));
            }
            let mut rest = writer.bytes();
            let mut reader = FrameReader::new(300);
            let mut got = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                let mut now = now;
                while !now.is_empty() {
                    reader.fill(&mut now).unwrap();
                }
                rest = later;
                while let Some(frame) = reader.next_frame().unwrap() {
                    got.push((frame.kind, frame.payload.to_vec()));
                }
            }
            prop_assert_eq!(got, frames);
        }

        /// No bytes make the reader panic or allocate for bytes that have not arrived.
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::new(1 << 20);
            reader.fill(&bytes[..]).unwrap();
            while let Ok(Some(_)) = reader.next_frame() {}
            assert!(reader.buffer.len() <= 2 * CHUNK);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive() {
        let mut reader = FrameReader::new(10);
        reader.fill(&[11u8, 0, 0, 0, 1, 0, 0, 0][..]).unwrap();
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong { len: 11, max: 10 }));
    }

    #[test]
    fn a_long_frame_leaves_no_long_buffer() {
        let mut writer = FrameWriter::default();
        let long = vec![7; 32 * CHUNK];
        writer.frame(1, |out| out.extend_from_slice(&long));
        let mut reader = FrameReader::new(long.len());
        let mut bytes = writer.bytes();
        while !bytes.is_empty() {
            reader.fill(&mut bytes).unwrap();
        }
        assert_eq!(reader.next_frame().unwrap().unwrap().payload.len(), long.len());
        reader.fill(&[1u8, 0, 0, 0, 2, 0, 0, 0, 9][..]).unwrap();
        assert_eq!(reader.next_frame(), Ok(Some(Frame { kind: 2, payload: &[9] })));
        assert!(reader.buffer.len() <= 2 * CHUNK, "the long buffer was freed");
    }

    #[test]
    fn reserved_bytes_are_zero() {
        let mut reader = FrameReader::new(10);
        reader.fill(&[0u8, 0, 0, 0, 1, 0, 7, 0][..]).unwrap();
        assert_eq!(reader.next_frame(), Err(FrameError::Reserved));
    }
}
