//! One request to a worker that is started for it: for the descriptions of tasks, or to run an initializer.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use wpool_wire::codec::{Frame, FrameReader, FrameWriter};
use wpool_wire::control::ControlPage;
use wpool_wire::message::{BadMessage, Fatal, Hello, decode, encode, from_worker, to_worker};
use wpool_wire::role;

use crate::error::{Clock, Phase, SpawnError, TaskError, WorkerExit};
use crate::process::{ChildProcess, Executable, readable_within, send_with_descriptors};

/// The time after the timeout, which the worker keeps itself, until the parent kills the worker.
const GRACE: Duration = Duration::from_secs(1);

/// A request to a worker of its own.
pub(super) struct OneShot<'a> {
    pub(super) hello: Hello,
    /// The descriptors that the hello brings, after the control page.
    pub(super) descriptors: &'a [BorrowedFd<'a>],
    /// The kind of the request's frame.
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
    /// The largest reply, in bytes.
    pub(super) max_reply: usize,
    /// The time that the guest may take.
    pub(super) timeout: Duration,
}

/// Why there is no reply.
pub(super) enum OneShotError {
    /// The worker could not be started.
    Spawn(SpawnError),
    /// The guest failed, or its worker was lost.
    Task(TaskError),
    /// The reply violates the protocol.
    BadReply(String),
    /// The worker could not serve the guest, for this reason.
    Fatal(String),
}

impl From<SpawnError> for OneShotError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<BadMessage> for OneShotError {
    fn from(error: BadMessage) -> Self {
        Self::BadReply(error.to_string())
    }
}

impl OneShot<'_> {
    /// Starts a worker, sends the request, and passes the kind and the payload of the reply to `read`. The worker has
    /// ended when this returns.
    pub(super) fn send<T>(
        &self,
        executable: &Executable,
        read: impl FnOnce(u8, &[u8]) -> Result<Result<T, TaskError>, BadMessage>,
    ) -> Result<T, OneShotError> {
        let deadline = Instant::now().checked_add(self.timeout.saturating_add(GRACE));
        let (_control, control_file) =
            ControlPage::create().map_err(|error| SpawnError::system("a control page", error))?;
        let (mut process, socket) = ChildProcess::spawn(executable, role::WORKER)?;
        self.write(&socket, &control_file);
        let mut reader = FrameReader::new(self.max_reply);
        loop {
            self.wait_readable(&socket, deadline)?;
            if reader.fill(&socket).unwrap_or(0) == 0 {
                return Err(OneShotError::Task(lost(&mut process)));
            }
            while let Some(frame) =
                reader.next_frame().map_err(|error| OneShotError::BadReply(error.to_string()))?
            {
                if let Some((kind, payload)) = reply(&frame)? {
                    return read(kind, payload)?.map_err(OneShotError::Task);
                }
            }
        }
    }

    /// Writes the hello and the request. If that fails the worker has ended, which shows when the reply is read.
    fn write(&self, socket: &UnixStream, control_file: &OwnedFd) {
        let mut descriptors = vec![control_file.as_fd()];
        descriptors.extend_from_slice(self.descriptors);
        let mut writer = FrameWriter::default();
        writer.frame(to_worker::HELLO, |out| encode(&self.hello, out));
        let _ended = send_with_descriptors(socket, writer.bytes(), &descriptors);
        // A worker that does not read gets no more time than one that does not answer.
        let _unlimited = socket.set_write_timeout(Some(self.timeout.saturating_add(GRACE)));
        writer.clear();
        writer.frame(self.kind, |out| out.extend_from_slice(self.payload));
        let _ended = (&mut &*socket).write_all(writer.bytes());
    }

    fn wait_readable(&self, socket: &UnixStream, deadline: Option<Instant>) -> Result<(), OneShotError> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let (clock, limit) = (Clock::Run, self.timeout);
                return Err(OneShotError::Task(TaskError::Timeout { clock, limit }));
            }
            if readable_within(socket.as_fd(), left.unwrap_or(Duration::MAX)).unwrap_or(true) {
                return Ok(());
            }
        }
    }
}

/// Returns the kind and the payload of a reply; `None` for a frame that is not the reply yet.
fn reply<'f>(frame: &Frame<'f>) -> Result<Option<(u8, &'f [u8])>, OneShotError> {
    match frame.kind {
        from_worker::READY => Ok(None),
        from_worker::FATAL => {
            let Fatal { message } = decode(frame.payload)?;
            Err(OneShotError::Fatal(message))
        }
        kind => Ok(Some((kind, frame.payload))),
    }
}

fn lost(process: &mut ChildProcess) -> TaskError {
    let cause = process.wait_until(Instant::now() + GRACE).unwrap_or(WorkerExit::Unknown);
    TaskError::WorkerLost { cause, phase: Phase::Running, earlier: Vec::new() }
}
