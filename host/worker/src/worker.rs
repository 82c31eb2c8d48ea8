//! The child role that runs tasks: one process per place in a pool, one guest, hostile from its first
//! instruction on.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use crate::sandbox;
use wpool_wire::codec::{Frame, FrameReader};
use wpool_wire::control::ControlPage;
use wpool_wire::limits::Limits;
use wpool_wire::message::{Fatal, Hello, Ready, decode, encode, from_worker, to_worker};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

use crate::engine::{Ticker, serving_engine};
use crate::instance::Guest;
use crate::output::Output;
use crate::serve::Worker;
use crate::snapshot::Snapshot;
use crate::state::{Budget, InstanceShare};

/// All instances of a worker together may have as much memory as so many tasks.
const BUDGET_TASKS: u64 = 4;
/// What a worker needs beside its guests' linear memories: its own heap, arguments and results on their way.
const OWN_MEMORY: u64 = 1 << 30;

/// A frame from the parent: arguments at their largest, and what is around them.
const MAX_FRAME: usize = (Limits::MAX_PAYLOAD as usize) + (1 << 20);

/// Runs the role until the parent closes the connection.
pub(crate) fn main() -> ExitCode {
    let detached = sandbox::detach();
    let Some(socket) = crate::parent::parent_socket() else { return ExitCode::FAILURE };
    if let Err(error) = detached {
        return give_up(&socket, &error.to_string());
    }
    report_panics(&socket);
    match run(&socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => give_up(&socket, &format!("{error:#}")),
    }
}

fn run(socket: &UnixStream) -> wasmtime::Result<()> {
    let (hello, reader, descriptors) = receive_hello(socket)?;
    if !hello.is_ours() {
        // Its own answer tells the parent how the two differ.
        ready(&Output::new(socket.try_clone()?), sandbox_report_of_nothing())?;
        return Ok(());
    }
    let mut descriptors = descriptors.into_iter().map(File::from);
    let (Some(control), Some(image), third) = (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err(io::Error::other("descriptors are missing from the hello").into());
    };
    let control = ControlPage::open(&control)?;
    let engine = serving_engine(&hello.limits)?;
    // SAFETY: the image is a sealed copy that the parent took from a compiler of this build, or from a
    // cache entry that it has authenticated; nobody can write to it any more.
    let module = unsafe { wasmtime::Module::deserialize_open_file(&engine, image)? };
    let mut guest = Guest::new(&module, &hello.functions, hello.limits.fuel)?.with_start(hello.has_start);
    let mut to_fill = third;
    if hello.from_snapshot {
        let file =
            to_fill.take().ok_or_else(|| io::Error::other("the snapshot is missing from the hello"))?;
        guest = guest.with_snapshot(Snapshot::from_bytes(&read_whole(file)?)?);
    }
    let ticker = Ticker::start(&engine)?;
    let budget = hello.limits.memory_bytes() * BUDGET_TASKS;
    let report = sandbox::seal(budget + OWN_MEMORY)?;
    let output = Arc::new(Output::new(socket.try_clone()?));
    ready(&output, report)?;
    let share = InstanceShare {
        limits: hello.limits,
        output,
        control: Arc::new(control),
        turns: Arc::default(),
        budget: Arc::new(Budget::new(budget)),
        desk: Arc::default(),
    };
    let tasks = u32::try_from(hello.functions.len())?;
    let spare = RefCell::default();
    let isolation = hello.isolation;
    let worker = Worker { guest: &guest, share, isolation, ticker, tasks, spare, snapshot: to_fill };
    worker.serve(socket, reader)?;
    Ok(())
}

fn read_whole(mut file: File) -> io::Result<Vec<u8>> {
    use io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn receive_hello(socket: &UnixStream) -> wasmtime::Result<(Hello, FrameReader, Vec<OwnedFd>)> {
    let mut reader = FrameReader::new(MAX_FRAME);
    let mut source = crate::parent::WithDescriptors::new(socket);
    loop {
        if let Some(Frame { kind, payload }) = reader.next_frame()? {
            if kind != to_worker::HELLO {
                return Err(io::Error::other(format!("a frame of kind {kind} before the hello")).into());
            }
            let hello = decode(payload)?;
            return Ok((hello, reader, source.into_descriptors()));
        }
        if reader.fill(&mut source)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn ready(output: &Output, sandbox: wpool_wire::message::SandboxReport) -> io::Result<()> {
    let ready = Ready { protocol: PROTOCOL_VERSION, build: BUILD.to_owned(), sandbox };
    output.send(from_worker::READY, |out| encode(&ready, out))
}

fn sandbox_report_of_nothing() -> wpool_wire::message::SandboxReport {
    wpool_wire::message::SandboxReport::default()
}

/// Tells the parent why this process ends, as far as it still listens.
fn give_up(socket: &UnixStream, message: &str) -> ExitCode {
    if let Ok(socket) = socket.try_clone() {
        let fatal = Fatal { message: message.to_owned() };
        // If the parent is gone there is nobody to tell.
        let _gone = Output::new(socket).send(from_worker::FATAL, |out| encode(&fatal, out));
    }
    ExitCode::FAILURE
}

/// A panic of the worker itself ends it, and its message reaches the parent.
fn report_panics(socket: &UnixStream) {
    let Ok(socket) = socket.try_clone() else { return };
    std::panic::set_hook(Box::new(move |info| {
        give_up(&socket, &info.to_string());
        std::process::abort();
    }));
}
