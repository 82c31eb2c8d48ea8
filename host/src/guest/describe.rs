//! Has a guest describe its tasks, in a worker and under a task's limits, and checks what it says.

use std::time::Duration;

use wpool_abi::{TaskDescription, export};

use super::Image;
use super::ask::{Question, Unanswered, ask};
use super::description::Signature;
use crate::error::LoadError;
use crate::outcome::task_error;
use crate::process::Executable;
use wpool_wire::limits::Limits;
use wpool_wire::message::{BadMessage, Described, Hello, ModuleInfo, decode, from_worker, to_worker};

/// A description says names and types; it computes nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
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
    let mut limits = Limits::default();
    (limits.timeout, limits.result) = (Some(TIMEOUT), MAX_DESCRIPTIONS);
    limits.memory = limits.memory.max(Some(info.memory_min));
    limits.fuel = fuel.then_some(u64::MAX);
    let mut tasks = exports(info, export::DESCRIBE_PREFIX);
    tasks.extend(info.has_init.then(|| export::DESCRIBE_INIT.to_owned()));
    let hello = Hello::new(limits, tasks, info.has_start);
    let question = Question {
        hello,
        descriptors: &[image.as_fd()],
        kind: to_worker::DESCRIBE,
        payload: &[],
        max_reply: MAX_DESCRIPTIONS as usize + (1 << 20),
        time: TIMEOUT,
    };
    let answer = ask(executable, question, |kind, payload| {
        if kind != from_worker::DESCRIBED {
            return Err(BadMessage(format!("a frame of kind {kind}")));
        }
        let described: Described<'_> = decode(payload)?;
        Ok(match described.result {
            Ok(descriptions) => Ok(descriptions.into_iter().map(<[u8]>::to_vec).collect()),
            Err(outcome) => Err(task_error(outcome, &limits)),
        })
    });
    answer.map_err(|unanswered| match unanswered {
        Unanswered::Spawn(error) => LoadError::Spawn(error),
        Unanswered::Task(error) => LoadError::Describe(error),
        Unanswered::Bad(message) => LoadError::Description { message },
        Unanswered::GaveUp(message) => LoadError::Invalid { message },
    })
}

/// Decodes and checks the descriptions of all tasks, and of the initializer if there is one.
pub(super) fn check(
    info: &ModuleInfo,
    descriptions: &[Vec<u8>],
) -> Result<(Vec<Signature>, Option<Signature>), LoadError> {
    if descriptions.len() != info.tasks.len() + usize::from(info.has_init) {
        let message = format!("{} descriptions of {} tasks", descriptions.len(), info.tasks.len());
        return Err(LoadError::Description { message });
    }
    let wrong = |message| LoadError::Description { message };
    let init = descriptions.get(info.tasks.len()).map(|bytes| {
        let description: TaskDescription =
            decode(bytes).map_err(|error| wrong(format!("of the initializer: {error}")))?;
        let name = description.name.clone();
        Signature::check(description, &name).map_err(wrong)
    });
    let signatures = info.tasks.iter().zip(descriptions).map(|(task, bytes)| {
        let description: TaskDescription = decode(bytes).map_err(|error| format!("of `{task}`: {error}"))?;
        Signature::check(description, task)
    });
    Ok((signatures.collect::<Result<_, String>>().map_err(wrong)?, init.transpose()?))
}
