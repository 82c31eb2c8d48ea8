//! A map that goes on where an earlier run of it was ended: which inputs are run, and which have their results.

use std::collections::{HashMap, VecDeque};
use std::io;

use wpool::{Completed, RawArguments};

use crate::journal::{Journal, Key};
use crate::source::Input;

/// The place of an input, and its value in postcard.
pub(crate) type Resumed = (u64, Vec<u8>);

/// Numbers the inputs, and keeps those away from the map whose results the journal has.
pub(crate) struct Resume {
    journal: Option<Journal>,
    /// The place of the next input.
    next: u64,
    /// The place of the next task of the map.
    started: u64,
    /// The inputs that run: the place of each by the place of its task.
    running: HashMap<u64, (u64, Key)>,
    /// Inputs that were found in the journal and not written yet.
    found: VecDeque<u64>,
}

impl Resume {
    pub(crate) fn new(journal: Option<Journal>) -> Self {
        Self { journal, next: 0, started: 0, running: HashMap::new(), found: VecDeque::new() }
    }

    /// Whether the next input has to be run.
    pub(crate) fn is_to_run(&mut self, input: &Input) -> bool {
        let Some(journal) = &self.journal else { return true };
        let index = self.next;
        self.next += 1;
        let key = journal.key(input.as_ref().map_or(&[], RawArguments::bytes));
        if input.is_ok() && journal.has(index, key) {
            self.found.push_back(index);
            return false;
        }
        self.running.insert(self.started, (index, key));
        self.started += 1;
        true
    }

    /// The task at this place of the map has ended: the place of its input, and the results that come before it.
    pub(crate) fn ended(&mut self, nth: u64, completed: &Completed) -> io::Result<(u64, Vec<Resumed>)> {
        let Some(journal) = &mut self.journal else { return Ok((nth, Vec::new())) };
        let (index, key) = self.running.remove(&nth).unwrap_or_default();
        if let Ok(value) = &completed.result {
            journal.write(index, key, value)?;
        }
        let mut before = Vec::new();
        while let Some(found) = self.found.pop_front_if(|found| *found < index) {
            before.push((found, journal.read(found)?));
        }
        Ok((index, before))
    }

    /// The results that come after all others.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Resumed>> {
        let Some(journal) = &mut self.journal else { return Ok(Vec::new()) };
        journal.flush()?;
        self.found.iter().map(|found| Ok((*found, journal.read(*found)?))).collect()
    }
}
