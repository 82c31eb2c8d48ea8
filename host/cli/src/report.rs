//! Everything that the command says to a person or writes for one: the only place that prints.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is what the other files leave printing to"
)]

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;
use wpool::{Completed, TaskError};

use crate::exit_code::{BAD_INPUT, Failure, SUCCESS};
use crate::target::Target;

/// Warnings of the library go to standard error; `WPOOL_LOG` says which more.
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

/// Help and version are no errors; anything else that clap says is bad usage.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // If nobody listens there is nobody to tell.
    let _unheard = error.print();
    ExitCode::from(if error.use_stderr() { BAD_INPUT } else { SUCCESS })
}

/// Says why a command could not do its work.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    let (red, plain) = if io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    eprintln!("{red}error:{plain} {}", escaped(&failure.message));
    for cause in &failure.causes {
        eprintln!("  caused by: {}", escaped(cause));
    }
    if let Some(hint) = &failure.hint {
        eprintln!("  hint: {hint}");
    }
    ExitCode::from(failure.code)
}

/// Says something beside the results.
pub(crate) fn note(message: &str) {
    eprintln!("{}", escaped(message));
}

/// Prints what was asked for. False if nobody listens any more.
pub(crate) fn print(text: &str) -> bool {
    io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_ok()
}

/// A text that somebody else wrote, without the power to move a terminal's cursor.
pub(crate) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control() || c == '\n' || c == '\t';
            let escaped = (!plain).then(|| c.escape_default());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// What happened to the tasks of a run, while it goes on and when it is over.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

impl Progress {
    /// With the number of tasks, if it is known. Only a terminal shows a bar.
    pub(crate) fn start(total: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() {
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
                // A line that cannot be written is one that nobody sees.
                let _unseen = write!(out, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        Self { bar, began: Instant::now(), succeeded: 0, failed: 0, cancelled: 0 }
    }

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

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Prints a line above the bar.
    pub(crate) fn above(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// The totals, for the report.
    fn totals(&self) -> serde_json::Value {
        json!({
            "succeeded": self.succeeded,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "seconds": self.began.elapsed().as_secs_f64(),
        })
    }

    /// One line on what happened.
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

/// Where the logs of tasks go.
pub(crate) enum Logs {
    Stderr,
    File(BufWriter<File>),
    Off,
}

impl Logs {
    pub(crate) fn open(place: &Path) -> io::Result<Self> {
        match place.to_str() {
            Some("stderr") => Ok(Self::Stderr),
            Some("off") => Ok(Self::Off),
            _ => File::create(place).map(|file| Self::File(BufWriter::new(file))),
        }
    }

    /// Writes one task's log, each line with the place of its input.
    pub(crate) fn write(&mut self, index: u64, completed: &Completed, progress: &Progress) -> io::Result<()> {
        if completed.log.is_empty() {
            return Ok(());
        }
        let text = completed.log.text();
        let mut lines: Vec<String> =
            text.lines().map(|line| format!("[{index}] {}", escaped(line))).collect();
        if completed.log.dropped() > 0 {
            lines.push(format!("[{index}] … {} bytes of log were dropped", completed.log.dropped()));
        }
        match self {
            Self::Off => Ok(()),
            Self::Stderr => {
                progress.above(&lines.join("\n"));
                Ok(())
            }
            Self::File(file) => lines.iter().try_for_each(|line| writeln!(file, "{line}")),
        }
    }

    /// Writes the log of the only task there is.
    pub(crate) fn write_plain(&mut self, completed: &Completed) -> io::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::Stderr => {
                completed.log.text().lines().for_each(note);
                Ok(())
            }
            Self::File(file) => {
                writeln!(file, "{}", escaped(completed.log.text().trim_end()))?;
                file.flush()
            }
        }
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::File(mut file) => file.flush(),
            Self::Stderr | Self::Off => Ok(()),
        }
    }
}

/// The file with each task's figures.
pub(crate) struct ReportFile {
    file: BufWriter<Target>,
    written: u64,
}

impl ReportFile {
    pub(crate) fn open(path: &Path, guest: &wpool::Guest, task: &str) -> io::Result<Self> {
        let mut file = BufWriter::new(Target::open(path)?);
        let identity = guest.identity().to_string();
        write!(file, "{{\"guest\":{},\"task\":{},\"tasks\":[", json!(identity), json!(task))?;
        Ok(Self { file, written: 0 })
    }

    pub(crate) fn write(
        &mut self,
        index: u64,
        completed: &Completed,
        outcome: &Result<(), TaskError>,
    ) -> io::Result<()> {
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
            "attempts": figures.attempts,
            "log_dropped": completed.log.dropped(),
        });
        let before = if self.written == 0 { "\n" } else { ",\n" };
        self.written += 1;
        write!(self.file, "{before}{line}")
    }

    pub(crate) fn finish(mut self, progress: &Progress) -> io::Result<()> {
        writeln!(self.file, "\n],\"totals\":{}}}", progress.totals())?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// Columns of text, each as wide as its widest cell.
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
