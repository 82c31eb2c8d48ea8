//! Compiles a module in a child process, and takes the image when that process has ended.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;

use super::image::{Image, Snapshot};
use crate::error::{LoadError, SpawnError, WorkerExit};
use crate::process::{ChildProcess, Executable, readable_within, sealed_file, send_with_descriptors};
use wpool_wire::codec::{FrameReader, FrameWriter};
use wpool_wire::limits::CompileLimits;
use wpool_wire::message::{
    CompileFailure, CompileReply, CompileRequest, ModuleInfo, compiler, decode, encode,
};
use wpool_wire::role;
use wpool_wire::{BUILD, PROTOCOL_VERSION};

/// The largest reply, in bytes: it lists imports and tasks.
const MAX_REPLY: usize = 16 << 20;
/// The largest image, in bytes.
const MAX_IMAGE: u64 = 1 << 30;
/// A longer time limit, such as `Duration::MAX`, is shortened to this year, which the clock can represent.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The number of attempts if compilers are ended from outside.
const ATTEMPTS: u32 = 3;

/// One compilation.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) source: &'a [u8],
    /// Whether the code counts fuel.
    pub(super) fuel: bool,
    /// The state that instances start from; `None` if that is the data of the module.
    pub(super) snapshot: Option<&'a Snapshot>,
}

/// Compiles a module. The deadline is kept here, the limit on memory by the kernel.
pub(super) fn compile(
    executable: &Executable,
    limits: &CompileLimits,
    job: Job<'_>,
) -> Result<(ModuleInfo, Image), LoadError> {
    let module = sealed_file("wpool-module", &[job.source])?;
    let mut attempt = 1;
    loop {
        match compile_once(executable, limits, &module, job) {
            Err(LoadError::CompilerLost { cause }) if cause.is_external() && attempt < ATTEMPTS => {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn compile_once(
    executable: &Executable,
    limits: &CompileLimits,
    module: &OwnedFd,
    job: Job<'_>,
) -> Result<(ModuleInfo, Image), LoadError> {
    let deadline = Instant::now() + limits.time.min(LONGEST);
    let (mut process, socket) = ChildProcess::spawn(executable, role::COMPILER)?;
    let output = rustix::fs::memfd_create("wpool-image", MemfdFlags::CLOEXEC)
        .map_err(|error| SpawnError::system("a file in memory", error))?;
    let request = CompileRequest {
        protocol: PROTOCOL_VERSION,
        build: BUILD.to_owned(),
        limits: *limits,
        fuel: job.fuel,
        snapshot: job.snapshot.is_some(),
    };
    let mut descriptors = vec![module.as_fd(), output.as_fd()];
    descriptors.extend(job.snapshot.map(|snapshot| snapshot.as_fd()));
    let mut writer = FrameWriter::default();
    writer.frame(compiler::REQUEST, |out| encode(&request, out));
    // If this fails the child has ended, and its exit is reported below.
    let _gone = send_with_descriptors(&socket, writer.bytes(), &descriptors);
    let reply = receive(&socket, deadline);
    drop(socket);
    // The image is taken only when no other process can write to it.
    let Some(exit) = process.wait_until(deadline) else {
        return Err(LoadError::CompileTimeout { limit: limits.time });
    };
    match reply {
        Ok(Some(CompileReply::Compiled(info))) => {
            let image = take_image(output, info.image_len)?;
            Ok((info, image))
        }
        Ok(Some(CompileReply::Failed(failure))) => Err(failed(failure)),
        Ok(Some(CompileReply::Mismatch { protocol, build })) => Err(mismatch(executable, protocol, &build)),
        Ok(None) => Err(lost(exit, limits)),
        Err(violation) => Err(LoadError::CompilerLost { cause: WorkerExit::Violation(violation) }),
    }
}

/// Receives the compiler's reply; `None` if the compiler ended or the deadline passed before it. The error says how the
/// compiler violated the protocol.
fn receive(socket: &UnixStream, deadline: Instant) -> Result<Option<CompileReply>, String> {
    let mut reader = FrameReader::new(MAX_REPLY);
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match readable_within(socket.as_fd(), left) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return Ok(None),
        }
        if reader.fill(socket).unwrap_or(0) == 0 {
            return Ok(None);
        }
        if let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
            if frame.kind != compiler::REPLY {
                return Err(format!("a frame of kind {} from a compiler", frame.kind));
            }
            return decode(frame.payload).map(Some).map_err(|error| error.to_string());
        }
    }
    Ok(None)
}

/// Copies the image into a new file, on which no other process has a descriptor.
fn take_image(output: OwnedFd, len: u64) -> Result<Image, LoadError> {
    let mut bytes = Vec::new();
    let mut file = File::from(output);
    let read = file.rewind().and_then(|()| file.take(MAX_IMAGE).read_to_end(&mut bytes));
    read.map_err(|error| SpawnError::system("a copy of the image", error))?;
    if bytes.len() as u64 != len {
        let message = format!("its image has {len} bytes, of which {} are there", bytes.len());
        return Err(LoadError::Invalid { message });
    }
    Ok(Image::new(sealed_file("wpool-image", &[&bytes])?))
}

fn failed(failure: CompileFailure) -> LoadError {
    match failure {
        CompileFailure::Invalid { message } => LoadError::Invalid { message },
        CompileFailure::UnknownImport { module, name } => LoadError::UnknownImport { module, name },
        CompileFailure::WrongType { export, name, found, expected } => {
            LoadError::WrongType { what: if export { "export" } else { "import" }, name, found, expected }
        }
        CompileFailure::MissingExport { name } => LoadError::MissingExport { name },
        CompileFailure::WrongAbi { found } => LoadError::WrongAbi { found, expected: wpool_abi::VERSION },
    }
}

fn mismatch(executable: &Executable, protocol: u32, build: &str) -> LoadError {
    let path = executable.locate().unwrap_or_default();
    LoadError::Spawn(SpawnError::Mismatch {
        path,
        message: format!(
            "it is build {build} with protocol {protocol}, this is {BUILD} with {PROTOCOL_VERSION}"
        ),
    })
}

/// Returns the error for a compiler that ended without a reply. It aborts only for want of memory: a panic is a reply.
fn lost(exit: WorkerExit, limits: &CompileLimits) -> LoadError {
    const SIGABRT: i32 = 6;
    match exit {
        WorkerExit::Signal { signal: SIGABRT, .. } => LoadError::CompileMemory { limit: limits.memory },
        cause => LoadError::CompilerLost { cause },
    }
}
