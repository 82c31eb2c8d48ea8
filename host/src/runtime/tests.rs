//! A pool's inside without a process: the other end of a worker's socket pair is the test.

mod hostile;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, Kind, ObjectError, Reply, Rights, Wait};
use wpool_wire::codec::{Frame, FrameReader};
use wpool_wire::limits::Limits;
use wpool_wire::message::{
    Answer, Ask, BadMessage, CallHeader, Done, Fatal, Flow, LogPart, Outcome, Ready, Request, SandboxReport,
    decode, encode, from_worker, to_worker,
};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

use super::cell::future::FutureCell;
use super::jobs::{Arguments, Job};
use super::link::Conversation;
use super::link::tests::{Peer, link};
use super::messages::News;
use super::reactor::WorkerNews as _;
use super::*;
use crate::dispatch::{Range, RetryHistory, TaskPolicy};
use crate::error::{Clock, TaskError, WorkerExit};
use crate::manager::{Grant, ObjectInit};
use crate::server::HostCalled;

const GUEST: GuestKey = GuestKey(0);
const WORKER: WorkerId = WorkerId { slot: 0, generation: 1 };

/// A runtime with one worker, and the worker's side of the conversation.
struct Bench {
    runtime: Arc<Runtime>,
    conversation: Conversation,
    peer: Peer,
    reader: FrameReader,
    next: u64,
}

impl Bench {
    /// A worker that was sent the hello.
    fn started() -> Self {
        let settings =
            Settings { min: 1, max: 1, idle: None, max_tasks: None, max_age: None, max_memory: None };
        let runtime = Runtime::new(settings, 100, 1 << 20).unwrap();
        let (link, peer) = link();
        runtime.with(|state| {
            state.handle(Event::Load { guest: GUEST, weight: 1, depth: 0 }, Instant::now());
            state.links.insert(WORKER, link);
        });
        assert_eq!(runtime.to_spawn.try_recv(), Ok((WORKER, GUEST)), "the driver is to start it");
        peer.socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let conversation = Conversation {
            limits: Limits::default(),
            is_ready: false,
            is_fatal: false,
            logged: HashMap::new(),
        };
        Self { runtime, conversation, peer, reader: FrameReader::new(1 << 20), next: 0 }
    }

    fn ready() -> Self {
        let mut bench = Self::started();
        bench.says(from_worker::READY, &this_build()).unwrap();
        bench
    }

    /// The worker sends a frame.
    fn says<T: serde::Serialize>(&mut self, kind: u8, message: &T) -> Result<(), BadMessage> {
        let mut payload = Vec::new();
        encode(message, &mut payload);
        let frame = Frame { kind, payload: &payload };
        News(&self.runtime).frame(WORKER, &mut self.conversation, &frame)
    }

    /// The next frame that the worker is sent.
    fn hears(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return (frame.kind, frame.payload.to_vec());
            }
            assert!(self.reader.fill(&self.peer.socket).unwrap() > 0, "the parent has closed the connection");
        }
    }

    fn submit(&mut self, arguments: &[u8], grants: Vec<Grant>) -> (TaskId, Arc<FutureCell>) {
        let (future, first) = (Arc::new(FutureCell::default()), TaskId(self.next));
        self.next += 1;
        let arguments = Arguments { bytes: arguments.to_vec(), grants };
        let job = Job::Single { arguments, future: Arc::clone(&future), submitted: Instant::now() };
        let policy =
            TaskPolicy { run_timeout: Some(Duration::from_secs(7)), max_retries: 2, ..TaskPolicy::default() };
        self.runtime.with(|state| {
            state.servers.attach(job.grants(0).unwrap_or_default(), &mut state.effects);
            let job = state.jobs.add(job);
            let range = Range {
                first,
                count: 1,
                job,
                index: 0,
                guest: GUEST,
                function: 3,
                policy,
                history: RetryHistory::default(),
            };
            state.handle(Event::Submitted(range), Instant::now());
        });
        (first, future)
    }

    /// A task that the worker has started.
    fn starts(&mut self, grants: Vec<Grant>) -> (TaskId, Arc<FutureCell>) {
        let (task, future) = self.submit(b"argument", grants);
        let (kind, payload) = self.hears();
        assert_eq!(kind, to_worker::CALL);
        let (header, _) = postcard::take_from_bytes::<CallHeader>(&payload).unwrap();
        assert!(self.peer.control.claim(header.claim, task));
        (task, future)
    }

    fn ends(&mut self, task: TaskId, outcome: Outcome<'_>) -> Result<(), BadMessage> {
        self.says(from_worker::DONE, &record(task, outcome))
    }

    fn asks(&mut self, task: TaskId, ask: Ask<'_>) -> Result<(), BadMessage> {
        self.says(from_worker::REQUEST, &Request { task, ask })
    }

    /// The answer to a call that waits.
    fn answer(&mut self) -> Result<Reply, ObjectError> {
        let (kind, payload) = self.hears();
        assert_eq!(kind, to_worker::ANSWER);
        decode(decode::<Answer<'_>>(&payload).unwrap().bytes).unwrap()
    }

    fn queue(&self) -> Grant {
        let queue = ObjectInit::Queue { capacity: None, requeue: false };
        self.runtime.objects().make(queue)
    }

    /// Nothing can be read from the parent.
    fn peer_is_silent(&self) -> bool {
        use std::os::fd::AsFd as _;
        !crate::process::readable_within(self.peer.socket.as_fd(), Duration::ZERO).unwrap()
    }

    fn exit(&self) -> Option<WorkerExit> {
        self.runtime.with(|state| state.links.get_mut(WORKER).and_then(|link| link.exit()))
    }
}

#[test]
fn a_log_is_read_while_its_task_runs_and_has_no_gap() {
    let mut bench = Bench::ready();
    let (task, future) = bench.starts(Vec::new());
    let part = |offset, bytes| LogPart { task, offset, bytes };
    bench.says(from_worker::LOG, &part(0, b"one ")).unwrap();
    bench.says(from_worker::LOG, &part(4, b"two")).unwrap();
    assert_eq!(future.log().unwrap().text(), "one two");
    for bad in [part(0, b"again"), part(8, b"a gap"), part(7, b"")] {
        let sent = bench.conversation.logged.clone();
        assert!(bench.says(from_worker::LOG, &bad).is_err(), "{bad:?}");
        bench.conversation.logged = sent;
    }
    let other = LogPart { task: task.plus(1), ..part(0, b"x") };
    assert!(bench.says(from_worker::LOG, &other).is_err(), "it has no such task");
    bench.conversation.limits.log = 8;
    assert!(bench.says(from_worker::LOG, &part(7, b"too much")).is_err());
    assert_eq!(future.log().unwrap().text(), "one two");
    bench.ends(task, Outcome::Value(b"", b"")).unwrap();
    assert!(bench.conversation.logged.keys().all(|known| *known != task), "it is forgotten");
}

fn this_build() -> Ready {
    Ready { protocol: PROTOCOL_VERSION, build: BUILD.to_owned(), sandbox: SandboxReport::default() }
}

fn record<'a>(id: TaskId, outcome: Outcome<'a>) -> Done<'a> {
    Done { id, outcome, run_ns: 5_000, peak_memory: 1 << 16, fuel: 0, log: b"", log_dropped: 0 }
}

fn encoded<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}

fn result(future: &FutureCell) -> Option<Result<Vec<u8>, TaskError>> {
    future.look(|completed| completed.result.clone())
}

#[test]
fn a_task_goes_to_its_worker_and_its_result_to_its_future() {
    let mut bench = Bench::ready();
    let (task, future) = bench.submit(b"seven", Vec::new());
    let (kind, payload) = bench.hears();
    let (header, rest) = postcard::take_from_bytes::<CallHeader>(&payload).unwrap();
    assert_eq!((kind, header.first, header.count, header.function), (to_worker::CALL, task, 1, 3));
    assert_eq!(header.run_timeout, Some(Duration::from_secs(7)));
    assert_eq!(postcard::from_bytes::<&[u8]>(rest).unwrap(), b"seven");
    assert!(!bench.runtime.is_running(task));
    assert!(bench.peer.control.claim(header.claim, task) && bench.runtime.is_running(task));
    bench.ends(task, Outcome::Value(b"result", b"")).unwrap();
    assert_eq!(result(&future), Some(Ok(b"result".to_vec())));
    let figures = future.look(|completed| completed.figures).unwrap();
    assert_eq!((figures.run, figures.attempts), (Duration::from_nanos(5_000), 1));
    assert_eq!((figures.worker, figures.peak_memory), (Some(WORKER), 1 << 16));
}

#[test]
fn a_timeout_is_reported_with_the_limit_of_the_task() {
    let mut bench = Bench::ready();
    let (task, future) = bench.starts(Vec::new());
    bench.ends(task, Outcome::Timeout).unwrap();
    let limit = Duration::from_secs(7);
    assert_eq!(result(&future), Some(Err(TaskError::Timeout { clock: Clock::Run, limit })));
}

#[test]
fn a_task_that_is_killed_is_told_to_end_and_says_why() {
    let mut bench = Bench::ready();
    let (task, future) = bench.starts(Vec::new());
    bench.runtime.tell(Event::Kill(task));
    assert_eq!(bench.hears().0, to_worker::END);
    bench.ends(task, Outcome::Killed).unwrap();
    assert_eq!(result(&future), Some(Err(TaskError::Killed)));
}

#[test]
fn a_log_is_cut_to_the_limit_whatever_the_worker_has_cut() {
    let mut bench = Bench::ready();
    bench.conversation.limits.log = 4;
    let (task, future) = bench.starts(Vec::new());
    let done = Done { log: b"too long", log_dropped: 1, ..record(task, Outcome::Value(b"", b"")) };
    bench.says(from_worker::DONE, &done).unwrap();
    let log = future.look(|completed| completed.log.clone()).unwrap();
    assert_eq!((log.text().as_str(), log.dropped()), ("too ", 5));
}

#[test]
fn a_worker_of_another_build_is_ended_with_the_reason() {
    let mut bench = Bench::started();
    bench.says(from_worker::READY, &Ready { build: "other".to_owned(), ..this_build() }).unwrap();
    let reason =
        bench.runtime.with(|state| state.links.get(WORKER).unwrap().exit_reason().map(str::to_owned));
    assert!(reason.unwrap().starts_with("it is build other with protocol"));
    assert!(bench.exit().is_some());
}

#[test]
fn frames_out_of_turn_are_refused() {
    let mut bench = Bench::started();
    let early = bench.ends(TaskId(0), Outcome::Timeout);
    assert_eq!(early, Err(BadMessage("a frame of kind 2 out of turn".to_owned())));
    bench.says(from_worker::READY, &this_build()).unwrap();
    assert!(bench.says(from_worker::READY, &this_build()).is_err(), "once is enough");
    assert!(bench.says(77, &()).is_err());
    assert!(bench.says(from_worker::SUSPENDED, &"no task").is_err());
}

#[test]
fn a_record_of_a_task_that_the_worker_does_not_have_ends_the_worker() {
    let mut bench = Bench::ready();
    bench.ends(TaskId(99), Outcome::Value(b"", b"")).unwrap();
    assert!(matches!(bench.exit(), Some(WorkerExit::Violation(_))));
}

#[test]
fn a_request_counts_only_for_a_task_that_has_started() {
    let mut bench = Bench::ready();
    let (task, _) = bench.submit(b"", Vec::new());
    for task in [task, TaskId(99)] {
        let refused = bench.asks(task, Ask::Flush).unwrap_err();
        assert!(refused.0.ends_with("which it does not run"), "{}", refused.0);
    }
}

#[test]
fn what_a_task_was_not_granted_it_may_not_do() {
    let mut bench = Bench::ready();
    let (task, _) = bench.starts(Vec::new());
    let submit = Ask::Submit { index: 0, name: "any", takes: 0, returns: 0, arguments: b"", handles: b"" };
    for ask in [Ask::Emit { fingerprint: 1, value: b"" }, submit] {
        assert!(bench.asks(task, ask).is_err(), "{ask:?}");
    }
    let mut bench = Bench::ready();
    let (other, _) = bench.starts(Vec::new());
    let handles = 0u32.to_le_bytes();
    assert!(bench.ends(other, Outcome::Value(b"", &handles)).is_err(), "a handle that it does not have");
}

#[test]
fn a_task_calls_the_objects_that_it_has_handles_on() {
    let mut bench = Bench::ready();
    let queue = bench.queue();
    let (task, _) = bench.starts(vec![queue.clone()]);
    let put = encoded(&Call::<Item>::Put(vec![Item { bytes: b"item".to_vec(), handles: Vec::new() }]));
    bench.asks(task, Ask::Post { handle: 0, call: &put }).unwrap();
    let get = encoded(&Call::<Item>::Get(1));
    bench.asks(task, Ask::Call { handle: 0, wait: Wait::Forever, call: &get }).unwrap();
    let Ok(Reply::Items(items, _)) = bench.answer() else { panic!("there is one") };
    assert_eq!(items[0].bytes, b"item");
    bench.asks(task, Ask::Call { handle: 1, wait: Wait::Forever, call: &get }).unwrap();
    assert_eq!(bench.answer(), Err(ObjectError::BadHandle), "it has one handle");
}

#[test]
fn a_call_that_waits_is_answered_when_another_owner_makes_it_possible() {
    let mut bench = Bench::ready();
    let queue = bench.queue();
    let (task, _) = bench.starts(vec![queue.clone()]);
    let get = encoded(&Call::<Item>::Get(1));
    bench.asks(task, Ask::Call { handle: 0, wait: Wait::Forever, call: &get }).unwrap();
    assert!(bench.asks(task, Ask::Flush).is_err(), "it waits for an answer");
    let put = Call::Put(vec![Item { bytes: b"late".to_vec(), handles: Vec::new() }]);
    let owner = crate::manager::Owner::Host(1);
    let called = bench.runtime.objects().host_call(owner, &queue, put, Wait::NonBlocking, false);
    assert!(matches!(called, HostCalled::Answered(Ok(Reply::Done))));
    let Ok(Reply::Items(items, _)) = bench.answer() else { panic!("it has come") };
    assert_eq!(items[0].bytes, b"late");
}

#[test]
fn a_task_that_ends_waits_for_nothing_and_holds_nothing() {
    let mut bench = Bench::ready();
    let lock = bench.runtime.objects().make(ObjectInit::Lock { reentrant: false });
    let (task, future) = bench.starts(vec![lock.clone()]);
    let acquire = encoded(&Call::<Item>::Acquire);
    bench.asks(task, Ask::Call { handle: 0, wait: Wait::Forever, call: &acquire }).unwrap();
    assert_eq!(bench.answer(), Ok(Reply::Flag(false)));
    bench.ends(task, Outcome::Panic { message: "oh", location: "here" }).unwrap();
    assert!(matches!(result(&future), Some(Err(TaskError::Panic { .. }))));
    let owner = crate::manager::Owner::Host(1);
    let called = bench.runtime.objects().host_call(owner, &lock, Call::Acquire, Wait::NonBlocking, false);
    assert!(matches!(called, HostCalled::Answered(Ok(Reply::Flag(true)))), "it is free, and poisoned");
}

#[test]
fn the_last_handle_in_a_result_that_is_not_read_frees_its_object() {
    let mut bench = Bench::ready();
    let [end, peer] = bench.runtime.objects().make_pipe(true);
    let id = end.id();
    let (task, future) = bench.starts(vec![end]);
    bench.ends(task, Outcome::Value(b"", &0u32.to_le_bytes())).unwrap();
    let completed = future.wait(None).unwrap();
    let [grant] = completed.grants.as_slice() else { panic!("one handle") };
    assert_eq!((grant.id(), grant.kind(), grant.rights), (id, Kind::Pipe, Rights::ALL));
    let receive = |wait| {
        let owner = crate::manager::Owner::Host(1);
        bench.runtime.objects().host_call(owner, &peer, Call::Get(1), wait, false)
    };
    assert!(matches!(receive(Wait::NonBlocking), HostCalled::Answered(Err(ObjectError::Empty))));
    drop((completed, future));
    // Another thread removes the end, as this one might have any lock. Then the other end has nothing to wait for.
    let answer = match receive(Wait::Forever) {
        HostCalled::Answered(answer) => answer,
        HostCalled::Waits(_, call) => call.wait(Some(Instant::now() + Duration::from_secs(30))).unwrap(),
    };
    assert_eq!(answer, Err(ObjectError::Closed));
}

#[test]
fn arguments_are_freed_when_their_tasks_end() {
    let mut bench = Bench::ready();
    let (task, _future) = bench.starts(vec![bench.queue()]);
    bench.runtime.objects().remove_released();
    let count = |bench: &Bench| bench.runtime.objects().with(|objects| objects.store.count());
    assert_eq!((bench.runtime.open_jobs(), count(&bench)), (1, 1), "the task has it");
    bench.ends(task, Outcome::Value(b"", b"")).unwrap();
    assert_eq!(bench.runtime.open_jobs(), 0);
    assert_eq!(count(&bench), 0, "its handle was the last one");
}

#[test]
fn a_worker_that_was_ended_from_outside_costs_the_task_one_retry() {
    let mut bench = Bench::ready();
    let (task, future) = bench.starts(Vec::new());
    bench.peer.control.set_running(Some(task));
    bench.says(from_worker::FATAL, &Fatal { message: "out of luck".to_owned() }).unwrap();
    bench.peer.killed_outside.store(true, Ordering::Relaxed);
    News(&bench.runtime).exited(WORKER);
    let again = WorkerId { generation: 2, ..WORKER };
    assert_eq!(bench.runtime.to_spawn.try_recv(), Ok((again, GUEST)), "another worker is to be started");
    assert_eq!((result(&future), bench.runtime.pids().len()), (None, 0));
    assert_eq!(bench.runtime.stats().workers_lost, 1);
}

#[test]
fn credit_for_emitted_values_reaches_the_task() {
    let mut bench = Bench::ready();
    let (task, _) = bench.starts(Vec::new());
    bench.runtime.grant_emits(task, 12);
    let (kind, payload) = bench.hears();
    let credit: wpool_wire::message::Credit = decode(&payload).unwrap();
    assert_eq!((kind, credit.task, credit.flow, credit.total), (to_worker::CREDIT, task, Flow::Emits, 12));
    bench.runtime.grant_emits(TaskId(99), 1);
}

#[test]
fn a_pool_that_is_terminated_fails_its_tasks_and_kills_its_workers() {
    let mut bench = Bench::ready();
    let (_, started) = bench.starts(Vec::new());
    let (_, waiting) = bench.submit(b"", Vec::new());
    bench.runtime.terminate("`terminate`");
    for future in [started, waiting] {
        assert_eq!(result(&future), Some(Err(TaskError::PoolClosed)));
    }
    assert!(bench.exit().is_some());
    assert_eq!(bench.runtime.closed_by(), Some("`terminate`"));
    assert!(!bench.runtime.wait_finished(Duration::ZERO), "the driver has not collected the worker");
}

#[test]
fn a_task_uses_the_objects_of_any_manager() {
    let mut bench = Bench::ready();
    let other = ObjectServer::new(0);
    let [mine, foreign] = [bench.queue(), other.make(ObjectInit::Queue { capacity: None, requeue: false })];
    let (task, _) = bench.starts(vec![mine.clone(), foreign.clone()]);
    let item = |bytes: &[u8], handles| Item { bytes: bytes.to_vec(), handles };
    let put = encoded(&Call::<Item>::Put(vec![item(b"with its manager's queue", vec![1])]));
    bench.asks(task, Ask::Post { handle: 0, call: &put }).unwrap();
    let get = encoded(&Call::<Item>::Get(1));
    bench.asks(task, Ask::Call { handle: 1, wait: Wait::Forever, call: &get }).unwrap();
    let owner = crate::manager::Owner::Host(1);
    let put = Call::Put(vec![Item { bytes: b"late".to_vec(), handles: Vec::new() }]);
    // The host's call answers the task, though its pool had no part in it.
    assert!(matches!(
        other.host_call(owner, &foreign, put, Wait::NonBlocking, false),
        HostCalled::Answered(Ok(_))
    ));
    let Ok(Reply::Items(items, _)) = bench.answer() else { panic!("it has come") };
    assert_eq!(items[0].bytes, b"late");
    // The value in the pool's queue keeps the other manager.
    let server = Arc::downgrade(&other);
    bench.ends(task, Outcome::Value(b"", b"")).unwrap();
    drop((other, foreign));
    assert!(server.upgrade().is_some());
    let HostCalled::Answered(Ok(Reply::Items(items, _))) =
        bench.runtime.objects().host_call(owner, &mine, Call::Get(1), Wait::NonBlocking, false)
    else {
        panic!("it is there")
    };
    assert_eq!(items[0].handles[0].kind(), Kind::Queue);
    drop(items);
    assert!(server.upgrade().is_none(), "the last handle is gone");
}

#[test]
fn a_call_of_another_managers_object_ends_at_its_deadline_and_with_its_task() {
    let mut bench = Bench::ready();
    let other = ObjectServer::new(0);
    let queue = other.make(ObjectInit::Queue { capacity: None, requeue: false });
    let (task, _) = bench.starts(vec![queue]);
    let get = encoded(&Call::<Item>::Get(1));
    bench.asks(task, Ask::Call { handle: 0, wait: Wait::Timeout(1_000_000), call: &get }).unwrap();
    // No driver runs here: the manager's own thread ends the call, and the mail is read by the next turn.
    let due = Instant::now() + Duration::from_secs(30);
    while bench.peer_is_silent() {
        assert!(Instant::now() < due);
        bench.runtime.read_mail();
    }
    assert_eq!(bench.answer(), Err(ObjectError::Empty));
    bench.asks(task, Ask::Call { handle: 0, wait: Wait::Forever, call: &get }).unwrap();
    assert!(bench.ends(task, Outcome::Panic { message: "oh", location: "here" }).is_ok());
    assert_eq!(other.with(|objects| (objects.store.count(), objects.waiting())), (0, 0));
}
