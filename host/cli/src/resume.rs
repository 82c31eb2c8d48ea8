//! Resumes a map: the inputs that the journal has a result for are kept away from the pool.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};

use wpool::{Completed, RawArguments};

use crate::exit_code::Failure;
use crate::feed::Input;
use crate::journal::{Journal, Key};

/// The index of an input, and its value in postcard.
pub(crate) type Resumed = (u64, Vec<u8>);

/// Counts the inputs, and decides which of them the map has to run; all of them without a journal.
#[derive(Debug, Default)]
pub(crate) struct Resume {
    journal: Option<(Journal, PathBuf)>,
    /// The index of the next input.
    next: u64,
    /// The index of the next task of the map.
    started: u64,
    /// The number of tasks that have ended.
    ended: u64,
    /// The inputs that run, by the indices of their tasks.
    running: HashMap<u64, (u64, Key)>,
    /// The indices of inputs that the journal has, and whose values are not written yet.
    found: VecDeque<Range<u64>>,
}

impl Resume {
    /// Opens the journal at `path`. `context` is the part of its keys that all inputs have in common.
    pub(crate) fn open(path: &Path, context: &str) -> Result<Self, Failure> {
        let journal = Journal::open(path, context.as_bytes()).map_err(|error| {
            Failure::input(format!("cannot resume from `{}`", path.display())).because(error)
        })?;
        Ok(Self { journal: Some((journal, path.to_owned())), ..Self::default() })
    }

    /// Whether the next input has to be run.
    pub(crate) fn is_to_run(&mut self, input: &Input) -> bool {
        let Some((journal, _)) = &self.journal else { return true };
        let index = self.next;
        self.next += 1;
        let key = journal.key(input.as_ref().map_or(&[], RawArguments::bytes));
        if input.is_ok() && journal.has(index, key) {
            self.add_found(index);
            return false;
        }
        self.running.insert(self.started, (index, key));
        self.started += 1;
        true
    }

    /// The index of the last task that is to run, and that of its input; `None` if they are the same.
    pub(crate) fn last_started(&self) -> Option<(u64, u64)> {
        (self.started < self.next).then(|| (self.started - 1, self.next - 1))
    }

    fn add_found(&mut self, index: u64) {
        match self.found.back_mut() {
            Some(range) if range.end == index => range.end += 1,
            _ => self.found.push_back(index..index + 1),
        }
    }

    /// Records the result of the map's task `nth`. Returns the index of its input.
    pub(crate) fn ended(&mut self, nth: u64, completed: &Completed) -> Result<u64, Failure> {
        let Some((journal, path)) = &mut self.journal else { return Ok(nth) };
        let (index, key) = self.running.remove(&nth).unwrap_or_default();
        self.ended += 1;
        if let Ok(value) = &completed.result {
            journal.write(index, key, value).map_err(|error| Failure::cannot_write(path, error))?;
        }
        Ok(index)
    }

    /// Takes the first value of the journal that is not written yet, if its input comes before the input `end`.
    pub(crate) fn found_before(&mut self, end: u64) -> Result<Option<Resumed>, Failure> {
        let Some(index) = self.first_found(end) else { return Ok(None) };
        let Some((journal, path)) = &self.journal else { return Ok(None) };
        let value = journal.read(index).map_err(|error| Failure::cannot_read(path, error))?;
        Ok(Some((index, value)))
    }

    /// Whether there is a journal.
    pub(crate) fn is_open(&self) -> bool {
        self.journal.is_some()
    }

    /// The index of the first input that runs: the values before it can be written.
    pub(crate) fn first_unwritten(&self) -> u64 {
        self.running.get(&self.ended).map_or(u64::MAX, |(index, _)| *index)
    }

    /// Whether the journal's file lacks a result.
    pub(crate) fn is_behind(&self) -> bool {
        self.journal.as_ref().is_some_and(|(journal, _)| journal.is_behind())
    }

    /// Writes the results that the journal's file lacks.
    pub(crate) fn catch_up(&mut self) -> Result<(), Failure> {
        let Some((journal, path)) = &mut self.journal else { return Ok(()) };
        journal.flush().map_err(|error| Failure::cannot_write(path, error))
    }

    fn first_found(&mut self, end: u64) -> Option<u64> {
        let index = self.found.front_mut().filter(|range| range.start < end)?.next();
        self.found.pop_front_if(|range| range.is_empty());
        index
    }
}
