//! `wpool run --call`: calls a task once, and prints its value.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use wpool::{Completed, Guest, JsonError, Signature, TaskFuture, Undecoded};

use crate::dry_run;
use crate::exit_code::{Done, Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::guest::{choose_task, signature};
use crate::interrupt::Interrupt;
use crate::logs::Logs;
use crate::output::{Format, Output};
use crate::plan::{CallPlan, RunPlan};
use crate::reader_watch::ReaderWatch;
use crate::report::{Progress, ReportFile, Screen};
use crate::sinks::{Outcome, SinkPlan};
use crate::source::DECLARE;
use crate::words::word_as_json;

/// How often the log of the task is looked at.
const LOG_PERIOD: Duration = Duration::from_millis(25);

/// Calls the task once, and prints its value.
pub(crate) fn call(plan: &RunPlan, call: &CallPlan, interrupt: &Interrupt) -> Done {
    let guest = plan.guest.load()?;
    let signature = choose_task(&guest, Some(&call.task))?.clone();
    let text = arguments_as_json(&signature, &call.arguments)?;
    plan.objects.named.check(&signature, text.as_bytes()).map_err(misfit)?;
    if plan.dry {
        return dry_run::show(plan, &guest, &signature, &format!("one call, with {text}"), &call.sinks);
    }
    let sinks = CallSinks::open(&call.sinks, &guest, &signature)?;
    let pool = plan.pool.start(guest)?;
    let logs = Logs::open(&plan.logs, false, Screen::default())?;
    let objects = plan.objects.start(&pool.manager())?;
    let arguments = plan.objects.named.arguments(&signature, text.as_bytes()).map_err(misfit)?;
    // The one task is the whole run.
    let task = plan.terms.task(&pool, &call.task)?.total_timeout(plan.terms.deadline);
    let future = task.submit(arguments).map_err(Failure::input)?;
    let watch = interrupt.on_first({
        let future = future.clone();
        move || future.kill()
    });
    let watch = watch.map_err(Failure::start)?;
    let reader = ReaderWatch::start(sinks.output.descriptor(), {
        let future = future.clone();
        move || future.kill()
    });
    let reader = reader.map_err(Failure::start)?;
    let completed = follow(&future, &logs);
    let is_unread = reader.is_gone();
    drop((watch, reader));
    let written = objects.finish();
    logs.end(0, &completed.log)?;
    logs.finish()?;
    if interrupt.requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if is_unread {
        return Ok(ExitCode::from(SUCCESS));
    }
    let outcome = sinks.write(&completed, &signature)?;
    written?;
    match outcome {
        Ok(()) => Ok(ExitCode::from(SUCCESS)),
        Err(error) => Err(Failure::new(SOME_FAILED, format!("`{}` failed: {error}", call.task))),
    }
}

/// The open sinks of a call.
struct CallSinks<'a> {
    output: Output,
    /// The output's name in messages.
    name: &'a Path,
    /// A line tells of a failure, too. Of a value alone there is none then, and a file stays as it was.
    tells_failures: bool,
    report: Option<ReportFile<'a>>,
}

impl<'a> CallSinks<'a> {
    fn open(plan: &'a SinkPlan, guest: &Guest, signature: &Signature) -> Result<Self, Failure> {
        let name = plan.output.as_deref().unwrap_or_else(|| Path::new("standard output"));
        let tells_failures = plan.format == Format::Jsonl;
        let format = if tells_failures { Format::Jsonl } else { Format::Value };
        let output = Output::open(plan.output.as_deref(), format);
        let report = plan.report.as_deref().map(|path| ReportFile::open(path, guest, signature.name()));
        Ok(Self {
            output: output.map_err(|error| Failure::cannot_write(name, error))?,
            name,
            tells_failures,
            report: report.transpose()?,
        })
    }

    /// Writes the value or the error. Returns the outcome as it was written.
    fn write(mut self, completed: &Completed, signature: &Signature) -> Result<Outcome, Failure> {
        let write = |output: &mut Output| output.write(0, completed.result.as_deref(), signature);
        let ended = match write(&mut self.output) {
            Ok(Err(error)) if !self.tells_failures => Ok(Err(error)),
            Ok(outcome) => self.output.finish(true).map(|_| outcome),
            Err(error) => Err(error),
        };
        let outcome = match ended {
            // A reader that has left is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            ended => ended.map_err(|error| Failure::cannot_write(self.name, error))?,
        };
        if let Some(mut report) = self.report {
            let mut progress = Progress::start(Some(1), true);
            progress.ended(&outcome);
            report.write(0, completed, &outcome)?;
            report.finish(&progress)?;
        }
        Ok(outcome)
    }
}

/// Waits for the end of the task. Meanwhile its log is written.
fn follow(future: &TaskFuture<Undecoded>, logs: &Logs) -> Arc<Completed> {
    loop {
        if let Ok(completed) = future.completed_timeout(LOG_PERIOD) {
            return completed;
        }
        if let Some(log) = future.log() {
            logs.part(0, 0, log.bytes());
        }
    }
}

/// Returns the arguments as the JSON of one input. Each word is JSON, or a string as it stands.
fn arguments_as_json(signature: &Signature, words: &[String]) -> Result<String, Failure> {
    let types: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    if types.len() != words.len() {
        let arguments = if types.len() == 1 { "argument" } else { "arguments" };
        return Err(Failure::input(format!(
            "`{}` takes {} {arguments}, got {}",
            self::signature(signature),
            types.len(),
            words.len()
        )));
    }
    let values: Vec<String> = types.iter().zip(words).map(|(ty, word)| word_as_json(ty, word)).collect();
    Ok(match values.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(",")),
    })
}

fn misfit(error: JsonError) -> Failure {
    let at = if error.path.is_empty() { "" } else { " at " };
    let failure = Failure::input(format!("the arguments do not fit{at}{}: {}", error.path, error.message));
    if error.unknown_object { failure.hint(DECLARE) } else { failure }
}
