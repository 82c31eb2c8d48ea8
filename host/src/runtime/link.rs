//! The parent's ends of its workers: what is to be written to each, and what the process is known to do.
//!
//! Frames gather in a link during a turn under the pool's lock; the turn ends with one write per link that has any.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::process::Signal;
use wpool_abi::object::Rights;
use wpool_wire::codec::FrameWriter;
use wpool_wire::control::ControlPage;
use wpool_wire::limits::Limits;
use wpool_wire::message::{Answer, Memory, encode, to_worker};

use super::interest::Interest;
use crate::error::WorkerExit;
use crate::ids::{MemoryId, TaskId, WorkerId};
use crate::manager::Grant;
use crate::process::{ChildProcess, send_some_with_descriptors};

/// How long a worker that has closed its connection may take to exit: a process that exits closes its descriptors
/// first.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// A worker's process, as far as a link deals with it. Tests have one without a process.
pub(super) trait WorkerProcess: Send {
    fn pid(&self) -> u32;
    /// Can be read when the process has ended; `None` if there is nothing to watch.
    fn pidfd(&self) -> Option<BorrowedFd<'_>>;
    /// Resident memory in bytes, if the kernel tells.
    fn resident(&self) -> Option<u64>;
    fn signal(&mut self, signal: Signal);
    /// How the process ended, if it has.
    fn try_wait(&mut self) -> Option<WorkerExit>;
}

impl WorkerProcess for ChildProcess {
    fn pid(&self) -> u32 {
        ChildProcess::pid(self)
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        Some(ChildProcess::pidfd(self))
    }

    fn resident(&self) -> Option<u64> {
        ChildProcess::resident(self)
    }

    fn signal(&mut self, signal: Signal) {
        ChildProcess::signal(self, signal);
    }

    fn try_wait(&mut self) -> Option<WorkerExit> {
        ChildProcess::try_wait(self)
    }
}

/// The state of one worker's conversation between two frames.
pub(super) struct Conversation {
    /// The limits of the guest's tasks.
    pub(super) limits: Limits,
    /// Whether the worker has answered the hello.
    pub(super) is_ready: bool,
    /// Whether the worker has given up.
    pub(super) is_fatal: bool,
    /// How much of the logs of its running tasks the worker has sent, in bytes.
    pub(super) logged: HashMap<TaskId, u64>,
}

/// The result of writing to a worker.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    Whole,
    /// The socket is full. The rest is written when it takes more.
    Partly,
    /// The worker has closed its end, or cannot be sent what it needs.
    Unreachable,
}

/// The parent's end of one worker.
pub(super) struct Link {
    process: Box<dyn WorkerProcess>,
    socket: Arc<UnixStream>,
    pub(super) control: ControlPage,
    pub(super) out: FrameWriter,
    /// The bytes of `out` that the kernel has taken.
    sent: usize,
    /// The bytes of the answers in `out`, sent or not.
    answers: usize,
    /// How often the worker has asked for more with many answers to read, since it has read the last.
    pub(super) asked_behind: u32,
    /// Shared memory whose file goes with the frame at that offset of `out`.
    files: VecDeque<(usize, Grant)>,
    /// Shared memory that the worker has mapped, and whether it may write to it.
    mapped: HashMap<MemoryId, bool>,
    /// When the worker must have answered or exited, and the exit reason if it has not.
    overdue_at: Option<(Instant, &'static str)>,
    /// The worker was told to exit.
    stop_sent: bool,
    /// The violation of the protocol by the worker, which is not believed any more.
    violation: Option<String>,
    /// The exit reason: what the worker sent before it exited, or why it was killed.
    exit_reason: Option<String>,
    /// Whether the link is among those to be flushed at the end of the turn.
    dirty: bool,
}

impl Link {
    /// The link to a worker that was sent the hello, and has until `ready_by` to answer it.
    pub(super) fn new(
        process: Box<dyn WorkerProcess>,
        socket: Arc<UnixStream>,
        control: ControlPage,
        ready_by: Instant,
    ) -> Self {
        Self {
            process,
            socket,
            control,
            out: FrameWriter::default(),
            sent: 0,
            answers: 0,
            asked_behind: 0,
            files: VecDeque::new(),
            mapped: HashMap::new(),
            overdue_at: Some((ready_by, "it did not start within 10 s")),
            stop_sent: false,
            violation: None,
            exit_reason: None,
            dirty: false,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.process.pidfd()
    }

    pub(super) fn resident(&self) -> Option<u64> {
        self.process.resident()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Tells the worker to exit by `exit_by`, by the end of its stream.
    fn stop(&mut self, exit_by: Instant) {
        self.stop_sent = true;
        self.overdue_at = Some((exit_by, "it was told to stop and did not exit"));
        // If this fails the connection is at its end already.
        let _ended = self.socket.shutdown(std::net::Shutdown::Write);
    }

    pub(super) fn was_told_to_stop(&self) -> bool {
        self.stop_sent
    }

    /// The worker has answered the hello.
    pub(super) fn hello_answered(&mut self) {
        if !self.stop_sent {
            self.overdue_at = None;
        }
    }

    /// The worker has closed its end, and must exit by `at`.
    pub(super) fn expect_exit(&mut self, at: Instant) {
        self.overdue_at = Some((at, "it closed its connection and did not exit"));
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.overdue_at.map(|(at, _)| at)
    }

    /// Kills a worker that has not answered, or not exited, in time.
    fn kill_if_overdue(&mut self, now: Instant) {
        if let Some((_, reason)) = self.overdue_at.take_if(|(at, _)| *at <= now) {
            self.exit_reason.get_or_insert_with(|| reason.to_owned());
            self.kill();
        }
    }

    /// Sets the exit reason; it replaces an earlier one.
    pub(super) fn set_exit_reason(&mut self, reason: String) {
        self.exit_reason = Some(reason);
    }

    pub(super) fn exit_reason(&self) -> Option<&str> {
        self.exit_reason.as_deref()
    }

    /// The worker broke the protocol: it is killed. Frames that it sent before are still checked one by one.
    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
        self.kill();
    }

    /// How the process ended, if it has. A violation is the reason before any status.
    pub(super) fn exit(&mut self) -> Option<WorkerExit> {
        let exit = self.process.try_wait()?;
        Some(self.violation.take().map_or(exit, WorkerExit::Violation))
    }

    /// Queues an answer to a request.
    pub(super) fn answer(&mut self, answer: &Answer<'_>) {
        let before = self.out.len();
        self.out.frame(to_worker::ANSWER, |out| encode(answer, out));
        self.answers += self.out.len() - before;
    }

    /// The bytes of answers that the kernel has not taken yet, or somewhat more.
    pub(super) fn unsent_answers(&self) -> usize {
        self.answers
    }

    /// Has the worker map the shared memory of a handle, if it cannot use it yet.
    pub(super) fn share(&mut self, grant: &Grant) {
        let Some(region) = grant.region() else { return };
        let (id, writable) = (grant.id().memory(), grant.rights.contain(Rights::WRITE));
        if self.mapped.get(&id).is_some_and(|known| *known || !writable) {
            return;
        }
        self.mapped.insert(id, writable);
        self.files.push_back((self.out.len(), grant.clone()));
        let memory = Memory { id, form: region.memory.form(), len: region.memory.size() as u64, writable };
        self.out.frame(to_worker::MAP, |out| encode(&memory, out));
    }

    /// Queues an UNMAP frame. Returns whether the worker had the memory mapped.
    fn unshare(&mut self, memory: MemoryId) -> bool {
        let mapped = self.mapped.remove(&memory).is_some();
        if mapped {
            self.out.frame(to_worker::UNMAP, |out| encode(&memory, out));
        }
        mapped
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self) -> Flushed {
        while self.sent < self.out.len() {
            match self.send_some() {
                Ok(count) => {
                    self.files.pop_front_if(|(at, _)| *at == self.sent);
                    self.sent += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.forget_sent();
                    return Flushed::Partly;
                }
                Err(error) => {
                    self.forget_unsent();
                    return self.unreachable(error);
                }
            }
        }
        self.forget_unsent();
        Flushed::Whole
    }

    /// Frees what was sent when it is a mebibyte, and half of the buffer: one that never drains must not grow.
    fn forget_sent(&mut self) {
        if self.sent >= (1 << 20).max(self.out.len() / 2) {
            self.out.discard(self.sent);
            self.files.iter_mut().for_each(|(at, _)| *at -= self.sent);
            self.answers = self.answers.min(self.out.len());
            (self.sent, self.asked_behind) = (0, 0);
        }
    }

    fn forget_unsent(&mut self) {
        self.out.clear();
        self.files.clear();
        (self.sent, self.answers, self.asked_behind) = (0, 0, 0);
    }

    /// The worker cannot be written to. Its exit is an event of its own.
    fn unreachable(&mut self, error: rustix::io::Errno) -> Flushed {
        if matches!(error, rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) {
            // Most likely it was killed from outside a moment ago. A signal now would hide that.
            self.expect_exit(Instant::now() + EXIT_TIMEOUT);
        } else {
            self.kill();
        }
        Flushed::Unreachable
    }

    /// Sends the bytes up to the next file, with the file that belongs to them.
    fn send_some(&self) -> rustix::io::Result<usize> {
        let mut files = self.files.iter().peekable();
        let file = files.next_if(|(at, _)| *at == self.sent);
        let end = files.peek().map_or(self.out.len(), |(at, _)| *at);
        let bytes = &self.out.bytes()[self.sent..end];
        match file.and_then(|(_, grant)| Some((grant.region()?, grant.rights))) {
            None => rustix::net::send(&*self.socket, bytes, SendFlags::NOSIGNAL),
            Some((region, rights)) => {
                let file = region.file.for_worker(rights.contain(Rights::WRITE));
                send_some_with_descriptors(&self.socket, bytes, &[file])
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The links of all workers of a pool.
#[derive(Default)]
pub(super) struct Links {
    links: HashMap<WorkerId, Link>,
    /// Links with frames that were queued in this turn.
    dirty: Vec<WorkerId>,
    /// Workers that were to end before their process was started.
    cancelled_spawns: HashSet<WorkerId>,
}

impl Links {
    pub(super) fn get(&self, worker: WorkerId) -> Option<&Link> {
        self.links.get(&worker)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Link> {
        self.links.get_mut(&worker)
    }

    /// The link to queue frames in; it is flushed at the end of the turn.
    pub(super) fn writer(&mut self, worker: WorkerId) -> Option<&mut Link> {
        let link = self.links.get_mut(&worker)?;
        if !std::mem::replace(&mut link.dirty, true) {
            self.dirty.push(worker);
        }
        Some(link)
    }

    /// Queues one frame.
    pub(super) fn send(&mut self, worker: WorkerId, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(link) = self.writer(worker) {
            link.out.frame(kind, write);
        }
    }

    /// Adds the link of a worker that was started. One that was to end meanwhile is killed.
    pub(super) fn insert(&mut self, worker: WorkerId, mut link: Link) {
        if self.cancelled_spawns.remove(&worker) {
            link.kill();
        }
        self.links.insert(worker, link);
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Link> {
        self.links.remove(&worker)
    }

    /// Kills and forgets all workers.
    pub(super) fn clear(&mut self) {
        self.links.clear();
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        match self.links.get_mut(&worker) {
            Some(link) => link.kill(),
            None => drop(self.cancelled_spawns.insert(worker)),
        }
    }

    /// Tells a worker to exit by `exit_by`; afterwards it is killed.
    pub(super) fn stop(&mut self, worker: WorkerId, exit_by: Instant) {
        match self.links.get_mut(&worker) {
            Some(link) => link.stop(exit_by),
            None => drop(self.cancelled_spawns.insert(worker)),
        }
    }

    /// Whether a worker was to end before it was started. It is asked once.
    pub(super) fn take_cancelled(&mut self, worker: WorkerId) -> bool {
        self.cancelled_spawns.remove(&worker)
    }

    /// The process id of a worker; `None` if it is gone.
    pub(super) fn pid(&self, worker: WorkerId) -> Option<u32> {
        self.links.get(&worker).map(Link::pid)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.links.values().map(Link::pid).collect()
    }

    pub(super) fn signal_all(&mut self, signal: Signal) {
        self.links.values_mut().for_each(|link| link.signal(signal));
    }

    /// Has every worker unmap shared memory that no task can reach any more.
    pub(super) fn unshare(&mut self, memory: MemoryId) {
        let Self { links, dirty, .. } = self;
        for (worker, link) in links {
            if link.unshare(memory) && !std::mem::replace(&mut link.dirty, true) {
                dirty.push(*worker);
            }
        }
    }

    /// Kills workers that have not answered, or not exited, in time.
    pub(super) fn kill_overdue(&mut self, now: Instant) {
        self.links.values_mut().for_each(|link| link.kill_if_overdue(now));
    }

    /// When the next worker is overdue.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.links.values().filter_map(Link::overdue_at).min()
    }

    /// Writes what was queued in this turn. `interest` asks to be told when a socket that is full takes more. Returns
    /// whether a worker has become overdue earlier than before.
    pub(super) fn flush(&mut self, interest: &Interest) -> bool {
        let mut unreachable = false;
        for worker in self.dirty.drain(..) {
            let Some(link) = self.links.get_mut(&worker) else { continue };
            link.dirty = false;
            match link.flush() {
                Flushed::Whole => {}
                Flushed::Partly => interest.watch_read_write(worker, link.as_fd()),
                Flushed::Unreachable => unreachable = true,
            }
        }
        unreachable
    }

    /// A socket that was full takes more.
    pub(super) fn writable(&mut self, worker: WorkerId, interest: &Interest) {
        if let Some(link) = self.writer(worker) {
            interest.watch_read(worker, link.as_fd());
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
