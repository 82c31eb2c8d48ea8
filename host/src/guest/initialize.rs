//! Runs a guest's initializer once, in a worker and under a task's limits, and takes the snapshot of its state.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use wpool_abi::export;
use wpool_wire::limits::Limits;
use wpool_wire::message::{BadMessage, Hello, Initialized, decode, encode, from_worker, to_worker};

use super::image::{Image, Snapshot};
use super::one_shot::{OneShot, OneShotError};
use crate::error::{BuildError, LoadError, SpawnError, TaskError};
use crate::outcome::task_error;
use crate::process::{Executable, sealed_file};

/// The size of the globals and the headers of a snapshot, in bytes, beside the pages of memory.
const OVERHEAD: u64 = 16 << 20;
/// The size of a reply without the error that the initializer may return, in bytes.
const REPLY_OVERHEAD: usize = 1 << 20;
/// The timeout of an initializer whose limits set none.
const UNLIMITED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs the initializer of a guest with these arguments.
pub(super) fn initialize(
    executable: &Executable,
    image: &Image,
    has_start: bool,
    arguments: &[u8],
    limits: &Limits,
) -> Result<Snapshot, BuildError> {
    let file = rustix::fs::memfd_create("wpool-snapshot", MemfdFlags::CLOEXEC)
        .map_err(|error| SpawnError::system("a snapshot", error))?;
    let mut payload = Vec::new();
    encode(&arguments, &mut payload);
    let request = OneShot {
        hello: Hello::new(*limits, vec![export::INIT.to_owned()], has_start),
        descriptors: &[image.as_fd(), file.as_fd()],
        kind: to_worker::INIT,
        payload: &payload,
        max_reply: limits.result as usize + REPLY_OVERHEAD,
        timeout: limits.timeout.unwrap_or(UNLIMITED),
    };
    let answer = request.send(executable, |kind, payload| {
        if kind != from_worker::INITIALIZED {
            return Err(BadMessage(format!("a frame of kind {kind}")));
        }
        let initialized: Initialized<'_> = decode(payload)?;
        Ok(initialized.result.map_err(|outcome| task_error(outcome, limits)))
    });
    answer.map_err(|error| match error {
        OneShotError::Spawn(error) => BuildError::Spawn(error),
        OneShotError::Task(error) => BuildError::Init(error),
        OneShotError::BadReply(message) => BuildError::Init(TaskError::BadGuest { message }),
        OneShotError::Fatal(message) => BuildError::Load(LoadError::Invalid { message }),
    })?;
    // The worker has ended, so no other process writes to the file while it is copied.
    take(file, limits).map_err(|error| BuildError::Spawn(SpawnError::system("a snapshot", error)))
}

/// Copies the snapshot into a sealed file.
fn take(file: OwnedFd, limits: &Limits) -> io::Result<Snapshot> {
    let mut file = File::from(file);
    let limit = limits.memory_bytes() + OVERHEAD;
    if file.metadata()?.len() > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    // The initializer's worker may still write to it.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    sealed_file("wpool-snapshot", &[&bytes]).map(Snapshot::new).map_err(io::Error::other)
}
