//! The open sinks of a map: everything that a result is written to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wpool::{Completed, Guest, Signature, TaskError};

use crate::exit_code::Failure;
use crate::logs::{LogSink, Logs};
use crate::output::{Format, Output};
use crate::report::{self, Progress, ReportFile};
use crate::results_dir::ResultsDir;
use crate::source::Source;

/// The longest time that a result waits for others before a reader gets it.
const MAX_DELAY: Duration = Duration::from_millis(50);

/// Where the results of a map go.
#[derive(Debug, PartialEq)]
pub(crate) struct SinkPlan {
    /// The file of the results; `None` for standard output.
    pub(crate) output: Option<PathBuf>,
    pub(crate) format: Format,
    /// The folder with a file for each result, if any. Without an `output` it takes the place of standard output.
    pub(crate) results: Option<PathBuf>,
    /// The file of the tasks' figures, if any.
    pub(crate) report: Option<PathBuf>,
    /// Whether there is neither progress nor a summary.
    pub(crate) quiet: bool,
}

/// The reason why a map writes no more results.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The reader of the output has closed it, which is no failure.
    ReaderGone,
    Failed(Failure),
}

/// A task's outcome as it was written: an error also if the value is not what the description promises.
pub(crate) type Outcome = Result<(), TaskError>;

/// The sinks of a map.
pub(crate) struct Sinks<'a> {
    signature: &'a Signature,
    /// The output's name in messages.
    name: &'a Path,
    output: Output,
    logs: Logs,
    report: Option<ReportFile<'a>>,
    progress: Progress,
    results: Option<ResultsDir<'a>>,
    quiet: bool,
    /// Whether another process may read the results as they come.
    is_followed: bool,
    /// When the first result was written that its reader may not have.
    behind_since: Option<Instant>,
}

impl<'a> Sinks<'a> {
    /// Opens everything. `total` is the number of inputs, if it is known.
    pub(crate) fn open(
        plan: &'a SinkPlan,
        logs: &LogSink,
        guest: &Guest,
        signature: &'a Signature,
        source: &'a Source,
        total: Option<u64>,
    ) -> Result<Self, Failure> {
        let name = plan.output.as_deref().unwrap_or_else(|| Path::new("standard output"));
        let nowhere = plan.results.is_some() && plan.output.is_none();
        let output = if nowhere {
            Ok(Output::nowhere(plan.format))
        } else {
            Output::open(plan.output.as_deref(), plan.format)
        };
        let output = output.map_err(|error| Failure::cannot_write(name, error))?;
        let progress = Progress::start(total, plan.quiet);
        let results = plan.results.as_deref().map(|folder| ResultsDir::open(folder, source)).transpose()?;
        Ok(Self {
            signature,
            name,
            is_followed: output.is_followed(),
            output,
            logs: Logs::open(logs, true, progress.screen())?,
            report: plan
                .report
                .as_deref()
                .map(|path| ReportFile::open(path, guest, signature.name()))
                .transpose()?,
            progress,
            results,
            quiet: plan.quiet,
            behind_since: None,
        })
    }

    /// The logs, which can be followed.
    pub(crate) fn logs(&mut self) -> &mut Logs {
        &mut self.logs
    }

    /// Writes the result of the input `index`, of which the map's task is the `nth`, its log and its figures.
    pub(crate) fn write(
        &mut self,
        nth: u64,
        index: u64,
        completed: &Completed,
    ) -> Result<Outcome, WriteError> {
        let outcome = self.write_value(index, completed.result.as_deref())?;
        self.logs.end(nth, &completed.log)?;
        if let Some(report) = &mut self.report {
            report.write(index, completed, &outcome)?;
        }
        Ok(outcome)
    }

    /// Writes the value of an input from an earlier run, which has neither a log nor figures.
    pub(crate) fn write_resumed(&mut self, index: u64, value: &[u8]) -> Result<(), WriteError> {
        self.write_value(index, Ok(value)).map(drop)
    }

    /// Writes the entry of an input that was not taken. It has no task, so it counts neither as done nor as failed.
    pub(crate) fn write_not_taken(&mut self, index: u64, error: &TaskError) -> Result<(), WriteError> {
        self.write_and_flush(index, Err(error)).map(drop).map_err(|error| self.cannot_write(error))?;
        if let Some(results) = &self.results {
            results.write(index, self.output.last_element())?;
        }
        Ok(())
    }

    /// Counts inputs of which no task was made.
    pub(crate) fn not_taken(&mut self, inputs: u64) {
        self.progress.not_taken(inputs);
    }

    /// Keeps what was written, as far as that is possible, when the run cannot go on.
    pub(crate) fn give_up(self) {
        self.progress.clear();
        if let Ok(Some(partial)) = self.output.finish(false) {
            report::note(&format!("what was done is in {}", partial.display()));
        }
        // The failure that ends the run is reported, and not what follows from it.
        let _lost = self.report.map(|report| report.finish(&self.progress));
    }

    /// The number of tasks that have failed, and of all that have ended.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.progress.counts()
    }

    /// Counts a task that was cancelled. In an array of results in the order of the inputs it keeps its place.
    pub(crate) fn cancelled(&mut self, keeps_place: bool) {
        self.progress.ended(&Err(TaskError::Cancelled));
        if keeps_place {
            self.output.cancelled();
        }
    }

    fn write_value(&mut self, index: u64, result: Result<&[u8], &TaskError>) -> Result<Outcome, WriteError> {
        match self.write_and_flush(index, result) {
            Ok(outcome) => {
                if let Some(results) = &self.results {
                    results.write(index, self.output.last_element())?;
                }
                self.progress.ended(&outcome);
                Ok(outcome)
            }
            Err(error) => Err(self.cannot_write(error)),
        }
    }

    fn cannot_write(&self, error: io::Error) -> WriteError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => WriteError::ReaderGone,
            _ => Failure::cannot_write(self.name, error).into(),
        }
    }

    /// Whether a reader may not have everything that was written.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// Passes everything that was written on to its reader.
    pub(crate) fn catch_up(&mut self) -> Result<(), WriteError> {
        if self.behind_since.take().is_some() {
            self.output.flush().map_err(|error| self.cannot_write(error))?;
        }
        Ok(())
    }

    /// The descriptor that a reader may be at the other end of.
    pub(crate) fn reader(&self) -> Option<OwnedFd> {
        self.output.descriptor()
    }

    fn write_and_flush(&mut self, index: u64, result: Result<&[u8], &TaskError>) -> io::Result<Outcome> {
        let outcome = self.output.write(index, result, self.signature)?;
        if self.is_followed {
            let now = Instant::now();
            if now.duration_since(*self.behind_since.get_or_insert(now)) >= MAX_DELAY {
                self.behind_since = None;
                self.output.flush()?;
            }
        }
        Ok(outcome)
    }

    /// Ends all files, and prints the summary. Returns the number of tasks that have failed.
    pub(crate) fn finish(self, whole: bool) -> Result<u64, Failure> {
        self.progress.clear();
        let partial = self.output.finish(whole).map_err(|error| Failure::cannot_write(self.name, error))?;
        self.logs.finish()?;
        if let Some(report) = self.report {
            report.finish(&self.progress)?;
        }
        if !self.quiet {
            report::note(&self.progress.summary());
        }
        if let Some(partial) = partial {
            report::note(&format!("what was done is in {}", partial.display()));
        }
        Ok(self.progress.failed())
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
