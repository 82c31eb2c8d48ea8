//! The descriptions of a guest's tasks: made by the guest in a worker, under a task's limits, and checked here.

use std::time::Duration;

use wpool_abi::{TaskDescription, export};

use super::image::Image;
use super::one_shot::{OneShot, OneShotError};
use super::signature::Signature;
use crate::error::LoadError;
use crate::outcome::task_error;
use crate::process::Executable;
use wpool_wire::limits::Limits;
use wpool_wire::message::{BadMessage, Described, Hello, ModuleInfo, decode, from_worker, to_worker};

/// The time for all descriptions. They list names and types, and compute nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of the description of one task, in bytes.
const MAX_DESCRIPTION: usize = 1 << 20;
/// The size of all descriptions, in bytes.
const MAX_DESCRIPTIONS: u32 = 8 << 20;
/// The largest number of tasks; hand-written guests stay far below it.
const MAX_TASKS: usize = 1000;
/// The size of the names of all tasks, in bytes. The hello lists them, and an empty socket has to take it whole.
const MAX_NAMES: usize = 64 << 10;

/// Returns the names of the exports with this prefix, by the indices of their tasks.
pub(super) fn exports(info: &ModuleInfo, prefix: &str) -> Vec<String> {
    info.tasks.iter().map(|task| format!("{prefix}{task}")).collect()
}

/// Asks a guest for the descriptions of its tasks, and of its initializer if it has one.
pub(super) fn describe(
    executable: &Executable,
    info: &ModuleInfo,
    image: &Image,
    fuel: bool,
) -> Result<Vec<Vec<u8>>, LoadError> {
    check_names(info)?;
    let mut limits = Limits::default();
    (limits.timeout, limits.result) = (Some(TIMEOUT), MAX_DESCRIPTIONS);
    limits.memory = limits.memory.max(Some(info.memory_min));
    limits.fuel = fuel.then_some(u64::MAX);
    let mut tasks = exports(info, export::DESCRIBE_PREFIX);
    tasks.extend(info.has_init.then(|| export::DESCRIBE_INIT.to_owned()));
    let hello = Hello::new(limits, tasks, info.has_start);
    let request = OneShot {
        hello,
        descriptors: &[image.as_fd()],
        kind: to_worker::DESCRIBE,
        payload: &[],
        max_reply: MAX_DESCRIPTIONS as usize + (1 << 20),
        timeout: TIMEOUT,
    };
    let answer = request.send(executable, |kind, payload| {
        if kind != from_worker::DESCRIBED {
            return Err(BadMessage(format!("a frame of kind {kind}")));
        }
        let described: Described<'_> = decode(payload)?;
        Ok(match described.result {
            Ok(descriptions) => Ok(descriptions.into_iter().map(<[u8]>::to_vec).collect()),
            Err(outcome) => Err(task_error(outcome, &limits)),
        })
    });
    answer.map_err(|error| match error {
        OneShotError::Spawn(error) => LoadError::Spawn(error),
        OneShotError::Task(error) => LoadError::Describe(error),
        OneShotError::BadReply(message) => LoadError::Description { message },
        OneShotError::Fatal(message) => LoadError::Invalid { message },
    })
}

fn check_names(info: &ModuleInfo) -> Result<(), LoadError> {
    let wrong = |message| Err(LoadError::Description { message });
    if info.tasks.len() > MAX_TASKS {
        return wrong(format!("{} tasks, {MAX_TASKS} are allowed", info.tasks.len()));
    }
    let names: usize = info.tasks.iter().map(String::len).sum();
    if names > MAX_NAMES {
        return wrong(format!("the names of its tasks have {names} bytes, {MAX_NAMES} are allowed"));
    }
    Ok(())
}

/// Decodes and checks the descriptions. Returns the signatures of all tasks, and of the initializer if there is one.
pub(super) fn check(
    info: &ModuleInfo,
    descriptions: &[Vec<u8>],
) -> Result<(Vec<Signature>, Option<Signature>), LoadError> {
    if descriptions.len() != info.tasks.len() + usize::from(info.has_init) {
        let message = format!("{} descriptions of {} tasks", descriptions.len(), info.tasks.len());
        return Err(LoadError::Description { message });
    }
    let wrong = |message| LoadError::Description { message };
    // Decoded, a description takes many times its bytes.
    if let Some(bytes) = descriptions.iter().find(|bytes| bytes.len() > MAX_DESCRIPTION) {
        return Err(wrong(format!("one has {} bytes, {MAX_DESCRIPTION} are allowed", bytes.len())));
    }
    let init = descriptions.get(info.tasks.len()).map(|bytes| {
        let description: TaskDescription =
            decode(bytes).map_err(|error| wrong(format!("of the initializer: {error}")))?;
        let name = description.name.clone();
        Signature::new(description, &name).map_err(wrong)
    });
    let signatures = info.tasks.iter().zip(descriptions).map(|(task, bytes)| {
        let description: TaskDescription = decode(bytes).map_err(|error| format!("of `{task}`: {error}"))?;
        Signature::new(description, task)
    });
    Ok((signatures.collect::<Result<_, String>>().map_err(wrong)?, init.transpose()?))
}
