//! One question to a worker that is started for it: a description, or the work of an initializer.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::{Clock, Phase, SpawnError, TaskError, WorkerExit};
use crate::process::{ChildProcess, Executable, readable_within, send_with_descriptors};
use wpool_wire::codec::{FrameReader, FrameWriter};
use wpool_wire::control::ControlPage;
use wpool_wire::message::{BadMessage, Fatal, Hello, decode, encode, from_worker, to_worker};
use wpool_wire::role;

/// The worker's own clock ends a call; this is for one that it cannot end.
const GRACE: Duration = Duration::from_secs(1);

/// What a worker is asked.
pub(super) struct Question<'a> {
    pub(super) hello: Hello,
    /// What the hello brings beside the control page.
    pub(super) descriptors: &'a [BorrowedFd<'a>],
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
    /// Bytes that an answer may have.
    pub(super) max_reply: usize,
    /// How long the guest may take.
    pub(super) time: Duration,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The worker could not be started.
    Spawn(SpawnError),
    /// The guest failed, or its worker was lost.
    Task(TaskError),
    /// The answer makes no sense.
    Bad(String),
    /// The worker could not go on and said why.
    GaveUp(String),
}

impl From<SpawnError> for Unanswered {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

/// Asks, and gives the first answer to `read`. The worker is gone when this returns.
pub(super) fn ask<T>(
    executable: &Executable,
    question: Question<'_>,
    read: impl FnOnce(u8, &[u8]) -> Result<Result<T, TaskError>, BadMessage>,
) -> Result<T, Unanswered> {
    let deadline = Instant::now().checked_add(question.time.saturating_add(GRACE));
    let (_control, control_file) = ControlPage::create()
        .map_err(|error| SpawnError::system("a control page", error))?;
    let (mut process, socket) = ChildProcess::spawn(executable, role::WORKER)?;
    let mut writer = FrameWriter::default();
    writer.frame(to_worker::HELLO, |out| encode(&question.hello, out));
    let mut descriptors = vec![control_file.as_fd()];
    descriptors.extend_from_slice(question.descriptors);
    // If this fails the child is gone, and how it ended says more.
    let _gone = send_with_descriptors(&socket, writer.bytes(), &descriptors);
    // A worker that does not read is no reason to wait for longer than for one that does not answer.
    let _unbounded = socket.set_write_timeout(Some(question.time.saturating_add(GRACE)));
    writer.clear();
    writer.frame(question.kind, |out| out.extend_from_slice(question.payload));
    let _gone = std::io::Write::write_all(&mut &socket, writer.bytes());
    let mut reader = FrameReader::new(question.max_reply);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Unanswered::Task(TaskError::Timeout { clock: Clock::Run, limit: question.time }));
        }
        if !readable_within(socket.as_fd(), left.unwrap_or(Duration::MAX)).unwrap_or(true) {
            continue;
        }
        if reader.fill(&socket).unwrap_or(0) == 0 {
            let soon = Instant::now() + GRACE;
            let cause = process.wait_until(soon).unwrap_or(WorkerExit::Unknown);
            let (phase, earlier) = (Phase::Running, Vec::new());
            return Err(Unanswered::Task(TaskError::WorkerLost { cause, phase, earlier }));
        }
        while let Some(frame) = reader.next_frame().map_err(|error| Unanswered::Bad(error.to_string()))? {
            let bad = |error: BadMessage| Unanswered::Bad(error.to_string());
            match frame.kind {
                from_worker::READY => {}
                from_worker::FATAL => {
                    let Fatal { message } = decode(frame.payload).map_err(bad)?;
                    return Err(Unanswered::GaveUp(message));
                }
                kind => return read(kind, frame.payload).map_err(bad)?.map_err(Unanswered::Task),
            }
        }
    }
}
