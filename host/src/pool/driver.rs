//! The pool's own thread: it starts workers, reads what they send, sees them end, and watches the clock.
//!
//! A child's death signal follows the thread that started it, so this thread lives as long as any worker.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::connection::{Connection, KIND_PROCESS, KIND_SOCKET, Poller, token, worker_of};
use super::core::Shared;
use super::future::{Completed, Figures, TaskLog};
use super::hosted::Hosted;
use super::requests::requests;
use crate::dispatch::Event;
use crate::error::SpawnError;
use crate::ids::{TaskId, WorkerId};
use crate::outcome::task_result;
use crate::process::{ChildProcess, send_with_descriptors};
use wpool_wire::codec::{FrameReader, FrameWriter};
use wpool_wire::control::ControlPage;
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{
    BadMessage, Done, Fatal, Hello, Outcome, Ready, decode, encode, from_worker, to_worker,
};
use wpool_wire::role;
use wpool_wire::{BUILD, MOMENT, PROTOCOL_VERSION};

/// A result or an error, a log and a backtrace: what one record can hold at most, beside its result.
const RECORD_OVERHEAD: usize = 1 << 20;
/// A worker that has not answered the hello by then never will.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How many events are taken from the kernel at a time.
const EVENTS: usize = 64;

/// Runs until the pool is closed and everything has ended. If it should panic, which is a bug of ours, no task waits
/// for it.
pub(super) fn run(shared: &Arc<Shared>) {
    let driven = std::panic::catch_unwind(AssertUnwindSafe(|| drive(shared)));
    if driven.is_err() {
        tracing::error!("the driver panicked; the pool is given up");
        shared.give_up();
    }
    shared.set_finished();
}

fn drive(shared: &Arc<Shared>) {
    shared.lead.set_driver();
    let driver = Driver { shared };
    let mut led = 0;
    while let Some(deadline) = driver.prepare() {
        shared.listen_as_driver(&mut led, deadline);
        if deadline.is_some_and(|at| at <= Instant::now()) {
            shared.with(|core| {
                let now = Instant::now();
                core.objects.store.expire(now);
                core.handle(Event::Tick, now, &shared.poller);
            });
        }
    }
}

/// What only the driver's thread does.
struct Driver<'a> {
    shared: &'a Arc<Shared>,
}

/// The ears on all workers of a pool.
#[derive(Default)]
pub(super) struct Ears {
    readers: HashMap<WorkerId, Reader>,
}

/// The parent's ear on one worker.
pub(super) struct Reader {
    frames: FrameReader,
    socket: Arc<UnixStream>,
    hosted: Arc<Hosted>,
    /// Whether the worker has not answered the hello yet.
    starting: bool,
}

/// Whether a worker's stream can have more.
#[derive(PartialEq, Eq)]
enum Stream {
    Open,
    Ended,
}

impl Driver<'_> {
    /// Starts and ends what is to be, and says until when there is nothing else to do; none when nothing is
    /// left to be done at all.
    #[expect(clippy::option_option, reason = "no deadline is not the end")]
    fn prepare(&self) -> Option<Option<Instant>> {
        self.spawn_wanted();
        self.shared.with(|core| {
            core.end_overdue(Instant::now());
            let due = core.workers.values().filter_map(|connection| Some(connection.due?.0)).min();
            let objects = core.objects.store.next_deadline();
            let deadline = core.dispatcher.next_deadline().into_iter().chain(objects).chain(due).min();
            core.driver_wakes_at = deadline;
            let finished = core.dispatcher.is_finished() && core.to_spawn.is_empty();
            (!finished).then_some(deadline)
        })
    }

    fn spawn_wanted(&self) {
        loop {
            let wanted = self.shared.with(|core| std::mem::take(&mut core.to_spawn));
            if wanted.is_empty() {
                return;
            }
            for (worker, guest) in wanted {
                let hosted = self.shared.with(|core| {
                    let hosted = core.guests.get(&guest).cloned();
                    hosted.filter(|_| !core.doomed.remove(&worker))
                });
                let spawned = match hosted {
                    Some(hosted) => self.spawn(worker, hosted),
                    None => Err("it is not wanted any more".to_owned()),
                };
                if let Err(message) = spawned {
                    let event = Event::SpawnFailed { worker, message };
                    self.shared.with(|core| core.handle(event, Instant::now(), &self.shared.poller));
                }
            }
        }
    }

    fn spawn(&self, worker: WorkerId, hosted: Arc<Hosted>) -> Result<(), String> {
        let connection = self.connect(worker, &hosted).map_err(|error| error.to_string())?;
        let socket = Arc::clone(&connection.socket);
        let frames = FrameReader::new(max_frame(&hosted.limits));
        let reader = Reader { frames, socket, hosted, starting: true };
        self.shared.with(|core| {
            core.stats.workers_started += 1;
            core.new_readers.push((worker, reader));
            // It may have been told to end while it was being started.
            let doomed = core.doomed.remove(&worker);
            let connection = core.workers.entry(worker).insert_entry(connection).into_mut();
            if doomed {
                connection.process.kill();
            }
        });
        Ok(())
    }

    /// Starts a process and sends it the hello.
    fn connect(&self, worker: WorkerId, hosted: &Hosted) -> Result<Connection, SpawnError> {
        let system = |what: &'static str| {
            move |error: io::Error| SpawnError::System { what, message: error.to_string() }
        };
        let shared = self.shared;
        let (control, control_file) =
            ControlPage::create().map_err(|error| system("a control page")(error.into()))?;
        let (process, socket) = ChildProcess::spawn(hosted.guest.executable(), role::WORKER)?;
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            build: BUILD.to_owned(),
            limits: hosted.limits,
            tasks: hosted.guest.task_exports(),
            has_start: hosted.start.has_start,
            isolation: hosted.isolation,
            from_snapshot: hosted.start.snapshot.is_some(),
        };
        let mut writer = FrameWriter::default();
        writer.frame(to_worker::HELLO, |out| encode(&hello, out));
        let mut descriptors = vec![control_file.as_fd(), hosted.start.image.as_fd()];
        descriptors.extend(hosted.start.snapshot.as_ref().map(|snapshot| snapshot.0.as_fd()));
        send_with_descriptors(&socket, writer.bytes(), &descriptors).map_err(system("a connection"))?;
        socket.set_nonblocking(true).map_err(system("a connection"))?;
        let watch = |fd, kind| {
            let data = epoll::EventData::new_u64(token(worker, kind));
            epoll::add(&shared.poller.epoll, fd, data, epoll::EventFlags::IN)
        };
        watch(socket.as_fd(), KIND_SOCKET)
            .and_then(|()| watch(process.pidfd(), KIND_PROCESS))
            .map_err(|error| system("a watch over a worker")(error.into()))?;
        Ok(Connection::new(process, socket, control, Instant::now() + START_TIMEOUT))
    }
}

/// Waits a moment without sleeping, until it is so. False if it was not. Others who want the processor have it
/// meanwhile.
fn soon(mut so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < MOMENT {
        if so() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

const NOT_AT_ALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Ears {
    /// Waits for news of any worker, at most until the deadline, and handles them.
    pub(super) fn listen(&mut self, shared: &Shared, deadline: Option<Instant>) {
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up, so that the deadline has come when the wait is over.
        let timeout = timeout.and_then(|time| Timespec::try_from(time + Duration::from_micros(1)).ok());
        let mut events = Vec::with_capacity(EVENTS);
        let poller = &shared.poller;
        let mut wait = |timeout| match epoll::wait(
            &poller.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout,
        ) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => {
                tracing::error!(%error, "cannot wait for workers");
                0
            }
        };
        if !shared.conversing.swap(false, Ordering::Relaxed) || !soon(|| wait(Some(&NOT_AT_ALL)) > 0) {
            wait(timeout.as_ref());
        }
        for event in events {
            match event.data.u64() {
                Poller::WAKE => poller.clear(),
                token if token & 0xff == KIND_SOCKET => {
                    self.socket_ready(shared, worker_of(token), event.flags);
                }
                token => self.process_ended(shared, worker_of(token)),
            }
        }
    }

    fn reader(&mut self, shared: &Shared, worker: WorkerId) -> Option<&mut Reader> {
        if !self.readers.contains_key(&worker) {
            self.readers.extend(shared.with(|core| std::mem::take(&mut core.new_readers)));
        }
        self.readers.get_mut(&worker)
    }

    fn socket_ready(&mut self, shared: &Shared, worker: WorkerId, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            shared.with(|core| {
                let Some(connection) = core.workers.get_mut(&worker) else { return };
                connection.watch(worker, &shared.poller, epoll::EventFlags::IN);
                connection.flush(worker, &shared.poller);
            });
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
            && self.read(shared, worker) == Stream::Ended
        {
            self.stop_listening(shared, worker);
        }
    }

    /// A worker that has closed its connection has nothing more to say. If it lives on, it is ended.
    fn stop_listening(&mut self, shared: &Shared, worker: WorkerId) {
        if let Some(reader) = self.readers.remove(&worker) {
            // It can only fail if it is not watched any more.
            let _unwatched = epoll::delete(&shared.poller.epoll, reader.socket.as_fd());
        }
        shared.with(|core| core.expect_exit(worker));
    }

    /// Reads once from a worker, and handles every whole frame.
    fn read(&mut self, shared: &Shared, worker: WorkerId) -> Stream {
        let Some(reader) = self.reader(shared, worker) else { return Stream::Ended };
        match reader.frames.fill(&*reader.socket) {
            Ok(0) => return Stream::Ended,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Stream::Open;
            }
            Err(_) => return Stream::Ended,
        }
        loop {
            let frame = match reader.frames.next() {
                Ok(None) => return Stream::Open,
                Ok(Some(frame)) => frame,
                Err(error) => {
                    shared.with(|core| core.violation(worker, error.to_string()));
                    return Stream::Ended;
                }
            };
            let handled = match (frame.kind, reader.starting) {
                (from_worker::READY, true) => {
                    reader.starting = false;
                    ready(shared, worker, frame.payload)
                }
                (from_worker::DONE, false) => done(shared, worker, frame.payload, &reader.hosted.limits),
                (from_worker::SUSPENDED, false) => suspended(shared, worker, frame.payload),
                (from_worker::RESUMED, false) => resumed(shared, worker, frame.payload),
                (from_worker::REQUEST, false) => requests(shared, worker, frame.payload),
                (from_worker::FATAL, _) => fatal(shared, worker, frame.payload),
                (kind, _) => Err(BadMessage(format!("a frame of kind {kind} out of turn"))),
            };
            if let Err(error) = handled {
                shared.with(|core| core.violation(worker, error.to_string()));
                return Stream::Ended;
            }
        }
    }

    /// A worker's process is gone. What it sent before is read first.
    fn process_ended(&mut self, shared: &Shared, worker: WorkerId) {
        while self.reader(shared, worker).is_some() {
            if self.read(shared, worker) == Stream::Ended || !self.has_more(worker) {
                self.stop_listening(shared, worker);
            }
        }
        shared.with(|core| {
            let Some(connection) = core.workers.get_mut(&worker) else { return };
            let Some(exit) = connection.exit() else { return };
            // It can only fail if it is not watched any more.
            let _unwatched = epoll::delete(&shared.poller.epoll, connection.process.pidfd());
            let Some(connection) = core.workers.remove(&worker) else { return };
            let message = connection.last_words.map(|words| format!("{exit}: {words}"));
            tracing::debug!(%worker, %exit, ?message, "a worker ended");
            let begun: Vec<TaskId> = core
                .dispatcher
                .tasks_of(worker)
                .filter(|&(task, claim)| connection.control.has_begun(claim, task))
                .map(|(task, _)| task)
                .collect();
            let (running, _) = connection.control.running();
            if !connection.let_go && !core.is_closed() {
                core.stats.workers_lost += 1;
            }
            let event = Event::WorkerExited { worker, exit, begun, running, message };
            core.handle(event, Instant::now(), &shared.poller);
        });
    }

    /// Whether a dead worker's socket still holds something. Another process may hold its other end open,
    /// so the end of the stream is not waited for.
    fn has_more(&self, worker: WorkerId) -> bool {
        self.readers.get(&worker).is_some_and(|reader| {
            crate::process::readable_within(reader.socket.as_fd(), Duration::ZERO).unwrap_or(false)
        })
    }
}

/// The longest honest frame: gathered records, of which one may be as large as a record can be.
fn max_frame(limits: &Limits) -> usize {
    let record = limits.result as usize + limits.log as usize;
    record.max(limits.arguments as usize).max(MAX_EMITTED as usize) + RECORD_OVERHEAD
}

fn ready(shared: &Shared, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
    let ready: Ready = decode(payload)?;
    if (ready.protocol, ready.build.as_str()) != (PROTOCOL_VERSION, BUILD) {
        let words = format!(
            "it is build {} with protocol {}, this is {BUILD} with {PROTOCOL_VERSION}",
            ready.build, ready.protocol
        );
        shared.with(|core| {
            if let Some(connection) = core.workers.get_mut(&worker) {
                connection.due = None;
                connection.last_words = Some(words);
                connection.process.kill();
            }
        });
        return Ok(());
    }
    tracing::debug!(%worker, sandbox = ?ready.sandbox, "a worker is ready");
    shared.with(|core| {
        if let Some(connection) = core.workers.get_mut(&worker) {
            connection.due = None;
        }
        core.handle(Event::WorkerReady(worker), Instant::now(), &shared.poller);
    });
    Ok(())
}

fn suspended(shared: &Shared, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
    let task = decode(payload)?;
    shared.tell(Event::Suspended { worker, task });
    Ok(())
}

fn resumed(shared: &Shared, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
    let task = decode(payload)?;
    shared.tell(Event::Resumed { worker, task });
    Ok(())
}

fn fatal(shared: &Shared, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
    let Fatal { message } = decode(payload)?;
    tracing::error!(%worker, message, "a worker gave up");
    shared.with(|core| {
        if let Some(connection) = core.workers.get_mut(&worker) {
            connection.last_words = Some(message);
        }
    });
    Ok(())
}

/// Handles all records of a frame under one lock.
fn done(shared: &Shared, worker: WorkerId, payload: &[u8], limits: &Limits) -> Result<(), BadMessage> {
    let mut rest = payload;
    let (mut tasks, mut outcomes, mut carry) = (Vec::new(), Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (record, after) =
            postcard::take_from_bytes::<Done<'_>>(rest).map_err(|error| BadMessage(error.to_string()))?;
        rest = after;
        if let Outcome::Value(_, handles @ [_, ..]) = record.outcome {
            carry.push((outcomes.len(), handles));
        }
        tasks.push((record.id, Duration::from_nanos(record.run_ns)));
        outcomes.push(Some(completed(record, limits)));
    }
    shared.with(|core| {
        for (place, handles) in carry {
            let (task, _) = tasks[place];
            let carried = core.carried(worker, task, handles)?;
            if let Some(completed) = &mut outcomes[place] {
                completed.carried = Some(carried);
            }
        }
        core.done(worker, tasks, outcomes, &shared.poller);
        Ok(())
    })
}

fn completed(record: Done<'_>, limits: &Limits) -> Completed {
    let kept = record.log.len().min(limits.log as usize);
    let log = TaskLog {
        bytes: record.log[..kept].to_vec(),
        dropped: record.log_dropped.saturating_add((record.log.len() - kept) as u64),
    };
    let figures = Figures {
        run: Duration::from_nanos(record.run_ns),
        peak_memory: record.peak_memory,
        fuel: record.fuel,
        ..Figures::default()
    };
    Completed { result: task_result(record.outcome, limits), figures, log, carried: None }
}
