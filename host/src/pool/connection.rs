//! The parent's end of one worker, and what the kernel is asked to watch.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;

use crate::error::WorkerExit;
use crate::ids::WorkerId;
use crate::process::ChildProcess;
use crate::wire::codec::FrameWriter;
use crate::wire::control::ControlPage;

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
    /// Writes as much as the socket takes. The driver goes on when it takes more.
    pub(super) fn flush(&mut self, worker: WorkerId, poller: &Poller) {
        while self.sent < self.out.len() {
            let rest = &self.out.bytes()[self.sent..];
            match rustix::net::send(&*self.socket, rest, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.watch(worker, poller, epoll::EventFlags::IN | epoll::EventFlags::OUT);
                    return;
                }
                // The worker is gone; its end is an event of its own.
                Err(_) => break,
            }
        }
        self.out.clear();
        self.sent = 0;
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
