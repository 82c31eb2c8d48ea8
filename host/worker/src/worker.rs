//! The role that runs tasks: one process per slot of a pool, for one guest, which is hostile from its first instruction
//! on.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use wpool_wire::control::ControlPage;
use wpool_wire::limits::Limits;
use wpool_wire::message::{Fatal, Hello, Ready, SandboxReport, encode, from_worker, to_worker};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

use crate::engine::serving_engine;
use crate::image::SealedImage;
use crate::instance::GuestModule;
use crate::output::Output;
use crate::parent::{Failure, FirstMessage, receive_first, run_role};
use crate::sandbox;
use crate::serve::{Runner, Worker};
use crate::snapshot::Snapshot;
use crate::state::{MemoryBudget, WorkerState};
use crate::ticker::Ticker;

/// The linear memory of all instances of a worker together, as a multiple of one task's limit.
const BUDGET_TASKS: u64 = 4;
/// The bytes that a worker needs beside linear memory: for its own heap, and for arguments and results.
const OWN_MEMORY: u64 = 1 << 30;

/// The maximum size of a frame from the parent: the largest arguments, with the fields around them.
const MAX_FRAME: usize = (Limits::MAX_PAYLOAD as usize) + (1 << 20);

/// Runs the role until the parent closes the connection.
pub(crate) fn main() -> ExitCode {
    run_role(run, report)
}

fn run(socket: &UnixStream) -> wasmtime::Result<()> {
    let FirstMessage { message: hello, descriptors, reader } =
        receive_first::<Hello>(socket, to_worker::HELLO, "hello", MAX_FRAME)?;
    let output = Output::new(socket.try_clone()?);
    if !hello.is_ours() {
        // The answer holds the build, so the parent can tell the user about the difference.
        return Ok(send_ready(&output, SandboxReport::default())?);
    }
    let mut descriptors = descriptors.into_iter().map(File::from);
    let (Some(control), Some(image), third) = (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err(io::Error::other("descriptors are missing from the hello").into());
    };
    let control = ControlPage::open(&control)?;
    let engine = serving_engine(&hello.limits)?;
    // Sealed before the image and the snapshot are looked at: both hold what a guest has chosen.
    let budget = hello.limits.memory_bytes() * BUDGET_TASKS;
    let sandbox = sandbox::seal(budget + OWN_MEMORY)?;
    let module = SealedImage::new(&hello, image)?.map(&engine)?;
    let mut guest =
        GuestModule::new(&module, &hello.functions, hello.limits.fuel)?.with_start(hello.has_start);
    let mut snapshot_file = third;
    if hello.from_snapshot {
        let file = snapshot_file.take();
        let file = file.ok_or_else(|| io::Error::other("the snapshot is missing from the hello"))?;
        guest = guest.with_snapshot(Snapshot::read_from(file)?);
    }
    let ticker = Ticker::start(&engine)?;
    send_ready(&output, sandbox)?;
    let shared = WorkerState {
        limits: hello.limits,
        output: Arc::new(output),
        control: Arc::new(control),
        yield_state: Arc::default(),
        budget: Arc::new(MemoryBudget::new(budget)),
        mailbox: Arc::default(),
        name: hello.worker.as_str().into(),
    };
    let runner = Runner::new(guest, shared, hello.isolation);
    let functions = u32::try_from(hello.functions.len())?;
    Worker { runner, ticker, functions, snapshot: snapshot_file }.serve(socket, reader)?;
    Ok(())
}

fn send_ready(output: &Output, sandbox: SandboxReport) -> io::Result<()> {
    let ready = Ready { protocol: PROTOCOL_VERSION, build: BUILD.to_owned(), sandbox };
    output.send(from_worker::READY, |out| encode(&ready, out))
}

fn report(socket: &UnixStream, failure: Failure<'_>) -> ExitCode {
    let (Failure::Error(message) | Failure::Panic(message)) = failure;
    if let Ok(socket) = socket.try_clone() {
        let fatal = Fatal { message: message.to_owned() };
        // An error means that the parent has exited, and the worker exits anyway.
        let _gone = Output::new(socket).send(from_worker::FATAL, |out| encode(&fatal, out));
    }
    ExitCode::FAILURE
}
