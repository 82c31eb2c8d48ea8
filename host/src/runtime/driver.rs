//! The pool's own thread: it starts workers, keeps the time, and reads from the workers unless another thread does.
//!
//! A child's parent-death signal follows the thread that started it, so this thread lives as long as any worker.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wpool_wire::codec::FrameWriter;
use wpool_wire::control::ControlPage;
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{Hello, encode, to_worker};
use wpool_wire::role;

use super::Runtime;
use super::link::{Conversation, Link};
use super::messages::News;
use super::pool_guest::PoolGuest;
use crate::dispatch::Event;
use crate::error::SpawnError;
use crate::ids::WorkerId;
use crate::process::{ChildProcess, send_with_descriptors};

/// The maximum size in bytes of the parts of a record beside its result and its log: an error and a backtrace.
const RECORD_OVERHEAD: usize = 1 << 20;
/// The time within which a worker must answer the hello; after it the worker is killed.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until the pool is closed and everything has ended. A panic would be a bug; it fails all tasks, so that none
/// waits without end.
pub(crate) fn run(runtime: &Runtime) {
    let driven = std::panic::catch_unwind(AssertUnwindSafe(|| drive(runtime)));
    if driven.is_err() {
        tracing::error!("the driver panicked; the pool is given up");
        runtime.with(super::State::abort);
    }
    runtime.finish();
}

fn drive(runtime: &Runtime) {
    runtime.reactor.set_driver();
    let mut leaders = 0;
    loop {
        spawn_wanted(runtime);
        let Next::At(deadline) = prepare(runtime) else { return };
        let idle = || runtime.open_jobs() == 0;
        runtime.reactor.poll_as_driver(&mut leaders, deadline, idle, &mut News(runtime));
        if deadline.is_some_and(|at| at <= Instant::now()) {
            runtime.with(|state| {
                let now = Instant::now();
                state.handle(Event::Tick, now);
                state.resume_postponed(now);
            });
        }
    }
}

/// Reads from the workers on this thread until `done` says so or the deadline has passed, if this thread waits for
/// the only job. Returns at once if there are others: their threads need the driver.
pub(crate) fn lead(runtime: &Runtime, done: impl Fn() -> bool, deadline: Option<Instant>) {
    if runtime.open_jobs() != 1 {
        return;
    }
    runtime.reactor.lead(done, deadline, &mut News(runtime));
    if runtime.open_jobs() > 0 {
        runtime.reactor.call_driver();
    }
}

/// When the driver has something to do next.
enum Next {
    /// At this time, or when something happens; `None` is no deadline.
    At(Option<Instant>),
    /// Never: everything has ended.
    End,
}

/// Ends workers that are overdue, and finds out when something is due next.
fn prepare(runtime: &Runtime) -> Next {
    runtime.with(|state| {
        state.links.kill_overdue(Instant::now());
        let links = state.links.next_overdue();
        let heavy = state.heavy.next_due();
        let deadline = state.dispatcher.next_deadline().into_iter().chain(links).chain(heavy).min();
        state.driver_wakes_at = deadline;
        if state.dispatcher.is_finished() { Next::End } else { Next::At(deadline) }
    })
}

/// Starts the workers that the dispatcher wants. A failed start can lead to further starts, which this call makes too.
fn spawn_wanted(runtime: &Runtime) {
    while let Ok((worker, guest)) = runtime.to_spawn.try_recv() {
        let guest = runtime.with(|state| {
            let guest = state.guests.get(&guest).cloned();
            guest.filter(|_| !state.links.take_cancelled(worker))
        });
        let spawned = match guest {
            Some(guest) => spawn(runtime, worker, &guest).map_err(|error| error.to_string()),
            None => Err("it is not wanted any more".to_owned()),
        };
        if let Err(message) = spawned {
            runtime.tell(Event::SpawnFailed { worker, message });
        }
    }
}

/// Starts a worker's process, sends it the hello, and reads from it from now on.
fn spawn(runtime: &Runtime, worker: WorkerId, guest: &PoolGuest) -> Result<(), SpawnError> {
    let system = |what: &'static str| move |error: io::Error| SpawnError::system(what, error);
    let (control, control_file) =
        ControlPage::create().map_err(|error| system("a control page")(error.into()))?;
    let (process, socket) = ChildProcess::spawn(guest.guest.executable(), role::WORKER)?;
    let hello = Hello {
        isolation: guest.isolation,
        from_snapshot: guest.start.snapshot.is_some(),
        worker: worker.to_string(),
        ..Hello::new(guest.limits, guest.guest.task_exports(), guest.start.has_start)
    };
    let mut writer = FrameWriter::default();
    writer.frame(to_worker::HELLO, |out| encode(&hello, out));
    let mut descriptors = vec![control_file.as_fd(), guest.start.image.as_fd()];
    descriptors.extend(guest.start.snapshot.as_ref().map(|snapshot| snapshot.as_fd()));
    socket.set_nonblocking(true).map_err(system("a connection"))?;
    match send_with_descriptors(&socket, writer.bytes(), &descriptors) {
        // It has exited already, and its exit says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent.map_err(system("a connection"))?,
    }
    let socket = Arc::new(socket);
    let conversation =
        Conversation { limits: guest.limits, is_ready: false, is_fatal: false, logged: HashMap::new() };
    let link = Link::new(Box::new(process), Arc::clone(&socket), control, Instant::now() + START_TIMEOUT);
    // In one turn: the news of a worker find its link, and its exit is news only after its frames can be read.
    runtime.with(|state| {
        state.stats.workers_started += 1;
        state.first_pid.get_or_insert_with(|| link.pid());
        state.links.insert(worker, link);
        let registered = runtime.reactor.register(worker, socket, max_frame(&guest.limits), conversation);
        let pidfd = state.links.get(worker).and_then(Link::pidfd);
        let watched = registered
            .and_then(|()| pidfd.map_or(Ok(()), |pidfd| runtime.reactor.watch_process(worker, pidfd)));
        watched.map_err(|error| {
            drop(state.links.remove(worker));
            system("a watch over a worker")(error.into())
        })
    })
}

/// The longest frame of an honest worker: gathered records, of which one may be as large as a record can be.
fn max_frame(limits: &Limits) -> usize {
    let record = limits.result as usize + limits.log as usize;
    record.max(limits.arguments as usize).max(MAX_EMITTED as usize) + RECORD_OVERHEAD
}
