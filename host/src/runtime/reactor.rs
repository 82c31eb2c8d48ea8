//! Reads from the workers, and tells [`WorkerNews`] what came: it knows no state of the pool.
//!
//! The driver reads, or in its place the one thread that waits for a result (leader and follower): a result that the
//! driver reads has to wake the thread that wants it, and that costs more than reading it. The reading thread handles
//! the news of all workers, whichever thread it is. The situations in which a wake-up could be lost, and why none is:
//!
//! | situation | why it is harmless |
//! |---|---|
//! | the driver is reading | the leader's flag is set, then the driver is woken; it sees the flag and yields |
//! | two threads want to lead | one of them sets the flag; the other waits on its cell, and the leader delivers to it |
//! | a result comes from elsewhere (a cancel, a close) | it is stored before the flag is looked at; a thread that sees the flag set wakes the leader |
//! | others submit while a thread leads | the leader delivers to them too, and calls the driver when it leaves jobs behind |
//! | no thread leads and the driver rests | the driver rests only while there are no jobs, and for a lease at most |

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use wpool_wire::SPIN_TIME;
use wpool_wire::codec::{Frame, FrameReader};
use wpool_wire::message::BadMessage;

use super::interest::{Interest, Source};
use crate::ids::WorkerId;
use crate::lock::{Mutex, MutexGuard};

/// The number of events that are taken from the kernel at a time.
const EVENTS: usize = 64;
/// The longest time that the driver leaves the reading to a leader without looking. A thread that led is most likely to
/// lead again, so that the driver need not fight for the readers; if it does not, a frame waits so long at most.
const LEASE: Duration = Duration::from_millis(10);

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The receiver of the workers' news. Each method may take the pool's lock: the reactor holds no lock that a turn
/// needs.
pub(super) trait WorkerNews {
    /// The state of one worker's conversation between two frames.
    type Conversation;

    /// A whole frame has come. An error ends the conversation, and is passed on to [`violated`](Self::violated).
    fn frame(
        &mut self,
        worker: WorkerId,
        conversation: &mut Self::Conversation,
        frame: &Frame<'_>,
    ) -> Result<(), BadMessage>;

    /// The worker sent what it must not. Nothing more is read from it.
    fn violated(&mut self, worker: WorkerId, what: String);

    /// A socket that was full takes more.
    fn writable(&mut self, worker: WorkerId);

    /// The worker closed its end, or was cut off after a violation. Nothing more is read from it.
    fn closed(&mut self, worker: WorkerId);

    /// The worker's process has ended, and everything that it had sent was read.
    fn exited(&mut self, worker: WorkerId);
}

/// Reads the frames of one worker.
struct Reader<C> {
    frames: FrameReader,
    socket: Arc<UnixStream>,
    conversation: C,
}

impl<C> Reader<C> {
    /// The number of bytes that have arrived and were not read.
    fn arrived(&self) -> u64 {
        rustix::io::ioctl_fionread(&*self.socket).unwrap_or(0)
    }
}

/// Whether a worker's stream can have more.
#[derive(Debug, PartialEq, Eq)]
enum Stream {
    /// It can; this number of bytes were read now.
    Open(u64),
    Ended,
}

/// Reads from all workers of a pool, on one thread at a time.
pub(super) struct Reactor<C> {
    interest: Interest,
    readers: Mutex<Readers<C>>,
    /// Readers that were registered since events were handled last. They have a lock of their own, as a leader may keep
    /// the other one for as long as it waits.
    registered: Mutex<Vec<(WorkerId, Reader<C>)>>,
    /// A thread that waits for a result reads, or is about to.
    led: AtomicBool,
    /// The number of times that a thread has led.
    leaders: AtomicU64,
    driver: OnceLock<Thread>,
    /// An answer was sent, or a thread began to lead: the next frame is most likely to come at once.
    recently_active: AtomicBool,
}

/// The readers of all workers, for the thread that reads.
struct Readers<C>(HashMap<WorkerId, Reader<C>>);

thread_local! {
    /// The reactor that this thread leads, as an address that is only compared; zero if it leads none.
    static LEADS: Cell<usize> = const { Cell::new(0) };
}

/// The lead of a thread, which ends when this is dropped.
struct Lead<'a> {
    led: &'a AtomicBool,
    /// The value of `LEADS` before.
    before: usize,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        LEADS.set(self.before);
        self.led.store(false, Ordering::SeqCst);
    }
}

/// Polls `condition` for the spin time. Returns whether it has become true. Other threads get the processor meanwhile.
fn spin_until(mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < SPIN_TIME {
        if condition() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

impl<C> Reactor<C> {
    pub(super) fn new() -> rustix::io::Result<Self> {
        Ok(Self {
            interest: Interest::new()?,
            readers: Mutex::new(Readers(HashMap::new())),
            registered: Mutex::default(),
            led: AtomicBool::new(false),
            leaders: AtomicU64::new(0),
            driver: OnceLock::new(),
            recently_active: AtomicBool::new(false),
        })
    }

    pub(super) fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Reads from a worker from now on, frames of at most `max_frame` bytes.
    pub(super) fn register(
        &self,
        worker: WorkerId,
        socket: Arc<UnixStream>,
        max_frame: usize,
        conversation: C,
    ) -> rustix::io::Result<()> {
        let reader =
            Reader { frames: FrameReader::new(max_frame), socket: Arc::clone(&socket), conversation };
        // The lock holds events back until their reader is there.
        let mut registered = self.registered.lock();
        self.interest.add_socket(worker, socket.as_fd())?;
        registered.push((worker, reader));
        Ok(())
    }

    /// Watches a worker's process for its end.
    pub(super) fn watch_process(&self, worker: WorkerId, pidfd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.interest.add_process(worker, pidfd)
    }

    /// The thread that calls this is the driver.
    pub(super) fn set_driver(&self) {
        // No other thread calls it, and the driver does once.
        let _set = self.driver.set(std::thread::current());
    }

    /// Has the driver look whether it should read again.
    pub(super) fn call_driver(&self) {
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    /// Ends the wait of the thread that reads, if that is another one than this.
    pub(super) fn wake_other_leader(&self) {
        if self.led.load(Ordering::SeqCst) && LEADS.get() != self.address() {
            self.interest.wake();
        }
    }

    /// A frame is most likely to come at once: the next poll spins before it sleeps.
    pub(super) fn expect_more(&self) {
        self.recently_active.store(true, Ordering::Relaxed);
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// One round of the driver: reads until the deadline or until something has happened, or leaves that to a leader.
    /// `seen` is the number of leaders at the last round; `idle` tells whether there are no jobs.
    pub(super) fn poll_as_driver(
        &self,
        seen: &mut u64,
        deadline: Option<Instant>,
        idle: impl FnOnce() -> bool,
        news: &mut impl WorkerNews<Conversation = C>,
    ) {
        let leaders = self.leaders.load(Ordering::SeqCst);
        // A thread that has just led will most likely do so again.
        let resting = std::mem::replace(seen, leaders) != leaders && idle();
        let readers = if resting || self.led.load(Ordering::SeqCst) { None } else { self.readers.try_lock() };
        match readers {
            Some(mut readers) => self.poll(&mut readers, deadline, news),
            None => {
                let lease = Instant::now() + LEASE;
                let until = deadline.map_or(lease, |at| at.min(lease));
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Reads on this thread until `done` says so or the deadline has passed. Returns at once if another thread leads.
    pub(super) fn lead(
        &self,
        done: impl Fn() -> bool,
        deadline: Option<Instant>,
        news: &mut impl WorkerNews<Conversation = C>,
    ) {
        if self.led.swap(true, Ordering::SeqCst) {
            return;
        }
        // Dropped last: the thread leads as long as it has the readers, and no longer, also if a callback panics.
        let _lead = Lead { led: &self.led, before: LEADS.replace(self.address()) };
        self.leaders.fetch_add(1, Ordering::SeqCst);
        let mut readers = self.readers.try_lock().unwrap_or_else(|| {
            self.interest.wake();
            self.readers.lock()
        });
        self.expect_more();
        while !done() && deadline.is_none_or(|at| at > Instant::now()) {
            self.poll(&mut readers, deadline, news);
        }
    }

    /// Waits for events, at most until the deadline, and handles them.
    fn poll(
        &self,
        readers: &mut MutexGuard<'_, Readers<C>>,
        deadline: Option<Instant>,
        news: &mut impl WorkerNews<Conversation = C>,
    ) {
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up, so that the deadline has passed when the wait is over.
        let timeout = timeout.and_then(|time| Timespec::try_from(time + Duration::from_micros(1)).ok());
        let mut events = Vec::with_capacity(EVENTS);
        let spins = self.recently_active.swap(false, Ordering::Relaxed);
        if !spins || !spin_until(|| self.interest.wait(&mut events, Some(&NO_TIME)) > 0) {
            self.interest.wait(&mut events, timeout.as_ref());
        }
        readers.0.extend(self.registered.lock().drain(..));
        for event in events {
            match Source::of(&event) {
                Source::Waker => self.interest.clear_wakes(),
                Source::Socket(worker) => readers.socket_ready(worker, event.flags, &self.interest, news),
                Source::Process(worker) => readers.process_ended(worker, &self.interest, news),
            }
        }
    }
}

impl<C> Readers<C> {
    fn socket_ready(
        &mut self,
        worker: WorkerId,
        flags: epoll::EventFlags,
        interest: &Interest,
        news: &mut impl WorkerNews<Conversation = C>,
    ) {
        if flags.contains(epoll::EventFlags::OUT) {
            news.writable(worker);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
            && self.read(worker, news) == Stream::Ended
        {
            self.close(worker, interest, news);
        }
    }

    /// Reads no more from a worker.
    fn close(&mut self, worker: WorkerId, interest: &Interest, news: &mut impl WorkerNews<Conversation = C>) {
        if let Some(reader) = self.0.remove(&worker) {
            interest.remove(reader.socket.as_fd());
        }
        news.closed(worker);
    }

    /// Reads once from a worker, and passes every whole frame on.
    fn read(&mut self, worker: WorkerId, news: &mut impl WorkerNews<Conversation = C>) -> Stream {
        let Some(Reader { frames, socket, conversation }) = self.0.get_mut(&worker) else {
            return Stream::Ended;
        };
        let count = match frames.fill(&**socket) {
            Ok(0) => return Stream::Ended,
            Ok(count) => count as u64,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Stream::Open(0);
            }
            Err(_) => return Stream::Ended,
        };
        loop {
            let handled = match frames.next_frame() {
                Ok(None) => return Stream::Open(count),
                Ok(Some(frame)) => {
                    news.frame(worker, conversation, &frame).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(what) = handled {
                news.violated(worker, what);
                return Stream::Ended;
            }
        }
    }

    /// A worker's process is gone. What it sent before is read first, and no more than that: another process may hold the
    /// other end of its socket, and write to it for ever.
    fn process_ended(
        &mut self,
        worker: WorkerId,
        interest: &Interest,
        news: &mut impl WorkerNews<Conversation = C>,
    ) {
        let mut left = self.0.get(&worker).map_or(0, Reader::arrived);
        while left > 0 {
            match self.read(worker, news) {
                Stream::Open(count) => left = left.saturating_sub(count.max(1)),
                Stream::Ended => break,
            }
        }
        if self.0.contains_key(&worker) {
            self.close(worker, interest, news);
        }
        news.exited(worker);
    }
}

#[cfg(test)]
mod tests;
