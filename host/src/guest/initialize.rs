//! Runs a guest's initializer once, in a worker and under a task's limits, and takes what it leaves behind.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use wpool_abi::export;

use super::ask::{Question, Unanswered, ask};
use super::{Guest, Image};
use crate::error::{BuildError, LoadError, SpawnError, TaskError};
use crate::outcome::task_error;
use crate::process::sealed_file;
use wpool_wire::limits::Limits;
use wpool_wire::message::{BadMessage, Hello, Initialized, decode, encode, from_worker, to_worker};

/// What a snapshot has beside pages of memory.
const OVERHEAD: u64 = 16 << 20;
/// An initializer without a limit of its time has as good as none.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What every instance starts from, in a sealed file.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot(pub(crate) Image);

impl Snapshot {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        rustix::fs::fstat(self.0.as_fd()).map_or(u64::MAX, |stat| stat.st_size.cast_unsigned())
    }
}

/// Runs the initializer with these arguments.
pub(super) fn initialize(
    guest: &Guest,
    image: &Image,
    arguments: &[u8],
    limits: &Limits,
) -> Result<Snapshot, BuildError> {
    let file = rustix::fs::memfd_create("wpool-snapshot", MemfdFlags::CLOEXEC)
        .map_err(|error| SpawnError::system("a snapshot", error))?;
    let hello = Hello::new(*limits, vec![export::INIT.to_owned()], guest.has_start());
    let mut payload = Vec::new();
    encode(&arguments, &mut payload);
    let question = Question {
        hello,
        descriptors: &[image.as_fd(), std::os::fd::AsFd::as_fd(&file)],
        kind: to_worker::INIT,
        payload: &payload,
        max_reply: limits.result as usize + (1 << 20),
        time: limits.timeout.unwrap_or(FOR_EVER),
    };
    let answer = ask(guest.executable(), question, |kind, payload| {
        if kind != from_worker::INITIALIZED {
            return Err(BadMessage(format!("a frame of kind {kind}")));
        }
        let initialized: Initialized<'_> = decode(payload)?;
        Ok(initialized.result.map_err(|outcome| task_error(outcome, limits)))
    });
    answer.map_err(|unanswered| match unanswered {
        Unanswered::Spawn(error) => BuildError::Spawn(error),
        Unanswered::Task(error) => BuildError::Init(error),
        Unanswered::Bad(message) => BuildError::Init(TaskError::BadGuest { message }),
        Unanswered::GaveUp(message) => BuildError::Load(LoadError::Invalid { message }),
    })?;
    // Its worker is gone, so nobody else writes to the file when it is copied.
    take(file, limits).map_err(|error| BuildError::Spawn(SpawnError::system("a snapshot", error)))
}

fn take(file: OwnedFd, limits: &Limits) -> std::io::Result<Snapshot> {
    let mut file = File::from(file);
    let most = limits.memory_bytes() + OVERHEAD;
    if file.metadata()?.len() > most {
        return Err(std::io::Error::other(format!("it is larger than {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let sealed = sealed_file("wpool-snapshot", &[&bytes]).map_err(std::io::Error::other)?;
    Ok(Snapshot(Image::new(sealed)))
}
