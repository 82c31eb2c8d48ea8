//! The parent's end of one worker, and what the kernel is asked to watch.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;
use rustix::net::SendFlags;
use wpool_abi::object::Rights;

use crate::error::WorkerExit;
use crate::ids::{MemoryId, WorkerId};
use crate::manager::Grant;
use crate::process::{ChildProcess, send_some_with_descriptors};
use wpool_wire::codec::FrameWriter;
use wpool_wire::control::ControlPage;
use wpool_wire::message::{Memory, encode, to_worker};

pub(super) const KIND_SOCKET: u64 = 1;
pub(super) const KIND_PROCESS: u64 = 2;

/// The number under which the kernel reports news of a kind of a worker.
pub(super) fn token(worker: WorkerId, kind: u64) -> u64 {
    u64::from(worker.slot) << 48 | u64::from(worker.generation) << 8 | kind
}

/// The worker that such a number is of.
pub(super) fn worker_of(token: u64) -> WorkerId {
    let slot = u16::try_from(token >> 48).expect("16 bits are left");
    let generation = u32::try_from(token >> 8 & 0xffff_ffff).expect("32 bits are left");
    WorkerId { slot, generation }
}

/// The kernel's list of what the driver waits for.
pub(super) struct Poller {
    pub(super) epoll: OwnedFd,
    pub(super) waker: OwnedFd,
}

impl Poller {
    /// The waker is registered under this number.
    pub(super) const WAKE: u64 = 0;

    pub(super) fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let waker = rustix::event::eventfd(0, flags)?;
        epoll::add(&epoll, &waker, epoll::EventData::new_u64(Self::WAKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, waker })
    }

    /// Has the driver look at the shared state.
    pub(super) fn wake(&self) {
        // A full counter is a wake-up that is on its way.
        let _on_its_way = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
    }

    /// Forgets the wake-ups so far.
    pub(super) fn clear(&self) {
        let _none = rustix::io::read(&self.waker, &mut [0; 8]);
    }
}

/// The parent's end of one worker.
pub(super) struct Connection {
    pub(super) process: ChildProcess,
    pub(super) socket: Arc<UnixStream>,
    pub(super) control: ControlPage,
    pub(super) out: FrameWriter,
    /// How much of `out` the kernel has taken.
    pub(super) sent: usize,
    /// Shared memory whose file goes with the frame that starts there in `out`.
    files: VecDeque<(usize, Grant)>,
    /// Shared memory that the worker has mapped, and whether it may write to it.
    mapped: HashMap<MemoryId, bool>,
    /// Until when it is to do something, and what it did not do if it has not by then.
    pub(super) due: Option<(Instant, &'static str)>,
    /// The worker was told to go.
    pub(super) let_go: bool,
    /// Why the worker is not to be believed any more.
    pub(super) violation: Option<String>,
    /// What it said before it exited.
    pub(super) last_words: Option<String>,
}

impl Connection {
    /// A worker that has just been told who it is, and has so long to get ready.
    pub(super) fn new(
        process: ChildProcess,
        socket: UnixStream,
        control: ControlPage,
        ready_by: Instant,
    ) -> Self {
        Self {
            process,
            socket: Arc::new(socket),
            control,
            out: FrameWriter::default(),
            sent: 0,
            files: VecDeque::new(),
            mapped: HashMap::new(),
            due: Some((ready_by, "it did not start within 10 s")),
            let_go: false,
            violation: None,
            last_words: None,
        }
    }

    /// Writes as much as the socket takes. The driver goes on when it takes more.
    pub(super) fn flush(&mut self, worker: WorkerId, poller: &Poller) {
        while self.sent < self.out.len() {
            match self.send_some() {
                Ok(count) => {
                    self.files.pop_front_if(|(at, _)| *at == self.sent);
                    self.sent += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.watch(worker, poller, epoll::EventFlags::IN | epoll::EventFlags::OUT);
                    return;
                }
                Err(_) => {
                    // The worker is gone, or it would never hear what it was sent. Its end is an event of its own.
                    self.process.kill();
                    break;
                }
            }
        }
        self.out.clear();
        self.files.clear();
        self.sent = 0;
    }

    /// Sends up to the next file, with the one that belongs here.
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

    /// Has the worker map what a handle is to, if that is shared memory that it cannot use yet.
    pub(super) fn share(&mut self, grant: &Grant) {
        let Some(region) = grant.region() else { return };
        let (id, writable) = (grant.id().memory(), grant.rights.contain(Rights::WRITE));
        if self.mapped.get(&id).is_some_and(|known| *known || !writable) {
            return;
        }
        self.mapped.insert(id, writable);
        self.files.push_back((self.out.len(), grant.clone()));
        let memory = Memory { id, form: region.memory.form(), len: region.memory.len() as u64, writable };
        self.out.frame(to_worker::MAP, |out| encode(&memory, out));
    }

    /// Nobody can reach that shared memory any more. Whether the worker has to hear of it.
    pub(super) fn unshare(&mut self, memory: MemoryId) -> bool {
        let mapped = self.mapped.remove(&memory).is_some();
        if mapped {
            self.out.frame(to_worker::UNMAP, |out| encode(&memory, out));
        }
        mapped
    }

    /// How many bytes the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    pub(super) fn watch(&self, worker: WorkerId, poller: &Poller, flags: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(token(worker, KIND_SOCKET));
        if let Err(error) = epoll::modify(&poller.epoll, self.socket.as_fd(), data, flags) {
            tracing::error!(%worker, %error, "cannot watch a worker's socket");
        }
    }

    /// How the process ended, with what is known beside its status.
    pub(super) fn exit(&mut self) -> Option<WorkerExit> {
        let exit = self.process.try_wait()?;
        Some(match self.violation.take() {
            Some(what) => WorkerExit::Violation(what),
            None => exit,
        })
    }
}
