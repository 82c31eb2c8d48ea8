//! Resolves what was typed into the plan of a run, once; no function behind this file sees a flag.

pub(crate) mod files;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wpool::{ClockPolicy, Isolation, ObjectSpec, PipeMode, RandomPolicy};

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
use crate::values::{Assigned, Counted, Halt};
use crate::words::Words;

/// Everything that a run is.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub(crate) guest: GuestSource,
    pub(crate) objects: Objects,
    pub(crate) pool: PoolSettings,
    pub(crate) terms: TaskTerms,
    pub(crate) logs: LogSink,
    pub(crate) work: Work,
    /// Nothing is to run.
    pub(crate) dry: bool,
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
    /// The failures that end the run early.
    pub(crate) halt: Option<Halt>,
    /// Whether such an end kills the tasks that run.
    pub(crate) halts_now: bool,
    /// How often a failed task runs again.
    pub(crate) retry: u32,
    pub(crate) early_end: EarlyEnd,
    /// How long tasks may go on after the first signal; `None` is until they end.
    pub(crate) grace: Option<Duration>,
}

impl MapPlan {
    /// The files of the run beside its results, each with the flag that names it.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path)> {
        let inputs = self.inputs.files().into_iter().map(|path| ("the inputs", path));
        let written =
            [("--output", &self.sinks.output), ("--report", &self.sinks.report), ("--resume", &self.journal)];
        let written = written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?)));
        inputs.chain(written).collect()
    }
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
    pub(crate) sinks: SinkPlan,
}

impl RunPlan {
    /// Resolves the arguments. Reads the files of broadcasts, and looks at those of inputs.
    pub(crate) fn resolve(args: &RunArgs) -> Result<Self, Failure> {
        Ok(Self {
            work: Work::resolve(args)?,
            objects: objects(&args.objects)?,
            guest: GuestSource {
                init: args.init.clone(),
                quiet: args.quiet,
                ..GuestSource::from(&args.guest)
            },
            pool: PoolSettings::from(args),
            terms: TaskTerms::from(args),
            logs: log_sink(&args.logs),
            dry: args.dry_run,
        })
    }
}

impl Work {
    fn resolve(args: &RunArgs) -> Result<Self, Failure> {
        if let [task, arguments @ ..] = args.call.as_slice() {
            files::check_distinct(args, None)?;
            let (task, arguments) = (task.clone(), arguments.to_vec());
            return Ok(Self::Call(CallPlan { task, arguments, sinks: SinkPlan::from(args) }));
        }
        let inputs = inputs(args)?;
        files::check_distinct(args, Some(&inputs))?;
        Ok(Self::Map(MapPlan {
            inputs,
            task: args.task.clone(),
            sinks: SinkPlan::from(args),
            journal: args.resume.clone(),
            unordered: args.unordered,
            halt: args.halt.or_else(|| (args.on_error == OnError::Stop).then_some(Halt::FIRST)),
            retry: args.retry,
            halts_now: args.halt.is_some_and(|halt| halt.now)
                || EarlyEnd::from(&args.objects) == EarlyEnd::Kill,
            early_end: EarlyEnd::from(&args.objects),
            grace: args.grace.0,
        }))
    }
}

impl From<&GuestArgs> for GuestSource {
    fn from(args: &GuestArgs) -> Self {
        let GuestArgs { path, no_build, target, no_cache } = args;
        let (path, target) = (path.clone(), target.clone());
        Self { path, builds: !no_build, target, cached: !no_cache, init: None, quiet: false }
    }
}

fn inputs(args: &RunArgs) -> Result<Source, Failure> {
    let layout = match args.input_format {
        InputFormat::Auto => None,
        InputFormat::Json => Some(Layout::Array),
        InputFormat::Jsonl => Some(Layout::Lines),
        InputFormat::Text => Some(Layout::Text),
        InputFormat::Csv => Some(Layout::Csv),
    };
    match &args.map {
        None if !args.words.is_empty() => Words::parse(&args.words).map(Source::Words),
        None => Source::contents(&args.map_files, args.with_name),
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
        Self {
            output: args.output.clone(),
            format,
            results: args.results.clone(),
            report: args.report.clone(),
            quiet: args.quiet,
        }
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
        let ObjectArgs { queue, semaphore, bounded_semaphore, barrier, .. } = args;
        let ObjectArgs { dict, list, event, lock, rlock, condition, namespace, pipe, .. } = args;
        let counted = [queue, semaphore, bounded_semaphore, barrier].into_iter().any(|all| !all.is_empty());
        let named = [dict, list, event, lock, rlock, condition, namespace, pipe];
        let named = named.into_iter().any(|all| !all.is_empty());
        if counted || named || !args.value.is_empty() || !args.array.is_empty() {
            Self::Kill
        } else {
            Self::Finish
        }
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
        .chain(named(&args.rlock, ObjectSpec::RLock))
        .chain(named(&args.condition, ObjectSpec::Condition))
        .chain(named(&args.namespace, ObjectSpec::Namespace))
        .chain(named(&args.pipe, ObjectSpec::Pipe(PipeMode::Duplex)))
        .chain(args.value.iter().map(value))
        .chain(args.array.iter().map(array))
        .chain(args.semaphore.iter().map(|counted| sized(counted, ObjectSpec::Semaphore)))
        .chain(args.bounded_semaphore.iter().map(|counted| sized(counted, ObjectSpec::BoundedSemaphore)))
        .chain(args.barrier.iter().map(|counted| sized(counted, ObjectSpec::Barrier)))
        .chain(args.shared_array.iter().map(|counted| sized(counted, ObjectSpec::SharedArray)))
        .chain(args.broadcast.iter().map(broadcast))
}

fn value(Assigned(name, text): &Assigned) -> Result<(String, ObjectSpec), Failure> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| Failure::input(format!("the first value of `{name}` is no JSON: {error}")))?;
    Ok((name.clone(), ObjectSpec::Value(text.clone())))
}

fn array(Assigned(name, text): &Assigned) -> Result<(String, ObjectSpec), Failure> {
    serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).map_err(|error| {
        Failure::input(format!("the first values of `{name}` are no JSON array: {error}"))
    })?;
    Ok((name.clone(), ObjectSpec::Array(text.clone())))
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
