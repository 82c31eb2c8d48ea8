//! Has a guest describe its tasks, in a worker and under a task's limits, and checks what it says.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use wpool_abi::{TaskDescription, export};

use super::Image;
use super::description::Signature;
use crate::child;
use crate::error::{LoadError, SpawnError, TaskError};
use crate::limits::{Isolation, Limits};
use crate::process::{ChildProcess, Executable, readable_within, send_with_descriptors};
use crate::wire::codec::{FrameReader, FrameWriter};
use crate::wire::control::ControlPage;
use crate::wire::message::{Described, Fatal, Hello, ModuleInfo, decode, encode, from_worker, to_worker};
use crate::wire::outcome::task_error;
use crate::wire::{BUILD, PROTOCOL_VERSION};

/// A description says names and types; it computes nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The worker's own clock ends a description; this is for one that it cannot end.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of all descriptions together.
const MAX_DESCRIPTIONS: u32 = 8 << 20;
/// More tasks than people write.
const MAX_TASKS: usize = 1000;

/// The names of a kind of export, by the tasks' numbers.
pub(super) fn exports(info: &ModuleInfo, prefix: &str) -> Vec<String> {
    info.tasks.iter().map(|task| format!("{prefix}{task}")).collect()
}

/// Asks a guest for the descriptions of its tasks.
pub(super) fn describe(
    executable: &Executable,
    info: &ModuleInfo,
    image: &Image,
    fuel: bool,
) -> Result<Vec<Vec<u8>>, LoadError> {
    if info.tasks.len() > MAX_TASKS {
        let message = format!("{} tasks, {MAX_TASKS} are allowed", info.tasks.len());
        return Err(LoadError::Description { message });
    }
    let mut limits = Limits { timeout: Some(TIMEOUT), result: MAX_DESCRIPTIONS, ..Limits::default() };
    limits.memory = limits.memory.max(Some(info.memory_min));
    limits.fuel = fuel.then_some(u64::MAX);
    let deadline = Instant::now() + TIMEOUT + GRACE;
    let system = |what: &'static str| {
        move |error: rustix::io::Errno| {
            LoadError::Spawn(SpawnError::System { what, message: error.to_string() })
        }
    };
    let (control, control_file) = ControlPage::create().map_err(system("a control page"))?;
    let (mut process, socket) = ChildProcess::spawn(executable, child::WORKER)?;
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        build: BUILD.to_owned(),
        limits,
        tasks: exports(info, export::DESCRIBE_PREFIX),
        has_start: info.has_start,
        isolation: Isolation::Task,
    };
    let mut writer = FrameWriter::default();
    writer.frame(to_worker::HELLO, |out| encode(&hello, out));
    writer.frame(to_worker::DESCRIBE, |_| {});
    // If this fails the child is gone, and how it ended says more.
    let _gone = send_with_descriptors(&socket, writer.bytes(), &[control_file.as_fd(), image.as_fd()]);
    drop(control);
    let mut reader = FrameReader::new(MAX_DESCRIPTIONS as usize + (1 << 20));
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if !readable_within(socket.as_fd(), left).unwrap_or(true) {
            continue;
        }
        if reader.fill(&socket).unwrap_or(0) == 0 {
            let cause = process.wait_until(deadline).unwrap_or(crate::WorkerExit::Unknown);
            return Err(LoadError::Describe(TaskError::WorkerLost {
                cause,
                phase: crate::Phase::Running,
                earlier: Vec::new(),
            }));
        }
        while let Some(frame) = reader.next().map_err(|error| damaged(&error))? {
            match frame.kind {
                from_worker::READY => {}
                from_worker::DESCRIBED => {
                    let described: Described<'_> = decode(frame.payload).map_err(|error| damaged(&error))?;
                    return match described.result {
                        Ok(descriptions) => Ok(descriptions.into_iter().map(<[u8]>::to_vec).collect()),
                        Err(outcome) => Err(LoadError::Describe(task_error(outcome, &limits))),
                    };
                }
                from_worker::FATAL => {
                    let fatal: Fatal = decode(frame.payload).map_err(|error| damaged(&error))?;
                    return Err(LoadError::Invalid { message: fatal.message });
                }
                other => return Err(damaged(&format!("a frame of kind {other}"))),
            }
        }
    }
    process.kill();
    let timeout = TaskError::Timeout { clock: crate::Clock::Run, limit: TIMEOUT };
    Err(LoadError::Describe(timeout))
}

fn damaged(error: &dyn std::fmt::Display) -> LoadError {
    LoadError::Description { message: error.to_string() }
}

/// Decodes and checks the descriptions of all tasks.
pub(super) fn check(info: &ModuleInfo, descriptions: &[Vec<u8>]) -> Result<Vec<Signature>, LoadError> {
    if descriptions.len() != info.tasks.len() {
        let message = format!("{} descriptions of {} tasks", descriptions.len(), info.tasks.len());
        return Err(LoadError::Description { message });
    }
    let signatures = info.tasks.iter().zip(descriptions).map(|(task, bytes)| {
        let description: TaskDescription = decode(bytes).map_err(|error| format!("of `{task}`: {error}"))?;
        Signature::check(description, task)
    });
    signatures.collect::<Result<_, String>>().map_err(|message| LoadError::Description { message })
}
