//! The kernel's list of the descriptors that a reactor waits for.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, Timespec, epoll};

use crate::ids::WorkerId;

/// The kinds of a worker's descriptors, in the lowest byte of a token.
const KIND_SOCKET: u64 = 1;
const KIND_PROCESS: u64 = 2;
/// The token of the waker; no worker has it, as a worker's has a kind.
const WAKE: u64 = 0;

/// The token under which the kernel reports events of a worker's descriptor.
fn token(worker: WorkerId, kind: u64) -> u64 {
    u64::from(worker.slot) << 48 | u64::from(worker.generation) << 8 | kind
}

/// The source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Waker,
    Socket(WorkerId),
    Process(WorkerId),
}

impl Source {
    pub(super) fn of(event: &epoll::Event) -> Self {
        let token = event.data.u64();
        let slot = u16::try_from(token >> 48).expect("16 bits are left");
        let generation = u32::try_from(token >> 8 & 0xffff_ffff).expect("32 bits are left");
        let worker = WorkerId { slot, generation };
        match token & 0xff {
            KIND_SOCKET => Source::Socket(worker),
            KIND_PROCESS => Source::Process(worker),
            _ => Source::Waker,
        }
    }
}

/// The kernel's list of the descriptors that are waited for.
pub(super) struct Interest {
    epoll: OwnedFd,
    waker: OwnedFd,
}

impl Interest {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &waker, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, waker })
    }

    pub(super) fn add_socket(&self, worker: WorkerId, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(token(worker, KIND_SOCKET));
        epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)
    }

    pub(super) fn add_process(&self, worker: WorkerId, pidfd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(token(worker, KIND_PROCESS));
        epoll::add(&self.epoll, pidfd, data, epoll::EventFlags::IN)
    }

    /// From now on the worker is waited for to send.
    pub(super) fn watch_read(&self, worker: WorkerId, socket: BorrowedFd<'_>) {
        self.modify(worker, socket, epoll::EventFlags::IN);
    }

    /// From now on the worker is waited for to send, and its socket to take more.
    pub(super) fn watch_read_write(&self, worker: WorkerId, socket: BorrowedFd<'_>) {
        self.modify(worker, socket, epoll::EventFlags::IN | epoll::EventFlags::OUT);
    }

    fn modify(&self, worker: WorkerId, socket: BorrowedFd<'_>, flags: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(token(worker, KIND_SOCKET));
        if let Err(error) = epoll::modify(&self.epoll, socket, data, flags) {
            tracing::error!(%worker, %error, "cannot watch a worker's socket");
        }
    }

    pub(super) fn remove(&self, socket: BorrowedFd<'_>) {
        // It can only fail if the socket is not watched any more.
        let _unwatched = epoll::delete(&self.epoll, socket);
    }

    /// Ends the wait of the thread that reads, now or when it comes to wait.
    pub(super) fn wake(&self) {
        wake(&self.waker);
    }

    /// Forgets the wake-ups so far.
    pub(super) fn clear_wakes(&self) {
        let _none = rustix::io::read(&self.waker, &mut [0; 8]);
    }

    /// Waits for events, at most for `timeout`.
    pub(super) fn wait(&self, events: &mut Vec<epoll::Event>, timeout: Option<&Timespec>) -> usize {
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => {
                tracing::error!(%error, "cannot wait for workers");
                0
            }
        }
    }
}

fn wake(waker: &OwnedFd) {
    // A full counter is a wake-up that is on its way.
    let _on_its_way = rustix::io::write(waker, &1u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_worker_and_the_descriptor_that_it_is_of() {
        let of = |token| {
            Source::of(&epoll::Event { flags: epoll::EventFlags::IN, data: epoll::EventData::new_u64(token) })
        };
        for worker in [
            WorkerId { slot: 0, generation: 1 },
            WorkerId { slot: 4095, generation: 7 },
            WorkerId { slot: u16::MAX, generation: u32::MAX },
        ] {
            assert_eq!(of(token(worker, KIND_SOCKET)), Source::Socket(worker));
            assert_eq!(of(token(worker, KIND_PROCESS)), Source::Process(worker));
        }
        assert_eq!(of(WAKE), Source::Waker);
    }
}
