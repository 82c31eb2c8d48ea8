//! The worker's loop on a thread, with a test as its parent.

use std::io::Write as _;
use std::sync::Arc;
use std::thread::JoinHandle;

use wpool_abi::object::{Kind, Rights};
use wpool_wire::codec::FrameWriter;
use wpool_wire::control::ControlPage;
use wpool_wire::ids::{MemoryId, Place};
use wpool_wire::limits::Limits;
use wpool_wire::message::{CallHeader, Done, Granted, Outcome, encode, from_worker};

use super::*;
use crate::engine::{code_config, serving_engine};
use crate::instance::GuestModule;
use crate::output::Output;
use crate::state::{MemoryBudget, WorkerState};

/// A guest that counts its tasks in a global and in memory, and returns the sum of both as one byte.
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
    thread: JoinHandle<Result<(), ServeError>>,
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
            // SAFETY: the bytes are the output of `serialize` in the same process, two statements above.
            let module = unsafe { wasmtime::Module::deserialize(&engine, code).unwrap() };
            let guest = GuestModule::new(&module, &["wpool_task:visit".to_owned()], None).unwrap();
            let shared = WorkerState {
                limits,
                output: Arc::new(Output::new(theirs.try_clone().unwrap())),
                control: Arc::new(ControlPage::open(&control_file.into()).unwrap()),
                yield_state: Arc::default(),
                budget: Arc::new(MemoryBudget::new(1 << 30)),
                mailbox: Arc::default(),
                name: "0.1".into(),
            };
            let ticker = Ticker::start(&engine).unwrap();
            let runner = Runner::new(guest, shared, isolation);
            let worker = Worker { runner, ticker, functions: 1, snapshot: None };
            worker.serve(&theirs, FrameReader::new(1 << 20))
        });
        Self { socket, control, reader: FrameReader::new(1 << 20), thread }
    }

    /// Offers and sends `count` tasks, of which the parent recalls some before the worker sees them.
    fn call(&self, first: u64, count: u32, recalled: &[u64]) {
        self.call_with(first, count, recalled, &[]);
    }

    /// As `call`; each task is granted these handles.
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
            place: Place::default(),
            follow_log: false,
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

    /// Reads until there are `count` records, and returns each task's id and the byte of its value.
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

    /// Closes the connection, and returns the result of the loop.
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
    // The first of these runs in the pre-warmed instance.
    worker.call(20, 2, &[]);
    assert_eq!(worker.done(2), [(20, 2), (21, 2)]);
    assert!(worker.end().is_ok());
}

#[test]
fn a_batch_or_a_worker_keeps_its_instance_with_that_isolation() {
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
fn a_recalled_task_does_not_run() {
    let mut worker = Served::start(Isolation::Task);
    worker.call(0, 4, &[0, 2]);
    assert_eq!(worker.done(2), [(1, 2), (3, 2)]);
    assert!(worker.end().is_ok());
}

#[test]
fn an_unmapped_memory_is_an_error_of_a_task_that_runs_only() {
    let granted = Granted { kind: Kind::SharedArray, rights: Rights::READ, memory: Some(MemoryId(7)) };
    let mut worker = Served::start(Isolation::Task);
    worker.call_with(0, 1, &[0], &[granted]);
    worker.call(1, 1, &[]);
    assert_eq!(worker.done(1), [(1, 2)], "the parent unmaps the memories of a task that it has recalled");
    worker.call_with(2, 1, &[], &[granted]);
    let ended = worker.thread.join().unwrap();
    assert!(matches!(&ended, Err(ServeError::Message(error)) if error.0.contains("never came")), "{ended:?}");
}

#[test]
fn a_malformed_frame_ends_the_worker_with_an_error() {
    let bad_frame = |kind: u8, payload: &'static [u8]| {
        let worker = Served::start(Isolation::Task);
        let mut writer = FrameWriter::default();
        writer.frame(kind, |out| out.extend_from_slice(payload));
        (&worker.socket).write_all(writer.bytes()).unwrap();
        worker.end().unwrap_err().to_string()
    };
    assert_eq!(bad_frame(77, b""), "a frame of the unknown kind 77");
    assert!(bad_frame(to_worker::CALL, b"\x01").starts_with("a bad message"));
    // A header of a task whose arguments are missing.
    assert!(bad_frame(to_worker::CALL, b"\x01\x01\x00\x00\x05ab").starts_with("a bad message"));
}
