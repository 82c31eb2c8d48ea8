//! The logs of tasks: lines are shown as they are written, each with the index of its task's input.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wpool::{LogPart, LogReader, TaskLog};

use crate::exit_code::Failure;
use crate::report::{Screen, escaped};
use crate::target::Target;

/// How often a reader of logs looks whether the run has ended, and how old a line in a file's buffer gets.
const PERIOD: Duration = Duration::from_millis(50);

/// Where the logs of tasks go.
#[derive(Debug, PartialEq)]
pub(crate) enum LogSink {
    Stderr,
    File(PathBuf),
    Off,
}

/// The open logs.
pub(crate) struct Logs {
    /// The file's path, for messages.
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    reader: Option<LogReader>,
}

/// Writes logs to their sink. A part of a log and its end are written under one lock, so that no line comes twice.
struct Writer {
    sink: Sink,
    /// Whether lines begin with the index of the task's input.
    indexed: bool,
    /// The logs of running tasks of which something was written, by the tasks' indices.
    started: HashMap<u64, Started>,
    /// The indices of the inputs of tasks, where these are others.
    inputs: HashMap<u64, u64>,
    error: Option<io::Error>,
}

enum Sink {
    Screen(Screen),
    File(BufWriter<File>),
    Off,
}

/// The log of a running task.
#[derive(Default)]
struct Started {
    /// The number of bytes that were taken.
    taken: u64,
    /// The last line, which has no end yet.
    line: Vec<u8>,
}

impl Logs {
    /// Opens the sink. Lines of the only task of a run are not `indexed`.
    pub(crate) fn open(sink: &LogSink, indexed: bool, screen: Screen) -> Result<Self, Failure> {
        let (sink, path) = match sink {
            LogSink::Stderr => (Sink::Screen(screen), PathBuf::new()),
            LogSink::Off => (Sink::Off, PathBuf::new()),
            LogSink::File(path) => match Target::open_direct(path) {
                Ok(file) => (Sink::File(BufWriter::new(file)), path.clone()),
                Err(error) => return Err(Failure::cannot_write(path, error)),
            },
        };
        let writer = Writer { sink, indexed, started: HashMap::new(), inputs: HashMap::new(), error: None };
        Ok(Self { path, writer: Arc::new(Mutex::new(writer)), reader: None })
    }

    /// Whether anything is written.
    pub(crate) fn is_off(&self) -> bool {
        matches!(lock(&self.writer).sink, Sink::Off)
    }

    /// Begins to write what running tasks log.
    pub(crate) fn follow(&mut self, reader: LogReader) -> Result<(), Failure> {
        self.reader = Some(reader.clone());
        let writer = Arc::downgrade(&self.writer);
        let follow = move || {
            loop {
                let come = reader.wait(PERIOD);
                let Some(writer) = writer.upgrade() else { return };
                let mut writer = lock(&writer);
                if come {
                    writer.parts(&reader.take());
                }
                writer.flush();
            }
        };
        // It is not joined: it ends some time after the logs.
        std::thread::Builder::new().name("logs".to_owned()).spawn(follow).map(drop).map_err(Failure::start)
    }

    /// The place to say which input a task has.
    pub(crate) fn numbers(&self) -> LogNumbers {
        LogNumbers(Arc::clone(&self.writer))
    }

    /// Writes a part of the log of a running task.
    pub(crate) fn part(&self, nth: u64, offset: u64, bytes: &[u8]) {
        let mut writer = lock(&self.writer);
        writer.part(nth, offset, bytes);
        writer.flush();
    }

    /// Writes the rest of the log of the task `nth`, which has ended.
    pub(crate) fn end(&self, nth: u64, log: &TaskLog) -> Result<(), Failure> {
        let mut writer = lock(&self.writer);
        // The parts of its log have come before its result. None is left for later, when the log has ended.
        if let Some(reader) = &self.reader {
            writer.parts(&reader.take());
        }
        writer.end(nth, log);
        self.check(&mut writer)
    }

    /// Writes the rest of the log of a run of the task `nth`, which is to run again.
    pub(crate) fn run_ended(&self, nth: u64, log: &TaskLog) {
        let mut writer = lock(&self.writer);
        if let Some(reader) = &self.reader {
            writer.parts(&reader.take());
        }
        writer.rest(nth, log);
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut writer = lock(&self.writer);
        writer.flush();
        self.check(&mut writer)
    }

    fn check(&self, writer: &mut Writer) -> Result<(), Failure> {
        writer.error.take().map_or(Ok(()), |error| Err(Failure::cannot_write(Path::new(&self.path), error)))
    }
}

/// Knows the indices of the inputs of tasks that have another one.
pub(crate) struct LogNumbers(Arc<Mutex<Writer>>);

impl LogNumbers {
    /// Has the lines of the task `nth` begin with another index, that of its input.
    pub(crate) fn renumber(&self, nth: u64, index: u64) {
        lock(&self.0).inputs.insert(nth, index);
    }
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    fn parts(&mut self, parts: &[LogPart]) {
        parts.iter().for_each(|part| self.part(part.index, part.offset, &part.bytes));
    }

    fn part(&mut self, nth: u64, offset: u64, bytes: &[u8]) {
        let started = self.started.entry(nth).or_default();
        // A task that runs again writes again what it has written; after a gap the rest comes at the end.
        let Some(new) = started.taken.checked_sub(offset) else { return };
        let new = usize::try_from(new).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
        started.taken += new.len() as u64;
        started.line.extend_from_slice(new);
        let Some(end) = started.line.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = started.line.split_off(end + 1);
        let lines = std::mem::replace(&mut started.line, rest);
        self.lines(nth, &lines);
    }

    fn end(&mut self, nth: u64, log: &TaskLog) {
        self.rest(nth, log);
        if !self.inputs.is_empty() {
            self.inputs.remove(&nth);
        }
    }

    fn rest(&mut self, nth: u64, log: &TaskLog) {
        if !log.is_empty() {
            let Started { taken, mut line } = self.started.remove(&nth).unwrap_or_default();
            let rest = usize::try_from(taken).ok().and_then(|taken| log.bytes().get(taken..));
            line.extend_from_slice(rest.unwrap_or_default());
            self.lines(nth, &line);
            if log.dropped() > 0 {
                self.lines(nth, format!("… {} bytes of log were dropped", log.dropped()).as_bytes());
            }
        } else if !self.started.is_empty() {
            self.started.remove(&nth);
        }
    }

    fn lines(&mut self, nth: u64, bytes: &[u8]) {
        let index = self.inputs.get(&nth).copied().unwrap_or(nth);
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().map(|line| match self.indexed {
            true => format!("[{index}] {}", escaped(line)),
            false => escaped(line),
        });
        match &mut self.sink {
            Sink::Off => {}
            Sink::Screen(screen) => {
                let lines: Vec<String> = lines.collect();
                if !lines.is_empty() {
                    screen.above(&lines.join("\n"));
                }
            }
            Sink::File(file) => {
                for line in lines {
                    if let Err(error) = writeln!(file, "{line}") {
                        self.error.get_or_insert(error);
                        return;
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        if let Sink::File(file) = &mut self.sink
            && let Err(error) = file.flush()
        {
            self.error.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs in a file, and what the file holds.
    fn logs(indexed: bool) -> (tempfile::TempDir, Logs, impl Fn() -> String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logs = Logs::open(&LogSink::File(path.clone()), indexed, Screen::default()).unwrap();
        (folder, logs, move || std::fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn whole_lines_are_written_as_they_come_and_none_twice() {
        let (_folder, logs, written) = logs(true);
        logs.part(4, 0, b"one\ntw");
        assert_eq!(written(), "[4] one\n");
        logs.part(4, 6, b"o\n");
        assert_eq!(written(), "[4] one\n[4] two\n");
        // Another worker runs it again, and it gets further.
        logs.part(4, 0, b"one\ntwo\nthree\n");
        assert_eq!(written(), "[4] one\n[4] two\n[4] three\n");
        // A part was lost: the rest has to wait.
        logs.part(4, 50, b"later\n");
        assert_eq!(written(), "[4] one\n[4] two\n[4] three\n");
        logs.numbers().renumber(5, 9);
        logs.part(5, 0, b"other\n");
        assert!(written().ends_with("[9] other\n"));
    }

    #[test]
    fn the_only_task_needs_no_index() {
        let (_folder, logs, written) = logs(false);
        logs.part(0, 0, b"line\n");
        assert_eq!(written(), "line\n");
    }
}
