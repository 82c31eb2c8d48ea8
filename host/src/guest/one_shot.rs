//! One request to a worker that is started for it: for the descriptions of tasks, or to run an initializer.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use wpool_wire::codec::{Frame, FrameReader, FrameWriter};
use wpool_wire::control::ControlPage;
use wpool_wire::message::{BadMessage, Fatal, Hello, decode, encode, from_worker, to_worker};
use wpool_wire::role;

use crate::error::{Clock, Phase, SpawnError, TaskError, WorkerExit};
use crate::process::{ChildProcess, Executable, readable_within, send_with_descriptors};

/// The time within which the worker must be ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after the timeout and the guest's own grace, which the worker keeps itself, until the parent kills the
/// worker.
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
        let mut phase = WaitPhase::Start(Instant::now() + START_TIMEOUT);
        let (_control, control_file) =
            ControlPage::create().map_err(|error| SpawnError::system("a control page", error))?;
        let (mut process, socket) = ChildProcess::spawn(executable, role::WORKER)?;
        self.write(&socket, &control_file);
        let mut reader = FrameReader::new(self.max_reply);
        loop {
            self.wait_readable(&socket, phase)?;
            if reader.fill(&socket).unwrap_or(0) == 0 {
                return Err(OneShotError::Task(lost(&mut process)));
            }
            while let Some(frame) =
                reader.next_frame().map_err(|error| OneShotError::BadReply(error.to_string()))?
            {
                match reply(&frame)? {
                    Some((kind, payload)) => return read(kind, payload)?.map_err(OneShotError::Task),
                    // Once: a worker gets no more time by being ready again.
                    None if matches!(phase, WaitPhase::Start(_)) => {
                        phase = WaitPhase::Reply(Instant::now().checked_add(self.time()));
                    }
                    None => return Err(OneShotError::BadReply("it was ready twice".to_owned())),
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
        writer.clear();
        writer.frame(self.kind, |out| out.extend_from_slice(self.payload));
        // A worker that does not read, or a byte now and then, gets no more time than one that does not answer.
        let deadline = Instant::now().checked_add(self.time().max(START_TIMEOUT));
        let mut rest = writer.bytes();
        while !rest.is_empty() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) || socket.set_write_timeout(left).is_err() {
                return;
            }
            match (&mut &*socket).write(rest) {
                Ok(count @ 1..) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// The time that the worker has from its start to the reply.
    fn time(&self) -> Duration {
        self.timeout.saturating_add(self.hello.limits.grace).saturating_add(GRACE)
    }

    fn wait_readable(&self, socket: &UnixStream, phase: WaitPhase) -> Result<(), OneShotError> {
        let deadline = match phase {
            WaitPhase::Start(at) => Some(at),
            WaitPhase::Reply(at) => at,
        };
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(OneShotError::Task(self.late(phase)));
            }
            if readable_within(socket.as_fd(), left.unwrap_or(Duration::MAX)).unwrap_or(true) {
                return Ok(());
            }
        }
    }

    fn late(&self, phase: WaitPhase) -> TaskError {
        match phase {
            WaitPhase::Start(_) => {
                TaskError::NoWorker { message: format!("it did not start within {START_TIMEOUT:?}") }
            }
            WaitPhase::Reply(_) => TaskError::Timeout { clock: Clock::Run, limit: self.timeout },
        }
    }
}

/// The frame that is awaited, and its deadline; `None` is no limit.
#[derive(Debug, Clone, Copy)]
enum WaitPhase {
    Start(Instant),
    Reply(Option<Instant>),
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
