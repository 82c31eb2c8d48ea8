//! What the worker sends: records of ended tasks, gathered into frames.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use wpool_wire::codec::FrameWriter;
use wpool_wire::ids::TaskId;
use wpool_wire::message::{Done, Request, encode, from_worker};

/// Records are sent when there are so many bytes of them, at the latest.
const FULL: usize = 32 * 1024;

/// Gathers records, and sends them when they are many, or when there is nothing better to do.
#[derive(Debug)]
pub(super) struct Output {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: UnixStream,
    writer: FrameWriter,
    /// Where the frame starts that records are being added to, and its kind.
    open: Option<(usize, u8)>,
}

impl Output {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { inner: Mutex::new(Inner { socket, writer: FrameWriter::default(), open: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panics here ends the process, so a poisoned lock has no reader.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one record.
    pub(super) fn done(&self, record: &Done<'_>) -> io::Result<()> {
        self.add(from_worker::DONE, record)
    }

    /// Adds what a task asks for.
    pub(super) fn request(&self, request: &Request<'_>) -> io::Result<()> {
        self.add(from_worker::REQUEST, request)
    }

    /// Adds a record to those of its kind.
    fn add(&self, kind: u8, record: &impl Serialize) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.open.is_none_or(|(_, open)| open != kind) {
            inner.close_frame();
            inner.open = Some((inner.writer.begin(kind), kind));
        }
        encode(record, inner.writer.bytes_mut());
        if inner.writer.len() >= FULL { inner.flush() } else { Ok(()) }
    }

    /// Adds the news that a task waits for something.
    pub(super) fn suspended(&self, task: TaskId) -> io::Result<()> {
        self.news(from_worker::SUSPENDED, task)
    }

    /// Adds the news that a task that was suspended goes on.
    pub(super) fn resumed(&self, task: TaskId) -> io::Result<()> {
        self.news(from_worker::RESUMED, task)
    }

    fn news(&self, kind: u8, task: TaskId) -> io::Result<()> {
        let mut inner = self.lock();
        inner.close_frame();
        inner.writer.frame(kind, |out| encode(&task, out));
        if inner.writer.len() >= FULL { inner.flush() } else { Ok(()) }
    }

    /// Sends one frame of another kind, and all records before it.
    pub(super) fn send(&self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut inner = self.lock();
        inner.close_frame();
        inner.writer.frame(kind, write);
        inner.flush()
    }

    /// Sends what has been gathered.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.lock().flush()
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
