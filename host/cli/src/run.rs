//! `wpool run`: maps a task over inputs and writes what comes out, or calls it once.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use wpool::{Completed, Guest, JsonError, Pool, RawMap, RawTask, Signature, SubTasks, TaskError};

use crate::args::{Format, OnError, RunArgs};
use crate::exit_code::{BAD_INPUT, Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::journal::Journal;
use crate::objects::{Objects, check_files};
use crate::output::Output;
use crate::report::{Logs, Progress, ReportFile};
use crate::resume::{Resume, Resumed};
use crate::source::{DECLARE, Input, InputEnd, Reading, Source, inputs};
use crate::{Done, build, inspect, interrupt, report};

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Done {
    interrupt::listen().map_err(|error| Failure::start(&error))?;
    if let [task, arguments @ ..] = args.call.as_slice() {
        return call(args, task, arguments);
    }
    // What was typed is checked before anything is built or started.
    let source = Source::find(args)?;
    check_files(args)?;
    let objects = Objects::declare(&args.objects)?;
    let guest = load(args)?;
    let task = choose_task(&guest, args.task.as_deref())?.to_owned();
    let signature = guest.task(&task).map_err(Failure::input)?.clone();
    let total = source.check(Reading { signature: &signature, objects: &objects.named })?;
    let journal = open_journal(args, &guest, &task)?;
    let pool = start_pool(args, guest)?;
    let raw = task_of(&pool, &task, args)?;
    if interrupt::requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let objects = objects.start(&pool.manager())?;
    let reading = Reading { signature: &signature, objects: &objects.named };
    let (pool, shares) = (Arc::new(pool), args.objects.are_declared());
    let end_early = {
        let pool = Arc::clone(&pool);
        // Who waits at an object may wait for ever, so what has begun is not waited for.
        move || {
            if shares {
                pool.terminate();
            }
        }
    };
    let outcome = map(args, &source, &raw, reading, total, Resume::new(journal), &Arc::new(end_early));
    // What is still running has nobody who waits for it, but may wait for others.
    pool.terminate();
    let written = objects.finish();
    let code = outcome?;
    written?;
    Ok(code)
}

/// The guest, with the argument of its initializer.
fn load(args: &RunArgs) -> Result<Guest, Failure> {
    let guest = build::load(&args.guest)?;
    let Some(init) = &args.init else { return Ok(guest) };
    let path = Path::new(init);
    let text = match path.is_file() {
        true => std::fs::read(path)
            .map_err(|error| Failure::input(format!("cannot read `{}`: {error}", path.display())))?,
        false => init.clone().into_bytes(),
    };
    guest
        .initialized_from_json(&text)
        .map_err(|error| Failure::input(error).hint("run `wpool inspect GUEST` to see what it takes"))
}

/// Calls a task once, and prints its value.
fn call(args: &RunArgs, task: &str, arguments: &[String]) -> Done {
    let objects = Objects::declare(&args.objects)?;
    let guest = load(args)?;
    let signature = guest.task(choose_task(&guest, Some(task))?).map_err(Failure::input)?.clone();
    let text = typed_arguments(&signature, arguments)?;
    let misfit = |error: JsonError| {
        let place = if error.path.is_empty() { "" } else { " at " };
        let failure =
            Failure::input(format!("the arguments do not fit{place}{}: {}", error.path, error.message));
        if error.unknown_object { failure.hint(DECLARE) } else { failure }
    };
    objects.named.check(&signature, text.as_bytes()).map_err(misfit)?;
    let pool = start_pool(args, guest)?;
    let objects = objects.start(&pool.manager())?;
    let arguments = objects.named.arguments(&signature, text.as_bytes()).map_err(misfit)?;
    let future = task_of(&pool, task, args)?.submit(arguments).map_err(Failure::input)?;
    interrupt::ends(future.clone());
    let completed = future.completed();
    let written = objects.finish();
    let mut logs = Logs::open(&args.logs).map_err(|error| Failure::cannot_write(&args.logs, &error))?;
    logs.write_plain(&completed).map_err(|error| Failure::cannot_write(&args.logs, &error))?;
    if interrupt::requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let mut text = Vec::new();
    let shown = completed.result.clone().and_then(|bytes| {
        let bad = |error: wpool::ValueError| TaskError::BadResult { message: error.to_string() };
        signature.value_to_json(&bytes, &mut text).map_err(bad)
    });
    match shown {
        Ok(()) => {
            text.push(b'\n');
            report::print(&String::from_utf8_lossy(&text));
            written?;
            Ok(ExitCode::from(SUCCESS))
        }
        Err(error) => {
            Err(Failure { code: SOME_FAILED, ..Failure::input(format!("`{task}` failed: {error}")) })
        }
    }
}

/// The arguments of a call, one word each: JSON, or a text as it is where the task takes one.
fn typed_arguments(signature: &Signature, words: &[String]) -> Result<String, Failure> {
    let types: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    if types.len() != words.len() {
        let shown = inspect::signature(signature);
        return Err(Failure::input(format!(
            "`{shown}` takes {} arguments, got {}",
            types.len(),
            words.len()
        )));
    }
    let values: Vec<String> = types
        .iter()
        .zip(words)
        .map(|(ty, word)| {
            let is_text = ty == "string" && serde_json::from_str::<String>(word).is_err();
            // What is a word and no JSON can only be a text, such as an object's name.
            let is_word = word.starts_with(|first: char| first.is_alphabetic() || first == '_')
                && serde_json::from_str::<serde::de::IgnoredAny>(word).is_err();
            if is_text || is_word { serde_json::Value::from(word.as_str()).to_string() } else { word.clone() }
        })
        .collect();
    Ok(match values.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(",")),
    })
}

fn choose_task<'g>(guest: &'g Guest, wanted: Option<&str>) -> Result<&'g str, Failure> {
    if let Some(name) = wanted {
        return guest
            .task(name)
            .map(Signature::name)
            .map_err(|error| Failure::input(error).hint("run `wpool inspect GUEST` to see its tasks"));
    }
    match guest.tasks() {
        [only] => Ok(only.name()),
        [] => Err(Failure::input("the guest has no tasks").hint("mark a function with #[wpool_guest::task]")),
        several => {
            let names: Vec<String> =
                several.iter().map(|task| format!("  {}", inspect::signature(task))).collect();
            Err(Failure::input(format!("the guest has {} tasks:\n{}", several.len(), names.join("\n")))
                .hint("choose one with --task NAME"))
        }
    }
}

fn start_pool(args: &RunArgs, guest: Guest) -> Result<Pool, Failure> {
    let mut builder = Pool::builder(guest)
        .timeout(args.timeout.0)
        .memory(args.memory.0)
        .fuel(args.fuel)
        .max_result(args.max_result)
        .max_log(args.max_log)
        .isolation(args.isolation.into())
        .retries(args.retries)
        .max_tasks_per_worker(args.max_tasks_per_worker)
        .shared_memory(u64::MAX)
        .sub_tasks((args.sub_tasks > 0).then(|| SubTasks { depth: args.sub_tasks, ..SubTasks::default() }));
    if let Some(workers) = args.workers {
        builder = builder.workers(workers);
    }
    builder.build().map_err(|error| match error {
        wpool::BuildError::Setting(_) => Failure::input(error),
        wpool::BuildError::InitArgument { .. } => Failure::input(error).hint("give it with --init"),
        error => Failure::start(&error),
    })
}

fn task_of(pool: &Pool, name: &str, args: &RunArgs) -> Result<RawTask, Failure> {
    let task = pool.raw_task(name).map_err(Failure::input)?;
    Ok(task.queue_timeout(args.queue_timeout.0).map_timeout(args.deadline.0).priority(args.priority))
}

/// The journal of a run that may be resumed. What an entry is worth depends on the guest, the task and the limits.
fn open_journal(args: &RunArgs, guest: &Guest, task: &str) -> Result<Option<Journal>, Failure> {
    let Some(path) = &args.resume else { return Ok(None) };
    let limits = (&args.timeout, &args.memory, args.fuel, args.max_result, args.isolation, args.sub_tasks);
    let context = format!("{} {task} {limits:?}", guest.identity());
    let journal = Journal::open(path, context.as_bytes());
    journal
        .map(Some)
        .map_err(|error| Failure::input(format!("cannot resume from `{}`: {error}", path.display())))
}

/// Everything that results are written to.
struct Sinks<'a> {
    args: &'a RunArgs,
    signature: &'a Signature,
    target: &'a Path,
    output: Output,
    logs: Logs,
    figures: Option<(ReportFile, PathBuf)>,
    progress: Progress,
    /// Whether somebody may be looking at each line.
    streaming: bool,
}

impl<'a> Sinks<'a> {
    fn open(
        args: &'a RunArgs,
        source: &Source,
        raw: &RawTask,
        signature: &'a Signature,
        total: Option<u64>,
    ) -> Result<Self, Failure> {
        let target = args.output.as_deref().unwrap_or_else(|| Path::new("standard output"));
        let output = Output::open(args.output.as_deref(), args.format);
        let figures = args.report.as_ref().map(|path| {
            let file = ReportFile::open(path, raw.guest(), signature.name());
            file.map(|file| (file, path.clone())).map_err(|error| Failure::cannot_write(path, &error))
        });
        Ok(Self {
            args,
            signature,
            target,
            output: output.map_err(|error| Failure::cannot_write(target, &error))?,
            logs: Logs::open(&args.logs).map_err(|error| Failure::cannot_write(&args.logs, &error))?,
            figures: figures.transpose()?,
            progress: Progress::start(total),
            streaming: matches!(source, Source::Stream { .. }) && args.format == Format::Jsonl,
        })
    }

    /// Writes one result. None if whoever read the results has seen enough.
    fn write(&mut self, index: u64, completed: &Completed) -> Result<Option<Result<(), TaskError>>, Failure> {
        let result = completed.result.as_deref();
        let Some(outcome) = self.write_value(index, result)? else { return Ok(None) };
        self.logs
            .write(index, completed, &self.progress)
            .map_err(|error| Failure::cannot_write(&self.args.logs, &error))?;
        if let Some((figures, path)) = &mut self.figures {
            figures.write(index, completed, &outcome).map_err(|error| Failure::cannot_write(path, &error))?;
        }
        Ok(Some(outcome))
    }

    /// Writes one result and nothing beside it.
    fn write_value(
        &mut self,
        index: u64,
        result: Result<&[u8], &TaskError>,
    ) -> Result<Option<Result<(), TaskError>>, Failure> {
        let written = self.output.write(index, result, self.signature);
        let flushed = written.and_then(|outcome| {
            if self.streaming {
                self.output.flush()?;
            }
            Ok(outcome)
        });
        match flushed {
            Ok(outcome) => {
                self.progress.ended(&outcome);
                Ok(Some(outcome))
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(Failure::cannot_write(self.target, &error)),
        }
    }

    /// Ends all files, and says on standard error what has happened.
    fn finish(self, whole: bool) -> Result<Progress, Failure> {
        self.progress.clear();
        let partial =
            self.output.finish(whole).map_err(|error| Failure::cannot_write(self.target, &error))?;
        self.logs.finish().map_err(|error| Failure::cannot_write(&self.args.logs, &error))?;
        if let Some((figures, path)) = self.figures {
            figures.finish(&self.progress).map_err(|error| Failure::cannot_write(&path, &error))?;
        }
        report::note(&self.progress.summary());
        if let Some(partial) = partial {
            report::note(&format!("what was done is in {}", partial.display()));
        }
        Ok(self.progress)
    }
}

/// Maps the task over the inputs, and writes everything that comes out.
fn map(
    args: &RunArgs,
    source: &Source,
    raw: &RawTask,
    reading: Reading<'_>,
    total: Option<u64>,
    resume: Resume,
    end_early: &Arc<impl Fn() + Send + Sync + 'static>,
) -> Done {
    let mut sinks = Sinks::open(args, source, raw, reading.signature, total)?;
    let end = RefCell::new(InputEnd::default());
    let (stopped, resume) = (Cell::new(false), RefCell::new(resume));
    let inputs = inputs(source, reading, &end)?.take_while(|_| !interrupt::requested() && !stopped.get());
    let inputs = inputs.filter(|input: &Input| resume.borrow_mut().is_to_run(input));
    let mut results: RawMap<_> = if args.unordered { raw.imap_unordered(inputs) } else { raw.map(inputs) };
    let stop = {
        let (canceller, end_early) = (results.canceller(), Arc::clone(end_early));
        move || {
            canceller.cancel();
            end_early();
        }
    };
    interrupt::stops(stop.clone());
    let mut cut_short = false;
    for (nth, completed) in results.by_ref() {
        let (index, before) =
            resume.borrow_mut().ended(nth, &completed).map_err(|error| resume_failed(args, &error))?;
        if !write_resumed(&mut sinks, &before)? {
            return Ok(ExitCode::from(SUCCESS));
        }
        if matches!(completed.result, Err(TaskError::Cancelled)) {
            cut_short = true;
            sinks.progress.ended(&Err(TaskError::Cancelled));
            continue;
        }
        let Some(outcome) = sinks.write(index, &completed)? else { return Ok(ExitCode::from(SUCCESS)) };
        if outcome.is_err() && args.on_error == OnError::Stop && !stopped.replace(true) {
            stop();
        }
    }
    drop(results);
    let rest = resume.into_inner().finish().map_err(|error| resume_failed(args, &error))?;
    if !write_resumed(&mut sinks, &rest)? {
        return Ok(ExitCode::from(SUCCESS));
    }
    let end = end.into_inner();
    let interrupted = interrupt::requested();
    let whole = !interrupted && !cut_short && !end.changed && end.damaged.is_none();
    let progress = sinks.finish(whole || (stopped.get() && !interrupted))?;
    if interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    input_was_whole(args, end)?;
    Ok(ExitCode::from(if progress.failed() > 0 { SOME_FAILED } else { SUCCESS }))
}

fn resume_failed(args: &RunArgs, error: &io::Error) -> Failure {
    Failure::cannot_write(args.resume.as_deref().unwrap_or_else(|| Path::new("the journal")), error)
}

/// Writes results that an earlier run had. False if nobody reads them any more.
fn write_resumed(sinks: &mut Sinks<'_>, resumed: &[Resumed]) -> Result<bool, Failure> {
    for (index, value) in resumed {
        if sinks.write_value(*index, Ok(value))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An error if the input has ended before its end.
fn input_was_whole(args: &RunArgs, end: InputEnd) -> Result<(), Failure> {
    if end.changed {
        let path = args.map.clone().unwrap_or_default();
        return Err(Failure::input(format!("`{}` changed while it was read", path.display())));
    }
    let Some(message) = end.damaged else { return Ok(()) };
    let stdin = Path::new("standard input");
    let name = args.map.as_deref().filter(|path| *path != Path::new("-")).unwrap_or(stdin);
    Err(Failure { code: BAD_INPUT, ..Failure::input(format!("{}:{message}", name.display())) })
}
