//! Maps the task over the inputs: the loop that takes inputs and results, and passes on what was written in time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wpool::{Canceller, Completed, MapEnd, Pool, RawMap, RawTask, TaskError};

use crate::exit_code::{Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::feed::{Feed, Input};
use crate::interrupt::Interrupt;
use crate::logs::{LogNumbers, Logs};
use crate::plan::{EarlyEnd, MapPlan};
use crate::reader_watch::ReaderWatch;
use crate::resume::Resume;
use crate::sinks::{Sinks, WriteError};
use crate::source::Reading;

/// While further results come within this time they are written together. It bounds the number of small writes, and is
/// far below the time that a reader notices.
const PAUSE: Duration = Duration::from_millis(1);

/// A map whose pool has started.
pub(crate) struct MapRun<'a> {
    pub(crate) map: &'a MapPlan,
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) task: &'a RawTask,
    pub(crate) interrupt: &'a Interrupt,
    /// The number of inputs, if it is known.
    pub(crate) total: Option<u64>,
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
        let inputs = Pulled {
            numbers: sinks.logs().numbers(),
            feed: &feed,
            resume: &resume,
            interrupt: self.interrupt,
            stopped: &stopped,
            taken: &taken,
        };
        let task = self.follow_logs(sinks.logs())?;
        let mut results = match self.map.unordered {
            true => task.imap_unordered_polled(inputs),
            false => task.map_polled(inputs),
        };
        feed.borrow().wake_with(results.input_waker());
        let stop = self.stop(results.canceller());
        let watch = self.interrupt.on_first(stop.clone()).map_err(Failure::start)?;
        let reader = self.watch_reader(&sinks, results.canceller())?;
        let (mut cut_short, mut cut_off) = (false, None);
        while let Some((nth, completed)) = next(&mut results, &mut sinks, &resume)? {
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
            let (index, before) = resume.borrow_mut().ended(nth, &completed)?;
            sinks.write_resumed(&before)?;
            if matches!(completed.result, Err(TaskError::Cancelled)) {
                cut_short = true;
                sinks.cancelled(!self.map.unordered);
                continue;
            }
            let outcome = sinks.write(nth, index, &completed)?;
            if outcome.is_err() && self.map.stop_on_error && !stopped.replace(true) {
                stop();
            }
        }
        drop((results, watch));
        if reader.is_gone() {
            return Err(WriteError::ReaderGone);
        }
        sinks.write_resumed(&resume.into_inner().finish()?)?;
        let defect = feed.borrow_mut().take_failure();
        let late = cut_off.filter(|_| self.total != Some(taken.get()));
        let late = late.map(|deadline| self.late(deadline, taken.get()));
        Ok(self.finish(sinks, Ended { defect, cut_short, stopped: stopped.get(), late })?)
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

    /// Returns a function that ends the map early, from any thread.
    fn stop(&self, canceller: Canceller) -> impl Fn() + Clone + Send + use<> {
        let pool = (self.map.early_end == EarlyEnd::Kill).then(|| Arc::clone(self.pool));
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

    /// The failure of a run whose deadline has passed before all inputs were taken.
    fn late(&self, deadline: Duration, taken: u64) -> Failure {
        let left = match self.total {
            Some(total) => format!("{} more were not", total.saturating_sub(taken)),
            None => "the rest was not".to_owned(),
        };
        Failure::new(
            SOME_FAILED,
            format!("the deadline of {deadline:?} has passed: {taken} inputs were taken, {left}"),
        )
    }

    /// Ends all files. Returns the exit code.
    fn finish(&self, sinks: Sinks<'_>, ended: Ended) -> Result<u8, Failure> {
        let interrupted = self.interrupt.requested();
        let whole = !ended.cut_short && ended.defect.is_none() && ended.late.is_none();
        // An error that stops the run is part of a whole output, an interrupt is not.
        let failed = sinks.finish(!interrupted && (whole || ended.stopped))?;
        match (ended.defect, ended.late) {
            _ if interrupted => Ok(INTERRUPTED),
            (Some(defect), _) => Err(defect),
            (None, Some(late)) => Err(late),
            (None, None) if failed > 0 => Ok(SOME_FAILED),
            (None, None) => Ok(SUCCESS),
        }
    }
}

/// Returns the next result. What was written is passed on if none is ready, before this waits for one.
fn next<I: Iterator>(
    results: &mut RawMap<I>,
    sinks: &mut Sinks<'_>,
    resume: &RefCell<Resume>,
) -> Result<Option<(u64, Completed)>, WriteError> {
    if sinks.is_behind() || resume.borrow().is_behind() {
        if let Ok(next) = results.next_timeout(PAUSE) {
            return Ok(next);
        }
        resume.borrow_mut().catch_up()?;
        sinks.catch_up()?;
    }
    Ok(results.next())
}

/// The inputs as the map pulls them: those that have a result are left out.
struct Pulled<'a> {
    feed: &'a RefCell<Feed>,
    resume: &'a RefCell<Resume>,
    numbers: LogNumbers,
    interrupt: &'a Interrupt,
    stopped: &'a Cell<bool>,
    /// The number of inputs that were taken from the source.
    taken: &'a Cell<u64>,
}

impl Iterator for Pulled<'_> {
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
            }
            return Some(input);
        }
    }

    /// The map asks whether there is more when its time is over.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.feed.borrow().is_at_end().then_some(0))
    }
}

/// How a map ended.
struct Ended {
    /// The failure that has ended the inputs early.
    defect: Option<Failure>,
    /// Whether a task was cancelled.
    cut_short: bool,
    /// Whether the error of a task has stopped the run.
    stopped: bool,
    /// The failure of a run whose deadline has passed before all inputs were taken.
    late: Option<Failure>,
}
