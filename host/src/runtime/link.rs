//! The parent's ends of its workers: what is to be written to each, and what the process is known to do.
//!
//! Frames gather in a link during a turn under the pool's lock; the turn ends with one write per link that has any.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::SendFlags;
use rustix::process::Signal;
use wpool_abi::object::Rights;
use wpool_wire::codec::FrameWriter;
use wpool_wire::control::ControlPage;
use wpool_wire::limits::Limits;
use wpool_wire::message::{Memory, encode, to_worker};

use super::reactor::Interest;
use crate::error::WorkerExit;
use crate::ids::{MemoryId, WorkerId};
use crate::manager::Grant;
use crate::process::{ChildProcess, send_some_with_descriptors};

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

/// What is remembered of a worker while its frames are read.
pub(super) struct Conversation {
    /// The limits of the guest's tasks.
    pub(super) limits: Limits,
    /// Whether the worker has answered the hello.
    pub(super) is_ready: bool,
}

/// The parent's end of one worker.
pub(super) struct Link {
    process: Box<dyn WorkerProcess>,
    socket: Arc<UnixStream>,
    pub(super) control: ControlPage,
    pub(super) out: FrameWriter,
    /// The bytes of `out` that the kernel has taken.
    sent: usize,
    /// Shared memory whose file goes with the frame at that offset of `out`.
    files: VecDeque<(usize, Grant)>,
    /// Shared memory that the worker has mapped, and whether it may write to it.
    mapped: HashMap<MemoryId, bool>,
    /// When the worker must have answered or exited, and the exit reason if it has not.
    overdue_at: Option<(Instant, &'static str)>,
    /// The worker was told to exit.
    stop_sent: bool,
    /// Why the worker is not to be believed any more.
    violation: Option<String>,
    /// What the worker said before it exited.
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
            files: VecDeque::new(),
            mapped: HashMap::new(),
            overdue_at: Some((ready_by, "it did not start within 10 s")),
            stop_sent: false,
            violation: None,
            exit_reason: None,
            dirty: false,
        }
    }

    fn pid(&self) -> u32 {
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

    /// Tells the worker to exit, by the end of its stream.
    pub(super) fn stop(&mut self) {
        self.stop_sent = true;
        // If this fails the connection is at its end already.
        let _ended = self.socket.shutdown(std::net::Shutdown::Write);
    }

    pub(super) fn was_told_to_stop(&self) -> bool {
        self.stop_sent
    }

    /// The worker has answered the hello.
    pub(super) fn is_ready(&mut self) {
        self.overdue_at = None;
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

    /// Remembers what the worker said before its end; the last word counts.
    pub(super) fn set_exit_reason(&mut self, reason: String) {
        self.exit_reason = Some(reason);
    }

    pub(super) fn exit_reason(&self) -> Option<&str> {
        self.exit_reason.as_deref()
    }

    /// The worker broke the protocol: it is killed, and what it still says does not count.
    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
        self.kill();
    }

    /// How the process ended, if it has. A violation is the reason before any status.
    pub(super) fn exit(&mut self) -> Option<WorkerExit> {
        let exit = self.process.try_wait()?;
        Some(self.violation.take().map_or(exit, WorkerExit::Violation))
    }

    /// The bytes that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
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

    /// Writes as much as the socket takes. Returns whether something is left, for when it takes more.
    fn flush(&mut self) -> bool {
        while self.sent < self.out.len() {
            match self.send_some() {
                Ok(count) => {
                    self.files.pop_front_if(|(at, _)| *at == self.sent);
                    self.sent += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => {
                    // The worker is gone, or would never hear what it was sent. Its exit is an event of its own.
                    self.kill();
                    break;
                }
            }
        }
        self.out.clear();
        self.files.clear();
        self.sent = 0;
        false
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

    pub(super) fn stop(&mut self, worker: WorkerId) {
        match self.links.get_mut(&worker) {
            Some(link) => link.stop(),
            None => drop(self.cancelled_spawns.insert(worker)),
        }
    }

    /// Whether a worker was to end before it was started. It is asked once.
    pub(super) fn take_cancelled(&mut self, worker: WorkerId) -> bool {
        self.cancelled_spawns.remove(&worker)
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

    /// Writes what was queued in this turn. `interest` asks to be told when a socket that is full takes more.
    pub(super) fn flush(&mut self, interest: &Interest) {
        for worker in self.dirty.drain(..) {
            let Some(link) = self.links.get_mut(&worker) else { continue };
            link.dirty = false;
            if link.flush() {
                interest.in_writing(worker, link.as_fd());
            }
        }
    }

    /// A socket that was full takes more.
    pub(super) fn writable(&mut self, worker: WorkerId, interest: &Interest) {
        if let Some(link) = self.writer(worker) {
            interest.in_reading(worker, link.as_fd());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A process that is none: it ends when it is told to, or when the test says that another process has killed it.
    #[derive(Default)]
    struct NoProcess {
        signalled: Option<Signal>,
        killed_outside: Arc<AtomicBool>,
    }

    /// The worker's side of a link, and a switch that kills it from outside.
    pub(in super::super) struct Peer {
        pub(in super::super) socket: UnixStream,
        pub(in super::super) control: ControlPage,
        pub(in super::super) killed_outside: Arc<AtomicBool>,
    }

    impl WorkerProcess for NoProcess {
        fn pid(&self) -> u32 {
            0
        }

        fn pidfd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn resident(&self) -> Option<u64> {
            None
        }

        fn signal(&mut self, signal: Signal) {
            self.signalled.get_or_insert(signal);
        }

        fn try_wait(&mut self) -> Option<WorkerExit> {
            if self.killed_outside.load(Ordering::Relaxed) {
                return Some(WorkerExit::Signal { signal: Signal::KILL.as_raw(), by_pool: false });
            }
            self.signalled.map(|signal| WorkerExit::Signal { signal: signal.as_raw(), by_pool: true })
        }
    }

    /// A link over a socket pair.
    pub(in super::super) fn link() -> (Link, Peer) {
        let (ours, socket) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (control, file) = ControlPage::create().unwrap();
        let ready_by = Instant::now() + std::time::Duration::from_secs(10);
        let process = NoProcess::default();
        let killed_outside = Arc::clone(&process.killed_outside);
        let link = Link::new(Box::new(process), Arc::new(ours), control, ready_by);
        let control = ControlPage::open(&file.into()).unwrap();
        (link, Peer { socket, control, killed_outside })
    }

    const WORKER: WorkerId = WorkerId { slot: 0, generation: 1 };

    fn linked() -> (Links, UnixStream, Interest) {
        let (link, Peer { socket: theirs, .. }) = link();
        let interest = Interest::new().unwrap();
        interest.in_socket(WORKER, link.as_fd()).unwrap();
        let mut links = Links::default();
        links.insert(WORKER, link);
        (links, theirs, interest)
    }

    #[test]
    fn frames_of_a_turn_are_written_together() {
        let (mut links, mut theirs, interest) = linked();
        theirs.set_nonblocking(true).unwrap();
        links.send(WORKER, 7, |out| out.push(1));
        links.send(WORKER, 8, |out| out.push(2));
        let mut bytes = [0; 64];
        assert!(theirs.read(&mut bytes).is_err(), "nothing before the end of the turn");
        links.flush(&interest);
        assert_eq!(theirs.read(&mut bytes).unwrap(), 18);
    }

    #[test]
    fn what_a_full_socket_leaves_is_written_when_it_takes_more() {
        let (mut links, mut theirs, interest) = linked();
        let frame = vec![9; 4 << 20];
        links.send(WORKER, 7, |out| out.extend_from_slice(&frame));
        links.flush(&interest);
        assert!(links.get(WORKER).unwrap().unsent() > 0);
        let mut got = 0;
        let mut bytes = vec![0; 1 << 16];
        while got < frame.len() + 8 {
            got += theirs.read(&mut bytes).unwrap();
            links.writable(WORKER, &interest);
            links.flush(&interest);
        }
        assert_eq!((got, links.get(WORKER).unwrap().unsent()), (frame.len() + 8, 0));
    }

    #[test]
    fn a_worker_that_cannot_be_written_to_is_killed() {
        let (mut links, theirs, interest) = linked();
        drop(theirs);
        links.send(WORKER, 7, |out| out.push(1));
        links.flush(&interest);
        assert!(matches!(links.get_mut(WORKER).unwrap().exit(), Some(WorkerExit::Signal { signal: 9, .. })));
    }

    #[test]
    fn a_violation_is_the_reason_of_the_exit() {
        let (mut links, _theirs, _interest) = linked();
        let link = links.get_mut(WORKER).unwrap();
        link.violated("it lied".to_owned());
        link.violated("again".to_owned());
        assert_eq!(link.exit(), Some(WorkerExit::Violation("it lied".to_owned())));
    }

    #[test]
    fn a_worker_is_killed_when_it_is_overdue_and_not_before() {
        let (mut links, _theirs, _interest) = linked();
        let due = links.next_overdue().unwrap();
        links.kill_overdue(due - std::time::Duration::from_millis(1));
        assert_eq!(links.get_mut(WORKER).unwrap().exit(), None);
        links.kill_overdue(due);
        assert_eq!(links.get(WORKER).unwrap().exit_reason(), Some("it did not start within 10 s"));
        assert!(links.get_mut(WORKER).unwrap().exit().is_some() && links.next_overdue().is_none());
    }

    #[test]
    fn a_worker_that_was_to_end_before_it_was_started_is_killed_at_once() {
        let (mut links, (link, _peer)) = (Links::default(), link());
        links.kill(WORKER);
        links.insert(WORKER, link);
        assert!(links.get_mut(WORKER).unwrap().exit().is_some());
        assert!(!links.take_cancelled(WORKER));
    }
}
