//! Messages, progress, logs and reports: the only file of the command that prints.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;
use wpool::{Completed, TaskError};

use crate::exit_code::{BAD_INPUT, Failure, SUCCESS};
use crate::target::Target;

/// Sends the warnings of the library to standard error; `WPOOL_LOG` is a filter that replaces this default.
pub(crate) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WPOOL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}

/// Prints a message of clap. Help and version are no errors; all others are bad usage.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // If the stream is closed, the message cannot be shown elsewhere.
    let _unread = error.print();
    ExitCode::from(if error.use_stderr() { BAD_INPUT } else { SUCCESS })
}

/// Prints a failure with its causes and its hint. Returns its exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    let (red, plain) = if io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    say(&format!("{red}error:{plain} {}", escaped(&failure.to_string())));
    for cause in failure.causes() {
        say(&format!("  caused by: {}", escaped(&cause.to_string())));
    }
    if let Some(hint) = &failure.hint {
        say(&format!("  hint: {hint}"));
    }
    ExitCode::from(failure.code)
}

/// Prints a line to standard error.
pub(crate) fn note(message: &str) {
    say(&escaped(message));
}

/// Prints a line to standard error. A message that nobody can read costs the run nothing else.
fn say(line: &str) {
    let _unread = writeln!(io::stderr().lock(), "{line}");
}

/// Prints the text that a command was asked for. A reader that has left is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::cannot_write(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}

/// Escapes control characters in a text from outside, so that it cannot move a terminal's cursor.
pub(crate) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control() || c == '\n' || c == '\t';
            let escaped = (!plain).then(|| c.escape_default());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// Standard error, where lines are printed above the progress bar if there is one.
#[derive(Debug, Default)]
pub(crate) struct Screen(Option<ProgressBar>);

impl Screen {
    /// Prints a line.
    pub(crate) fn above(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

/// The progress bar of a run, and how many of its tasks have ended in which way.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

impl Progress {
    /// Starts with the number of tasks, `None` if it is unknown. Only a terminal shows a bar.
    pub(crate) fn start(total: Option<u64>, quiet: bool) -> Self {
        let target = if !quiet && io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{bar:40.cyan/blue} {human_pos}/{human_len}  {rate}  {eta} left  {msg:.red}",
            None => "{spinner:.cyan} {human_pos}  {rate}  {msg:.red}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                // This writes to a buffer, which does not fail.
                let _written = write!(out, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        Self { bar, began: Instant::now(), succeeded: 0, failed: 0, cancelled: 0 }
    }

    /// Counts a task that has ended.
    pub(crate) fn ended(&mut self, outcome: &Result<(), TaskError>) {
        match outcome {
            Ok(()) => self.succeeded += 1,
            Err(TaskError::Cancelled) => self.cancelled += 1,
            Err(_) => {
                self.failed += 1;
                self.bar.set_message(format!("{} failed", self.failed));
            }
        }
        self.bar.inc(1);
    }

    /// Returns the number of tasks that have failed, and of all that have ended.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.failed, self.succeeded + self.failed)
    }

    /// Returns the number of tasks that have failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// The place for lines above the bar.
    pub(crate) fn screen(&self) -> Screen {
        Screen(Some(self.bar.clone()))
    }

    /// Returns the totals for the report.
    fn totals(&self) -> serde_json::Value {
        json!({
            "succeeded": self.succeeded,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "seconds": self.began.elapsed().as_secs_f64(),
        })
    }

    /// Counts inputs of which no task was made.
    pub(crate) fn not_taken(&mut self, inputs: u64) {
        self.cancelled += inputs;
    }

    /// Returns the line that is printed at the end.
    pub(crate) fn summary(&self) -> String {
        let (seconds, ended) = (self.began.elapsed().as_secs_f64(), self.succeeded + self.failed);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = ended as f64 / seconds.max(1e-9);
        let tasks = if ended == 1 { "task" } else { "tasks" };
        let mut line = format!("{ended} {tasks} in {} ({rate:.0}/s): {} ok", time(seconds), self.succeeded);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        if self.cancelled > 0 {
            line += &format!(", {} not run", self.cancelled);
        }
        line
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// The file with each task's figures.
pub(crate) struct ReportFile<'a> {
    path: &'a Path,
    file: BufWriter<Target>,
    written: u64,
}

impl<'a> ReportFile<'a> {
    pub(crate) fn open(path: &'a Path, guest: &wpool::Guest, task: &str) -> Result<Self, Failure> {
        let unwritable = |error| Failure::cannot_write(path, error);
        let mut file = BufWriter::new(Target::open(path).map_err(unwritable)?);
        let identity = guest.identity().to_string();
        write!(file, "{{\"guest\":{},\"task\":{},\"tasks\":[", json!(identity), json!(task))
            .map_err(unwritable)?;
        Ok(Self { path, file, written: 0 })
    }

    /// Writes the figures of the task of one input.
    pub(crate) fn write(
        &mut self,
        index: u64,
        completed: &Completed,
        outcome: &Result<(), TaskError>,
    ) -> Result<(), Failure> {
        let figures = &completed.figures;
        let line = json!({
            "index": index,
            "outcome": outcome.as_ref().err().map_or("ok", TaskError::kind),
            "queued_us": micros(figures.queued),
            "run_us": micros(figures.run),
            "total_us": micros(figures.total),
            "peak_memory": figures.peak_memory,
            "fuel": figures.fuel,
            "worker": figures.worker.map(|worker| worker.to_string()),
            "pid": figures.pid,
            "attempts": figures.attempts,
            "log_dropped": completed.log.dropped(),
        });
        let before = if self.written == 0 { "\n" } else { ",\n" };
        self.written += 1;
        write!(self.file, "{before}{line}").map_err(|error| Failure::cannot_write(self.path, error))
    }

    /// Ends the file with the totals, and renames it to its path.
    pub(crate) fn finish(self, progress: &Progress) -> Result<(), Failure> {
        let Self { path, mut file, .. } = self;
        let end = || {
            writeln!(file, "\n],\"totals\":{}}}", progress.totals())?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
        };
        end().map_err(|error| Failure::cannot_write(path, error))
    }
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// Formats rows as columns, each as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Formats a size for people.
pub(crate) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let bytes_f = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes_f / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes_f / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes_f / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_cannot_move_the_cursor() {
        assert_eq!(escaped("a\tb\x1b[2Jc\r\0"), "a\tb\\u{1b}[2Jc\\r\\u{0}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }
}
