//! The output of a worker: frames to the parent, in which consecutive records of one kind share a frame.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use serde::Serialize;
use wpool_wire::codec::FrameWriter;
use wpool_wire::ids::TaskId;
use wpool_wire::message::{Done, LogPart, Request, encode, from_worker};

/// The size in bytes at which the frames are sent at the latest.
const FULL: usize = 32 * 1024;

/// Collects frames, and sends them when they are many or when the worker would wait otherwise.
#[derive(Debug)]
pub(crate) struct Output {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: UnixStream,
    writer: FrameWriter,
    /// The offset and the kind of the frame to which records are being added.
    open: Option<(usize, u8)>,
}

impl Output {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { inner: Mutex::new(Inner { socket, writer: FrameWriter::default(), open: None }) }
    }

    /// Adds the record of a task that has ended.
    pub(crate) fn done(&self, record: &Done<'_>) -> io::Result<()> {
        self.add(from_worker::DONE, record)
    }

    /// Adds a request of a task.
    pub(crate) fn request(&self, request: &Request<'_>) -> io::Result<()> {
        self.add(from_worker::REQUEST, request)
    }

    /// Adds a part of a task's log.
    pub(crate) fn log(&self, part: &LogPart<'_>) -> io::Result<()> {
        self.add(from_worker::LOG, part)
    }

    /// Adds a record to the open frame, if that has the same kind.
    fn add(&self, kind: u8, record: &impl Serialize) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.open.is_none_or(|(_, open)| open != kind) {
            inner.close_frame();
            inner.open = Some((inner.writer.begin(kind), kind));
        }
        encode(record, inner.writer.bytes_mut());
        if inner.writer.len() >= FULL { inner.flush() } else { Ok(()) }
    }

    /// Adds the report that a task was suspended.
    pub(crate) fn suspended(&self, task: TaskId) -> io::Result<()> {
        self.report(from_worker::SUSPENDED, task)
    }

    /// Adds the report that a suspended task was resumed.
    pub(crate) fn resumed(&self, task: TaskId) -> io::Result<()> {
        self.report(from_worker::RESUMED, task)
    }

    fn report(&self, kind: u8, task: TaskId) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.close_frame();
        inner.writer.frame(kind, |out| encode(&task, out));
        if inner.writer.len() >= FULL { inner.flush() } else { Ok(()) }
    }

    /// Adds one frame, and sends everything that was collected.
    pub(crate) fn send(&self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.close_frame();
        inner.writer.frame(kind, write);
        inner.flush()
    }

    /// Sends everything that was collected.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.inner.lock().flush()
    }
}

impl Inner {
    fn close_frame(&mut self) {
        if let Some((header, _)) = self.open.take() {
            self.writer.finish(header);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.close_frame();
        if self.writer.is_empty() {
            return Ok(());
        }
        let sent = self.socket.write_all(self.writer.bytes());
        self.writer.clear();
        sent
    }
}
