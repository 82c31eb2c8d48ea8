//! Maps the task over the inputs: the loop that takes inputs and results, and passes on what was written in time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wpool::{Canceller, Completed, MapEnd, NotYet, Pool, RawMap, RawTask, TaskError};

use crate::exit_code::{Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::feed::{Feed, Input};
use crate::interrupt::Interrupt;
use crate::logs::{LogNumbers, Logs};
use crate::plan::{EarlyEnd, MapPlan};
use crate::reader_watch::ReaderWatch;
use crate::reading::Reading;
use crate::resume::Resume;
use crate::retry::Retries;
use crate::sinks::{Sinks, WriteError};

/// While further results come within this time they are written together. It bounds the number of small writes, and is
/// far below the time that a reader notices.
const PAUSE: Duration = Duration::from_millis(1);

/// How often tasks that are to run again are looked at, and values of the journal.
const RETRY_PERIOD: Duration = Duration::from_millis(10);

/// A map whose pool has started.
pub(crate) struct MapRun<'a> {
    pub(crate) map: &'a MapPlan,
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) task: &'a RawTask,
    pub(crate) interrupt: &'a Interrupt,
    /// The number of inputs, if it is known.
    pub(crate) total: Option<u64>,
    /// How long the whole run may take.
    pub(crate) deadline: Option<Duration>,
}

impl MapRun<'_> {
    /// Writes the result of every input. Returns the exit code.
    pub(crate) fn run(
        &self,
        mut sinks: Sinks<'_>,
        resume: Resume,
        reading: Reading,
    ) -> Result<u8, WriteError> {
        let source = self.map.inputs.clone();
        let feed = RefCell::new(Feed::start(move || source.open(reading))?);
        let (resume, taken, stopped) = (RefCell::new(resume), Cell::new(0), Cell::new(false));
        let retries =
            RefCell::new(Retries::new(self.task, self.map.retry, !self.map.unordered, self.deadline));
        let inputs = Pulled {
            numbers: sinks.logs().numbers(),
            feed: &feed,
            resume: &resume,
            retries: &retries,
            interrupt: self.interrupt,
            stopped: &stopped,
            taken: &taken,
            pulled: 0,
        };
        let task = self.follow_logs(sinks.logs())?;
        let results = match self.map.unordered {
            true => task.imap_unordered_polled(inputs),
            false => task.map_polled(inputs),
        };
        feed.borrow().wake_with(results.input_waker());
        let halt = self.stop(results.canceller(), self.map.halts_now);
        let stop = self.stop(results.canceller(), self.map.early_end == EarlyEnd::Kill);
        let pool = Arc::clone(self.pool);
        let watch = self.interrupt.on_first_and_after(stop, self.map.grace, move || pool.terminate());
        let watch = watch.map_err(Failure::start)?;
        let reader = self.watch_reader(&sinks, results.canceller())?;
        let mut following = Following { results, resume: &resume, retries: &retries, ended: false };
        let written = self.write_results(&mut following, &mut sinks, &stopped, &reader, halt);
        drop((following, watch));
        let rest = Rest {
            feed: feed.into_inner(),
            resume: resume.into_inner(),
            taken: taken.get(),
            stopped: stopped.get(),
        };
        match written.and_then(|written| self.write_rest(&mut sinks, rest, written)) {
            Ok(ended) => Ok(self.finish(sinks, ended)?),
            Err(error) => {
                sinks.give_up();
                Err(error)
            }
        }
    }

    /// Writes what is known of inputs that have no task.
    fn write_rest(
        &self,
        sinks: &mut Sinks<'_>,
        Rest { mut feed, mut resume, taken, stopped }: Rest,
        (cut_short, cut_off): (bool, Option<Duration>),
    ) -> Result<Ended, WriteError> {
        resume.catch_up()?;
        write_found(&mut resume, sinks, u64::MAX)?;
        let defect = feed.take_failure();
        let left = self.total.map(|total| total.saturating_sub(taken));
        let is_cut = left.map_or_else(|| stopped && !feed.is_at_end(), |left| left > 0);
        let late = match cut_off.filter(|_| left != Some(0)) {
            Some(deadline) => Some(self.cut_off(sinks, &mut resume, deadline, taken, feed)?),
            None => None,
        };
        if late.is_none() {
            sinks.not_taken(left.unwrap_or(0));
        }
        let whole = !cut_short && !is_cut && defect.is_none() && late.is_none();
        Ok(Ended { whole, defect, late })
    }

    /// Returns the task with its logs followed, if they are written at all.
    fn follow_logs(&self, logs: &mut Logs) -> Result<RawTask, Failure> {
        let task = self.task.clone();
        if logs.is_off() {
            return Ok(task);
        }
        let (task, reader) = task.follow_logs();
        logs.follow(reader)?;
        Ok(task)
    }

    /// Writes the results of the map as they come. Returns whether a task was cancelled, and the deadline if it has cut off
    /// the inputs.
    fn write_results<I: Iterator>(
        &self,
        following: &mut Following<'_, '_, I>,
        sinks: &mut Sinks<'_>,
        stopped: &Cell<bool>,
        reader: &ReaderWatch,
        halt: impl Fn(),
    ) -> Result<(bool, Option<Duration>), WriteError> {
        let (mut cut_short, mut cut_off) = (false, None);
        while let Some((nth, completed)) =
            following.next(sinks, || stopped.get() || self.interrupt.requested())?
        {
            if reader.is_gone() {
                return Err(WriteError::ReaderGone);
            }
            // This stands after the last result, and belongs to no input.
            if let Err(TaskError::MapEnded { end, .. }) = completed.result {
                if let MapEnd::Timeout(limit) = end {
                    cut_off = Some(limit);
                }
                continue;
            }
            let mut resume = following.resume.borrow_mut();
            let index = resume.ended(nth, &completed)?;
            write_found(&mut resume, sinks, index)?;
            drop(resume);
            if matches!(completed.result, Err(TaskError::Cancelled)) {
                cut_short = true;
                sinks.cancelled(!self.map.unordered);
                continue;
            }
            let outcome = sinks.write(nth, index, &completed)?;
            if outcome.is_err() && self.is_to_halt(sinks) && !stopped.replace(true) {
                halt();
            }
        }
        match reader.is_gone() {
            true => Err(WriteError::ReaderGone),
            false => Ok((cut_short, cut_off)),
        }
    }

    fn is_to_halt(&self, sinks: &Sinks<'_>) -> bool {
        let (failed, ended) = sinks.counts();
        self.map.halt.is_some_and(|halt| halt.is_due(failed, ended))
    }

    /// Returns a function that ends the map early, from any thread. With `kill` the tasks that run are killed.
    fn stop(&self, canceller: Canceller, kill: bool) -> impl Fn() + Send + use<> {
        let pool = kill.then(|| Arc::clone(self.pool));
        move || {
            canceller.cancel();
            if let Some(pool) = &pool {
                pool.terminate();
            }
        }
    }

    /// Has the run end when the reader of its output leaves, also while there is nothing to write.
    fn watch_reader(&self, sinks: &Sinks<'_>, canceller: Canceller) -> Result<ReaderWatch, Failure> {
        let pool = Arc::clone(self.pool);
        let end = move || {
            canceller.cancel();
            pool.terminate();
        };
        ReaderWatch::start(sinks.reader(), end).map_err(Failure::start)
    }

    /// Writes an entry for each input that is known, and was not taken before the deadline: the input's file has it, or
    /// the stream has given it. Returns the failure of the run.
    fn cut_off(
        &self,
        sinks: &mut Sinks<'_>,
        resume: &mut Resume,
        deadline: Duration,
        taken: u64,
        feed: Feed,
    ) -> Result<Failure, WriteError> {
        let error = TaskError::MapEnded { end: MapEnd::Timeout(deadline), pulled: taken };
        let mut read = taken;
        for input in feed.end() {
            if resume.is_to_run(&input) {
                sinks.write_not_taken(read, &error)?;
            } else {
                write_found(resume, sinks, u64::MAX)?;
            }
            read += 1;
        }
        for index in read..self.total.unwrap_or(read) {
            sinks.write_not_taken(index, &error)?;
        }
        let left = match self.total {
            Some(total) => format!("{} more were not", total.saturating_sub(taken)),
            None => format!("{} more were read, and the rest was not", read - taken),
        };
        let message = format!("the deadline of {deadline:?} has passed: {taken} inputs were taken, {left}");
        Ok(Failure::new(SOME_FAILED, message))
    }

    /// Ends all files. Returns the exit code.
    fn finish(&self, sinks: Sinks<'_>, ended: Ended) -> Result<u8, Failure> {
        let interrupted = self.interrupt.requested();
        let failed = sinks.finish(!interrupted && ended.whole)?;
        match (ended.defect, ended.late) {
            _ if interrupted => Ok(INTERRUPTED),
            (Some(defect), _) => Err(defect),
            (None, Some(late)) => Err(late),
            (None, None) if failed > 0 => Ok(SOME_FAILED),
            (None, None) => Ok(SUCCESS),
        }
    }
}

/// Writes the values of the journal for the inputs before `end`.
fn write_found(resume: &mut Resume, sinks: &mut Sinks<'_>, end: u64) -> Result<(), WriteError> {
    while let Some((index, value)) = resume.found_before(end)? {
        sinks.write_resumed(index, &value)?;
    }
    Ok(())
}

/// The results as the output gets them.
struct Following<'a, 't, I: Iterator> {
    results: RawMap<I>,
    resume: &'a RefCell<Resume>,
    retries: &'a RefCell<Retries<'t>>,
    /// The map has no more results.
    ended: bool,
}

impl<I: Iterator> Following<'_, '_, I> {
    /// Returns the next result. What was written is passed on if none is ready, before this waits for one.
    fn next(
        &mut self,
        sinks: &mut Sinks<'_>,
        stopping: impl Fn() -> bool,
    ) -> Result<Option<(u64, Completed)>, WriteError> {
        loop {
            let mut retries = self.retries.borrow_mut();
            if retries.is_waiting() {
                retries.advance(stopping(), |nth, log| sinks.logs().run_ended(nth, log));
            }
            if let Some(result) = retries.next() {
                return Ok(Some(result));
            }
            let (waiting, full) = (retries.is_waiting(), retries.is_full());
            let resumes = self.resume.borrow().is_open();
            drop(retries);
            if self.ended && !waiting {
                return Ok(None);
            }
            let behind = sinks.is_behind() || self.resume.borrow().is_behind();
            if self.ended || full {
                std::thread::sleep(PAUSE);
                self.catch_up(sinks)?;
                continue;
            }
            let next = match (behind, waiting || resumes) {
                (true, _) => self.results.next_timeout(PAUSE),
                (false, true) => self.results.next_timeout(RETRY_PERIOD),
                (false, false) => Ok(self.results.next()),
            };
            match next {
                Ok(Some((nth, completed))) => {
                    let mut retries = self.retries.borrow_mut();
                    retries.ended(nth, completed, |nth, log| sinks.logs().run_ended(nth, log));
                }
                Ok(None) => self.ended = true,
                Err(NotYet(_)) => self.catch_up(sinks)?,
            }
        }
    }

    /// Passes on what was written.
    fn catch_up(&self, sinks: &mut Sinks<'_>) -> Result<(), WriteError> {
        let mut resume = self.resume.borrow_mut();
        if resume.is_behind() {
            resume.catch_up()?;
        }
        let end = resume.first_unwritten();
        write_found(&mut resume, sinks, end)?;
        sinks.catch_up()
    }
}

/// The inputs as the map pulls them: those that have a result are left out.
struct Pulled<'a, 't> {
    feed: &'a RefCell<Feed>,
    resume: &'a RefCell<Resume>,
    retries: &'a RefCell<Retries<'t>>,
    numbers: LogNumbers,
    interrupt: &'a Interrupt,
    stopped: &'a Cell<bool>,
    /// The number of inputs that were taken from the source.
    taken: &'a Cell<u64>,
    /// The number of inputs that the map has got.
    pulled: u64,
}

impl Iterator for Pulled<'_, '_> {
    type Item = Poll<Input>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.interrupt.requested() || self.stopped.get() {
                return None;
            }
            let input = self.feed.borrow_mut().poll()?;
            if let Poll::Ready(input) = &input {
                self.taken.set(self.taken.get() + 1);
                let mut resume = self.resume.borrow_mut();
                if !resume.is_to_run(input) {
                    continue;
                }
                if let Some((nth, index)) = resume.last_started() {
                    self.numbers.renumber(nth, index);
                }
                self.retries.borrow_mut().keep(self.pulled, input);
                self.pulled += 1;
            }
            return Some(input);
        }
    }

    /// The map asks whether there is more when its time is over.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.feed.borrow().is_at_end().then_some(0))
    }
}

/// The state of a run whose map has given its last result.
struct Rest {
    feed: Feed,
    resume: Resume,
    /// The number of inputs that were taken.
    taken: u64,
    /// Whether the error of a task has stopped the run.
    stopped: bool,
}

/// How a map ended.
struct Ended {
    /// Whether every input has the result of its task.
    whole: bool,
    /// The failure that has ended the inputs early.
    defect: Option<Failure>,
    /// The failure of a run whose deadline has passed before all inputs were taken.
    late: Option<Failure>,
}
