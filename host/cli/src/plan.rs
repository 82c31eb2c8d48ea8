//! Resolves what was typed into the plan of a run, once; no function behind this file sees a flag.

mod files;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use wpool::{ClockPolicy, Isolation, ObjectSpec, RandomPolicy};

use crate::args::{self, DenyArg, GuestArgs, InputFormat, IsolationArg, ObjectArgs, OnError, RunArgs};
use crate::exit_code::Failure;
use crate::guest::GuestSource;
use crate::items::Layout;
use crate::logs::LogSink;
use crate::objects::{ObjectFile, Objects};
use crate::output::Format;
use crate::pool::{PoolSettings, TaskTerms};
use crate::sinks::SinkPlan;
use crate::source::Source;
use crate::values::{Assigned, Counted};

/// Everything that a run is.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub(crate) guest: GuestSource,
    pub(crate) objects: Objects,
    pub(crate) pool: PoolSettings,
    pub(crate) terms: TaskTerms,
    pub(crate) logs: LogSink,
    pub(crate) work: Work,
}

/// How often the task is called.
#[derive(Debug, PartialEq)]
pub(crate) enum Work {
    Map(MapPlan),
    Call(CallPlan),
}

/// A task that is mapped over inputs.
#[derive(Debug, PartialEq)]
pub(crate) struct MapPlan {
    pub(crate) inputs: Source,
    /// The task's name; `None` for the only task of the guest.
    pub(crate) task: Option<String>,
    pub(crate) sinks: SinkPlan,
    /// The file of finished results that the run resumes from and adds to, if any.
    pub(crate) journal: Option<PathBuf>,
    /// Whether results are written as they come, and not in the order of the inputs.
    pub(crate) unordered: bool,
    /// Whether the first failed task ends the run early.
    pub(crate) stop_on_error: bool,
    pub(crate) early_end: EarlyEnd,
}

/// The effect of an early end of the run, by an interrupt or an error, on the tasks that are running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlyEnd {
    /// They finish, and their results are written.
    Finish,
    /// They are killed: a task that waits at a shared object may wait for ever.
    Kill,
}

/// A task that is called once.
#[derive(Debug, PartialEq)]
pub(crate) struct CallPlan {
    pub(crate) task: String,
    /// Each in JSON, or a string as it stands.
    pub(crate) arguments: Vec<String>,
}

impl RunPlan {
    /// Resolves the arguments. Reads the files of broadcasts, and looks at those of inputs.
    pub(crate) fn resolve(args: &RunArgs) -> Result<Self, Failure> {
        Ok(Self {
            work: Work::resolve(args)?,
            objects: objects(&args.objects)?,
            guest: GuestSource { init: args.init.clone(), ..GuestSource::from(&args.guest) },
            pool: PoolSettings::from(args),
            terms: TaskTerms::from(args),
            logs: log_sink(&args.logs),
        })
    }
}

impl Work {
    fn resolve(args: &RunArgs) -> Result<Self, Failure> {
        if let [task, arguments @ ..] = args.call.as_slice() {
            files::check_distinct(args)?;
            return Ok(Self::Call(CallPlan { task: task.clone(), arguments: arguments.to_vec() }));
        }
        let inputs = inputs(args)?;
        files::check_distinct(args)?;
        Ok(Self::Map(MapPlan {
            inputs,
            task: args.task.clone(),
            sinks: SinkPlan::from(args),
            journal: args.resume.clone(),
            unordered: args.unordered,
            stop_on_error: args.on_error == OnError::Stop,
            early_end: EarlyEnd::from(&args.objects),
        }))
    }
}

impl From<&GuestArgs> for GuestSource {
    fn from(args: &GuestArgs) -> Self {
        let GuestArgs { path, target, no_cache } = args;
        Self { path: path.clone(), target: target.clone(), cached: !no_cache, init: None }
    }
}

fn inputs(args: &RunArgs) -> Result<Source, Failure> {
    let layout = match args.input_format {
        InputFormat::Auto => None,
        InputFormat::Json => Some(Layout::Array),
        InputFormat::Jsonl => Some(Layout::Lines),
    };
    match &args.map {
        None => Source::contents(&args.map_files),
        Some(path) if path == Path::new("-") => Ok(Source::stdin(layout)),
        Some(path) if args.output.as_ref() == Some(path) => {
            Err(Failure::input("the output would replace the input").hint("choose another --output"))
        }
        Some(path) => Source::json_file(path, layout),
    }
}

impl From<&RunArgs> for PoolSettings {
    fn from(args: &RunArgs) -> Self {
        Self {
            workers: args.workers,
            timeout: args.timeout.0,
            memory: args.memory.0,
            fuel: args.fuel,
            max_result: args.max_result,
            max_log: args.max_log,
            isolation: match args.isolation {
                IsolationArg::Task => Isolation::Task,
                IsolationArg::Batch => Isolation::Batch,
                IsolationArg::Worker => Isolation::Worker,
            },
            retries: args.retries,
            max_tasks_per_worker: args.max_tasks_per_worker,
            sub_task_depth: args.sub_tasks,
            clock: if args.deny.contains(&DenyArg::Clock) {
                ClockPolicy::Denied
            } else {
                ClockPolicy::Coarse
            },
            random: match args.seed {
                _ if args.deny.contains(&DenyArg::Random) => RandomPolicy::Denied,
                Some(seed) => RandomPolicy::Seeded(seed),
                None => RandomPolicy::Os,
            },
            worker_info: args.worker_info,
        }
    }
}

impl From<&RunArgs> for TaskTerms {
    fn from(args: &RunArgs) -> Self {
        Self { queue_timeout: args.queue_timeout.0, deadline: args.deadline.0, priority: args.priority }
    }
}

impl From<&RunArgs> for SinkPlan {
    fn from(args: &RunArgs) -> Self {
        let format = match args.format {
            args::Format::Json => Format::Json,
            args::Format::Jsonl => Format::Jsonl,
        };
        Self { output: args.output.clone(), format, report: args.report.clone() }
    }
}

fn log_sink(path: &Path) -> LogSink {
    match path.to_str() {
        Some("stderr") => LogSink::Stderr,
        Some("off") => LogSink::Off,
        _ => LogSink::File(path.to_owned()),
    }
}

impl From<&ObjectArgs> for EarlyEnd {
    /// Shared memory makes no task wait.
    fn from(args: &ObjectArgs) -> Self {
        let ObjectArgs { queue, dict, list, value, event, lock, semaphore, barrier, .. } = args;
        let counted = [queue, semaphore, barrier].into_iter().any(|declared| !declared.is_empty());
        let named = [dict, list, event, lock].into_iter().any(|declared| !declared.is_empty());
        if counted || named || !value.is_empty() { Self::Kill } else { Self::Finish }
    }
}

fn objects(args: &ObjectArgs) -> Result<Objects, Failure> {
    let files = |assigned: &[Assigned]| {
        let file = |Assigned(name, path): &Assigned| ObjectFile { name: name.clone(), path: path.into() };
        assigned.iter().map(file).collect()
    };
    Objects::declare(object_specs(args), files(&args.drain), files(&args.dump))
}

/// Returns the declarations in the order in which their errors are reported.
fn object_specs(args: &ObjectArgs) -> impl Iterator<Item = Result<(String, ObjectSpec), Failure>> {
    let named = |names: &'_ [String], spec: ObjectSpec| {
        names.iter().map(|name| Ok((name.clone(), spec.clone()))).collect::<Vec<_>>()
    };
    let queues =
        args.queue.iter().map(|Counted(name, capacity)| Ok((name.clone(), ObjectSpec::Queue(*capacity))));
    queues
        .chain(named(&args.dict, ObjectSpec::Dict))
        .chain(named(&args.list, ObjectSpec::List))
        .chain(named(&args.event, ObjectSpec::Event))
        .chain(named(&args.lock, ObjectSpec::Lock))
        .chain(args.value.iter().map(value))
        .chain(args.semaphore.iter().map(|counted| sized(counted, ObjectSpec::Semaphore)))
        .chain(args.barrier.iter().map(|counted| sized(counted, ObjectSpec::Barrier)))
        .chain(args.shared_array.iter().map(|counted| sized(counted, ObjectSpec::SharedArray)))
        .chain(args.broadcast.iter().map(broadcast))
}

fn value(Assigned(name, text): &Assigned) -> Result<(String, ObjectSpec), Failure> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| Failure::input(format!("the first value of `{name}` is no JSON: {error}")))?;
    Ok((name.clone(), ObjectSpec::Value(text.clone())))
}

fn sized<N: TryFrom<u64>>(
    Counted(name, number): &Counted,
    spec: impl FnOnce(N) -> ObjectSpec,
) -> Result<(String, ObjectSpec), Failure> {
    let number = number.unwrap_or(1);
    let number = N::try_from(number)
        .map_err(|_| Failure::input(format!("`{name}`: {number} is too large a number")))?;
    Ok((name.clone(), spec(number)))
}

fn broadcast(Assigned(name, path): &Assigned) -> Result<(String, ObjectSpec), Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::cannot_read(Path::new(path), error))?;
    Ok((name.clone(), ObjectSpec::Broadcast(bytes)))
}
