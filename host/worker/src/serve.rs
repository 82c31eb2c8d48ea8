//! The life of a worker: read tasks, run each in an instance of its own, send what became of them.
//!
//! Many tasks can have begun, one runs. A task that waits is suspended on its fibre, and another runs
//! meanwhile; whenever there is nothing to run, what has been gathered is sent before the worker waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::engine::Ticker;
use super::handles::{Handle, Handles, Memories};
use super::instance::{Figures, Fresh, Guest};
use super::state::{Duty, InstanceShare, Pause, TaskState};
use crate::parent::WithDescriptors;
use wpool_wire::SPIN_TIME;
use wpool_wire::codec::{Frame, FrameError, FrameReader};
use wpool_wire::control::MAX_STARTED;
use wpool_wire::ids::TaskId;
use wpool_wire::limits::Isolation;
use wpool_wire::message::{
    Answer, BadMessage, CallHeader, Credit, Described, Done, Granted, Initialized, Outcome, decode, encode,
    from_worker, to_worker,
};

/// Why a worker stops serving.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("the connection to the parent failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("a frame of the unknown kind {0}")]
    UnknownFrame(u8),
}

/// A task that has begun and waits.
struct Suspended<'a> {
    id: TaskId,
    future: Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>,
    pause: Pause,
    /// Whether the worker has told the parent that it waits.
    told: bool,
}

impl Suspended<'_> {
    fn is_due(&self, now: Instant) -> bool {
        match self.pause {
            Pause::Turn => true,
            Pause::Time(at) => at <= now,
            Pause::News | Pause::Answer => false,
        }
    }
}

/// A call frame whose tasks are run one by one.
struct Batch {
    header: CallHeader,
    arguments: Rc<[u8]>,
    /// How many tasks have been taken, and where the next one's arguments start.
    taken: u32,
    at: usize,
}

/// One task of a batch. Its arguments stay in the batch's frame.
struct Call {
    duty: Duty,
    task: u32,
    arguments: Rc<[u8]>,
    range: std::ops::Range<usize>,
    granted: Vec<Granted>,
}

pub(super) struct Worker<'a> {
    pub(super) guest: &'a Guest,
    pub(super) share: InstanceShare,
    pub(super) isolation: Isolation,
    pub(super) ticker: Ticker,
    /// How many tasks the hello named.
    pub(super) tasks: u32,
    /// An instance that the next task may use: one that nobody has used, or with less isolation one that served
    /// the task before.
    pub(super) spare: RefCell<Option<Spare>>,
    /// The file for a snapshot, in a worker that runs the initializer.
    pub(super) snapshot: Option<File>,
}

/// An instance that waits for a task.
pub(super) struct Spare {
    instance: Fresh,
    used: bool,
}

impl<'a> Worker<'a> {
    /// Serves until the parent closes the connection. `reader` may hold frames that came with the first.
    pub(super) fn serve(&'a self, socket: &'a UnixStream, reader: FrameReader) -> Result<(), ServeError> {
        let mut session = Session {
            worker: self,
            source: WithDescriptors::new(socket),
            reader,
            memories: Memories::default(),
            queue: VecDeque::new(),
            suspended: Vec::new(),
        };
        session.read_frames()?;
        loop {
            session.resume_due()?;
            if !session.suspended.is_empty() && session.has_work() {
                session.read_arrived()?;
            }
            if session.suspended.iter().any(|task| task.pause == Pause::Turn) {
                // It had begun before those that have not.
                continue;
            }
            if let Some(call) = session.next_call()? {
                session.start(call)?;
                continue;
            }
            self.ticker.idle();
            self.share.output.flush()?;
            session.make_spare();
            if !session.wait()? {
                return Ok(());
            }
            self.ticker.busy();
        }
    }

    fn new_state(&self) -> TaskState {
        TaskState::new(&self.share)
    }

    /// An instance for a task that begins now.
    async fn instance_for(&self, duty: Duty, handles: Handles) -> Fresh {
        let spare = self.spare.take();
        let (mut instance, used) = match spare {
            Some(Spare { instance, used }) => (instance, used),
            None => (self.guest.instantiate(self.new_state()).await, false),
        };
        instance.begin(duty, handles, self.share.limits.fuel.filter(|_| used));
        instance
    }

    async fn run(&self, call: Call, handles: Vec<Handle>, last: bool) -> io::Result<()> {
        let Call { duty, task, arguments, range, .. } = call;
        let report = |outcome: Outcome<'_>, figures: Figures<'_>| {
            self.share.output.done(&record(duty.id, outcome, &figures))?;
            // With nothing to run behind it, the result need not wait until the instance is cleared away.
            if last { self.share.output.flush() } else { Ok(()) }
        };
        let count = u32::try_from(handles.len()).map_err(io::Error::other)?;
        let instance = self.instance_for(duty, Handles::new(handles)).await;
        let (reported, kept) = self.guest.run(instance, task, Some((&arguments[range], count)), report).await;
        if self.isolation != Isolation::Task {
            self.spare.replace(kept.map(|instance| Spare { instance, used: true }));
        }
        reported
    }

    /// Runs the initializer, which the hello has named as the only task, and leaves a snapshot in the file.
    fn initialize(&self, arguments: &[u8]) -> Result<(), ServeError> {
        let report = |outcome: Outcome<'_>, _: Figures<'_>| match outcome {
            Outcome::Value(..) => None,
            failed => {
                let mut bytes = Vec::new();
                encode(&Initialized { result: Err(failed) }, &mut bytes);
                Some(bytes)
            }
        };
        let initialized = async {
            let fresh = self.guest.instantiate(self.new_state()).await;
            self.guest.run(fresh, 0, Some((arguments, 0)), report).await
        };
        let output = &self.share.output;
        let (failed, used) = block_on(initialized);
        if let Some(bytes) = failed {
            return Ok(output.send(from_worker::INITIALIZED, |out| out.extend_from_slice(&bytes))?);
        }
        let snapshot = used.map(|used| self.guest.snapshot_of(used, self.new_state()));
        let written = match (snapshot, self.snapshot.as_ref()) {
            (Some(Ok(snapshot)), Some(mut file)) => Ok(file.write_all(&snapshot.to_bytes())?),
            (Some(Err(error)), _) => Err(format!("{error:#}")),
            (None, _) | (_, None) => Err("there is nothing to take a snapshot of".to_owned()),
        };
        let result = written.as_ref().copied().map_err(|message| Outcome::BadGuest(message));
        Ok(output.send(from_worker::INITIALIZED, |out| encode(&Initialized { result }, out))?)
    }

    /// Asks each task of the guest for its description, and stops at the first that fails.
    fn describe(&self) -> Result<(), ServeError> {
        let mut descriptions = Vec::new();
        for task in 0..self.tasks {
            let report = |outcome: Outcome<'_>, _: Figures<'_>| match outcome {
                Outcome::Value(bytes, _) => Ok(bytes.to_vec()),
                failed => {
                    let mut bytes = Vec::new();
                    encode(&Described { result: Err(failed) }, &mut bytes);
                    Err(bytes)
                }
            };
            let described = async {
                let fresh = self.guest.instantiate(self.new_state()).await;
                self.guest.run(fresh, task, None, report).await.0
            };
            match block_on(described) {
                Ok(bytes) => descriptions.push(bytes),
                Err(failed) => {
                    return Ok(self
                        .share
                        .output
                        .send(from_worker::DESCRIBED, |out| out.extend_from_slice(&failed))?);
                }
            }
        }
        let result = Ok(descriptions.iter().map(Vec::as_slice).collect());
        Ok(self.share.output.send(from_worker::DESCRIBED, |out| encode(&Described { result }, out))?)
    }
}

fn record<'r>(id: TaskId, outcome: Outcome<'r>, figures: &Figures<'r>) -> Done<'r> {
    Done {
        id,
        outcome,
        run_ns: figures.run_ns,
        peak_memory: figures.peak_memory,
        fuel: figures.fuel,
        log: &figures.log.bytes,
        log_dropped: figures.log.dropped,
    }
}

/// What a worker is in the midst of.
struct Session<'a> {
    worker: &'a Worker<'a>,
    source: WithDescriptors<'a>,
    reader: FrameReader,
    memories: Memories,
    queue: VecDeque<Batch>,
    suspended: Vec<Suspended<'a>>,
}

impl<'a> Session<'a> {
    /// Makes an instance ahead, unless there is one or no task could begin in it.
    fn make_spare(&mut self) {
        let worker = self.worker;
        let mut spare = worker.spare.borrow_mut();
        if spare.is_none() && self.may_begin() {
            let instance = worker.guest.spare(worker.new_state());
            *spare = instance.map(|instance| Spare { instance, used: false });
        }
    }

    /// Whether another task may begin: there is a seat for it. An instance that several tasks use serves
    /// one at a time.
    fn may_begin(&self) -> bool {
        match self.worker.isolation {
            Isolation::Task => self.suspended.len() < MAX_STARTED as usize,
            // Batch, Worker, and any level to come: the tasks share an instance.
            _ => self.suspended.is_empty(),
        }
    }

    /// There is news for a task. If it waits, it goes on at once, and sees what it is.
    fn call_back(&mut self, task: TaskId) -> bool {
        let waits = self.suspended.iter_mut().find(|suspended| suspended.id == task);
        if let Some(suspended) = waits {
            if suspended.pause != Pause::Turn {
                suspended.pause = Pause::Time(Instant::now());
            }
            return true;
        }
        false
    }

    /// Takes every whole frame that has arrived.
    fn read_frames(&mut self) -> Result<(), ServeError> {
        while let Some(Frame { kind, payload }) = self.reader.next_frame()? {
            match kind {
                to_worker::CALL => {
                    let (header, arguments) =
                        postcard::take_from_bytes(payload).map_err(|error| BadMessage(error.to_string()))?;
                    self.queue.push_back(Batch { header, arguments: arguments.into(), taken: 0, at: 0 });
                }
                to_worker::DESCRIBE => {
                    decode::<()>(payload)?;
                    self.worker.describe()?;
                }
                to_worker::INIT => {
                    let arguments = decode::<&[u8]>(payload)?;
                    self.worker.initialize(arguments)?;
                }
                to_worker::END => {
                    let task = decode(payload)?;
                    self.call_back(task);
                }
                to_worker::ANSWER => {
                    let Answer { task, bytes, granted } = decode(payload)?;
                    let (bytes, handles) = (bytes.to_vec(), self.memories.handles(&granted)?);
                    // One that does not wait has ended meanwhile.
                    if self.call_back(task) {
                        self.worker.share.desk.answer(task, bytes, handles);
                    }
                }
                to_worker::MAP => {
                    let memory = decode(payload)?;
                    self.memories.map(memory, self.source.take_descriptor())?;
                }
                to_worker::UNMAP => {
                    let memory = decode(payload)?;
                    self.memories.unmap(memory);
                }
                to_worker::CREDIT => {
                    let Credit { task, of, total } = decode(payload)?;
                    if self.call_back(task) {
                        self.worker.share.desk.credit(task, of, total);
                    }
                }
                other => return Err(ServeError::UnknownFrame(other)),
            }
        }
        Ok(())
    }

    /// The next task to begin, if another one may.
    fn next_call(&mut self) -> Result<Option<Call>, ServeError> {
        if !self.may_begin() {
            return Ok(None);
        }
        while let Some(batch) = self.queue.front_mut() {
            if batch.taken < batch.header.count {
                return Ok(Some(batch.take()?));
            }
            self.queue.pop_front();
            if self.worker.isolation == Isolation::Batch {
                self.worker.spare.replace(None);
            }
        }
        Ok(None)
    }

    /// Whether every task that has arrived has begun.
    fn has_begun_all(&self) -> bool {
        self.queue.iter().all(|batch| batch.taken == batch.header.count)
    }

    /// Begins a task, unless the parent has taken it back, and runs it until it ends or waits.
    fn start(&mut self, call: Call) -> Result<(), ServeError> {
        let (worker, id) = (self.worker, call.duty.id);
        let control = &worker.share.control;
        if !control.claim(call.duty.claim, id) {
            return Ok(());
        }
        // Of a task that was taken back the memory may be gone.
        let handles = self.memories.handles(&call.granted)?;
        control.set_running(Some(id));
        worker.share.turns.begin(!self.suspended.is_empty());
        let last = self.has_begun_all();
        let mut future = Box::pin(worker.run(call, handles, last));
        let polled = poll_once(future.as_mut());
        control.set_running(None);
        match polled {
            Poll::Ready(ended) => Ok(ended?),
            Poll::Pending => {
                let pause = worker.share.turns.pause();
                self.suspended.push(Suspended { id, future, pause, told: pause.is_told() });
                Ok(self.tell_suspended(id, pause)?)
            }
        }
    }

    /// Tells the parent of a task that waits for more than its turn, and with it what the task has asked for.
    fn tell_suspended(&self, id: TaskId, pause: Pause) -> io::Result<()> {
        let output = &self.worker.share.output;
        if pause == Pause::Turn {
            return Ok(());
        }
        if pause.is_told() {
            output.suspended(id)?;
        }
        output.flush()
    }

    /// Goes on with the tasks whose time has come.
    fn resume_due(&mut self) -> io::Result<()> {
        if self.suspended.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let others = self.suspended.len() > 1;
        let mut place = 0;
        while place < self.suspended.len() {
            let task = &mut self.suspended[place];
            if !task.is_due(now) {
                place += 1;
                continue;
            }
            let share = &self.worker.share;
            if task.told {
                share.output.resumed(task.id)?;
            }
            share.turns.begin(others);
            share.control.set_running(Some(task.id));
            let polled = poll_once(task.future.as_mut());
            share.control.set_running(None);
            match polled {
                Poll::Ready(ended) => {
                    let task = self.suspended.swap_remove(place);
                    share.desk.clear(task.id);
                    ended?;
                }
                Poll::Pending => {
                    task.pause = share.turns.pause();
                    task.told = task.pause.is_told();
                    let (id, pause) = (task.id, task.pause);
                    self.tell_suspended(id, pause)?;
                    place += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether there is something to run now.
    fn has_work(&self) -> bool {
        let turn = self.suspended.iter().any(|task| task.pause == Pause::Turn);
        turn || (self.may_begin() && !self.has_begun_all())
    }

    /// Takes the frames that have arrived, without waiting: a task that waits need not wait for all that could begin.
    fn read_arrived(&mut self) -> Result<(), ServeError> {
        while readable_before(self.source.socket(), Instant::now())? {
            if self.reader.fill(&mut self.source)? == 0 {
                // The end of the stream is found again when there is nothing left to do.
                return Ok(());
            }
            self.read_frames()?;
        }
        Ok(())
    }

    /// Waits for frames or for the first suspended task. False if the parent has closed the connection.
    fn wait(&mut self) -> Result<bool, ServeError> {
        let times = self.suspended.iter().filter_map(|task| match task.pause {
            Pause::Time(at) => Some(at),
            Pause::Turn | Pause::News | Pause::Answer => None,
        });
        let first = times.min();
        if let Some(at) = first
            && !readable_before(self.source.socket(), at)?
        {
            return Ok(true);
        }
        if first.is_none() {
            arrives_at_once(self.source.socket())?;
        }
        if self.reader.fill(&mut self.source)? == 0 {
            return Ok(false);
        }
        self.read_frames()?;
        Ok(true)
    }
}

/// Waits a moment without sleeping, for an answer that is most likely on its way: to be woken costs more than most
/// answers take. Others who want the processor have it meanwhile.
fn arrives_at_once(socket: &UnixStream) -> io::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < SPIN_TIME {
        if readable_before(socket, began)? {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

impl Batch {
    fn take(&mut self) -> Result<Call, BadMessage> {
        let bad = |error: postcard::Error| BadMessage(error.to_string());
        let mut rest = &self.arguments[self.at..];
        let mut granted = Vec::new();
        if self.header.handles {
            (granted, rest) = postcard::take_from_bytes::<Vec<Granted>>(rest).map_err(bad)?;
        }
        let (arguments, after) = postcard::take_from_bytes::<&[u8]>(rest).map_err(bad)?;
        let end = self.arguments.len() - after.len();
        let range = end - arguments.len()..end;
        let call = Call {
            duty: Duty {
                id: self.header.first.plus(u64::from(self.taken)),
                claim: self.header.claim.wrapping_add(self.taken),
                timeout: self.header.run_timeout,
                emits: self.header.emits,
            },
            task: self.header.function,
            arguments: Rc::clone(&self.arguments),
            range,
            granted,
        };
        self.taken += 1;
        self.at = end;
        Ok(call)
    }
}

fn readable_before(socket: &UnixStream, at: Instant) -> io::Result<bool> {
    let wait = at.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a future that waits for nothing but points in time, with nothing else to do meanwhile.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        match poll_once(future.as_mut()) {
            Poll::Ready(output) => return output,
            // Only a sleep can be pending, and a description that sleeps may well be slow.
            Poll::Pending => std::thread::sleep(super::engine::TICK),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wpool_abi::object::{Kind, Rights};

    use super::*;
    use crate::engine::{code_config, serving_engine};
    use crate::output::Output;
    use crate::state::Budget;
    use wpool_wire::codec::FrameWriter;
    use wpool_wire::control::ControlPage;
    use wpool_wire::ids::MemoryId;
    use wpool_wire::limits::Limits;

    /// Counts its visits in a global and in memory, and returns the sum as its value of one byte.
    const VISITS: &str = r#"(module
        (memory (export "memory") 1)
        (global $visits (mut i32) (i32.const 0))
        (data (i32.const 0) "\00\00\00\00\20\00\00\00\01\00\00\00")
        (func (export "wpool_alloc") (param i32) (result i32) (i32.const 64))
        (func (export "wpool_task:visit") (param i32 i32 i32) (result i32)
            (global.set $visits (i32.add (global.get $visits) (i32.const 1)))
            (i32.store8 (i32.const 33) (i32.add (i32.load8_u (i32.const 33)) (i32.const 1)))
            (i32.store8 (i32.const 32) (i32.add (global.get $visits) (i32.load8_u (i32.const 33))))
            (i32.const 0)))"#;

    /// A worker's loop on a thread, and the parent's end of its connection.
    struct Served {
        socket: UnixStream,
        control: ControlPage,
        reader: FrameReader,
        thread: std::thread::JoinHandle<Result<(), ServeError>>,
    }

    impl Served {
        fn start(isolation: Isolation) -> Self {
            let (socket, theirs) = UnixStream::pair().unwrap();
            let (control, control_file) = ControlPage::create().unwrap();
            let thread = std::thread::spawn(move || {
                let compiler = wasmtime::Engine::new(&code_config(false)).unwrap();
                let module = wat::parse_str(VISITS).unwrap();
                let code = wasmtime::Module::new(&compiler, module).unwrap().serialize().unwrap();
                let limits = Limits::default();
                let engine = serving_engine(&limits).unwrap();
                // SAFETY: the image was made a line above, by this build.
                let module = unsafe { wasmtime::Module::deserialize(&engine, code).unwrap() };
                let guest = Guest::new(&module, &["wpool_task:visit".to_owned()], None).unwrap();
                let share = InstanceShare {
                    limits,
                    output: Arc::new(Output::new(theirs.try_clone().unwrap())),
                    control: Arc::new(ControlPage::open(&control_file.into()).unwrap()),
                    turns: Arc::default(),
                    budget: Arc::new(Budget::new(1 << 30)),
                    desk: Arc::default(),
                };
                let ticker = Ticker::start(&engine).unwrap();
                let spare = RefCell::default();
                let worker =
                    Worker { guest: &guest, share, isolation, ticker, tasks: 1, spare, snapshot: None };
                worker.serve(&theirs, FrameReader::new(1 << 20))
            });
            Self { socket, control, reader: FrameReader::new(1 << 20), thread }
        }

        /// Offers and sends so many tasks, of which the parent takes some back before the worker sees them.
        fn call(&self, first: u64, count: u32, recalled: &[u64]) {
            self.call_with(first, count, recalled, &[]);
        }

        /// The same, each with these handles.
        fn call_with(&self, first: u64, count: u32, recalled: &[u64], granted: &[Granted]) {
            for n in 0..count {
                let id = TaskId(first).plus(n.into());
                self.control.offer(n, id);
                assert!(!recalled.contains(&id.0) || self.control.recall(n, id));
            }
            let mut writer = FrameWriter::default();
            let header = CallHeader {
                first: TaskId(first),
                count,
                claim: 0,
                function: 0,
                run_timeout: None,
                emits: None,
                handles: !granted.is_empty(),
            };
            writer.frame(to_worker::CALL, |out| {
                encode(&header, out);
                for _ in 0..count {
                    if header.handles {
                        encode(&granted, out);
                    }
                    encode(&&b"arguments"[..], out);
                }
            });
            (&self.socket).write_all(writer.bytes()).unwrap();
        }

        /// The next records, until there are so many: who ended, and with which byte.
        fn done(&mut self, count: usize) -> Vec<(u64, u8)> {
            let mut ended = Vec::new();
            while ended.len() < count {
                while let Some(frame) = self.reader.next_frame().unwrap() {
                    assert_eq!(frame.kind, from_worker::DONE);
                    let mut rest = frame.payload;
                    while !rest.is_empty() {
                        let (done, after) = postcard::take_from_bytes::<Done<'_>>(rest).unwrap();
                        let Outcome::Value(&[byte], _) = done.outcome else { panic!("{done:?}") };
                        ended.push((done.id.0, byte));
                        rest = after;
                    }
                }
                if ended.len() < count {
                    assert!(self.reader.fill(&self.socket).unwrap() > 0, "the worker has ended");
                }
            }
            ended
        }

        /// Closes the connection, and tells how the loop ended.
        fn end(self) -> Result<(), ServeError> {
            drop(self.socket);
            self.thread.join().unwrap()
        }
    }

    #[test]
    fn every_task_runs_once_in_an_instance_of_its_own_and_in_order() {
        let mut worker = Served::start(Isolation::Task);
        worker.call(10, 3, &[]);
        assert_eq!(worker.done(3), [(10, 2), (11, 2), (12, 2)]);
        // The first of these runs in an instance that was made while there was nothing to do.
        worker.call(20, 2, &[]);
        assert_eq!(worker.done(2), [(20, 2), (21, 2)]);
        assert!(worker.end().is_ok());
    }

    #[test]
    fn a_batch_or_a_worker_keeps_its_instance_if_it_is_asked_to() {
        for (isolation, later) in [(Isolation::Batch, 2), (Isolation::Worker, 6)] {
            let mut worker = Served::start(isolation);
            worker.call(10, 2, &[]);
            assert_eq!(worker.done(2), [(10, 2), (11, 4)]);
            worker.call(20, 2, &[]);
            assert_eq!(worker.done(2), [(20, later), (21, later + 2)], "{isolation:?}");
            assert!(worker.end().is_ok());
        }
    }

    #[test]
    fn a_task_that_was_taken_back_does_not_run() {
        let mut worker = Served::start(Isolation::Task);
        worker.call(0, 4, &[0, 2]);
        assert_eq!(worker.done(2), [(1, 2), (3, 2)]);
        assert!(worker.end().is_ok());
    }

    #[test]
    fn memory_that_is_gone_matters_only_to_a_task_that_runs() {
        let granted = Granted { kind: Kind::SharedArray, rights: Rights::READ, memory: Some(MemoryId(7)) };
        let mut worker = Served::start(Isolation::Task);
        worker.call_with(0, 1, &[0], &[granted]);
        worker.call(1, 1, &[]);
        assert_eq!(worker.done(1), [(1, 2)], "the parent unmaps what a task had that it has taken back");
        worker.call_with(2, 1, &[], &[granted]);
        let ended = worker.thread.join().unwrap();
        assert!(
            matches!(&ended, Err(ServeError::Message(error)) if error.0.contains("never came")),
            "{ended:?}"
        );
    }

    #[test]
    fn frames_that_make_no_sense_end_the_worker_with_words() {
        let bad_frame = |kind: u8, payload: &'static [u8]| {
            let worker = Served::start(Isolation::Task);
            let mut writer = FrameWriter::default();
            writer.frame(kind, |out| out.extend_from_slice(payload));
            (&worker.socket).write_all(writer.bytes()).unwrap();
            worker.end().unwrap_err().to_string()
        };
        assert_eq!(bad_frame(77, b""), "a frame of the unknown kind 77");
        assert!(bad_frame(to_worker::CALL, b"\x01").starts_with("a bad message"));
        // A header that promises a task whose arguments are not there.
        assert!(bad_frame(to_worker::CALL, b"\x01\x01\x00\x00\x05ab").starts_with("a bad message"));
    }
}
