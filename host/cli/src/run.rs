//! `wpool run`: resolves the plan of a run, and maps the task over its inputs or calls it once.

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use wpool::{Canceller, MapEnd, Pool, RawMap, RawTask, TaskError};

use crate::args::RunArgs;
use crate::call::call;
use crate::exit_code::{Done, Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::guest::choose_task;
use crate::interrupt::Interrupt;
use crate::plan::{EarlyEnd, MapPlan, RunPlan, Work};
use crate::resume::Resume;
use crate::sinks::{Sinks, WriteError};
use crate::source::{Defect, Reading};

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> Done {
    let interrupt = Interrupt::listen().map_err(Failure::start)?;
    let plan = RunPlan::resolve(args)?;
    match &plan.work {
        Work::Map(map) => run_map(&plan, map, &interrupt),
        Work::Call(once) => call(&plan, once, &interrupt),
    }
}

/// Loads the guest, checks the inputs, starts the pool, and maps the task over the inputs.
fn run_map(plan: &RunPlan, map: &MapPlan, interrupt: &Interrupt) -> Done {
    let guest = plan.guest.load()?;
    let signature = choose_task(&guest, map.task.as_deref())?.clone();
    let reading = Reading { signature: &signature, objects: &plan.objects.named };
    let total = map.inputs.check(reading)?;
    let context = plan.pool.journal_context(&guest.identity().to_string(), signature.name());
    let resume = map.journal.as_deref().map(|path| Resume::open(path, &context));
    let resume = resume.transpose()?.unwrap_or_default();
    let pool = Arc::new(plan.pool.start(guest)?);
    let task = plan.terms.task(&pool, signature.name())?;
    if interrupt.requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let objects = plan.objects.start(&pool.manager())?;
    let sinks = Sinks::open(&map.sinks, &plan.logs, task.guest(), &signature, total);
    let run = MapRun { map, pool: &pool, task: &task, reading, interrupt, total };
    let outcome = sinks.map_err(WriteError::Failed).and_then(|sinks| run.run(sinks, resume));
    // A task that still runs has no reader of its result, and may wait for ever.
    pool.terminate();
    let written = objects.finish();
    let code = match outcome {
        Ok(code) => code,
        Err(WriteError::ReaderGone) => SUCCESS,
        Err(WriteError::Failed(failure)) => return Err(failure),
    };
    written?;
    Ok(ExitCode::from(code))
}

/// A map whose pool has started.
struct MapRun<'a> {
    map: &'a MapPlan,
    pool: &'a Arc<Pool>,
    task: &'a RawTask,
    reading: Reading<'a>,
    interrupt: &'a Interrupt,
    /// The number of inputs, if it is known.
    total: Option<u64>,
}

impl MapRun<'_> {
    /// Writes the result of every input. Returns the exit code.
    fn run(&self, mut sinks: Sinks<'_>, resume: Resume) -> Result<u8, WriteError> {
        let (defect, stopped, resume) = (RefCell::new(None), Cell::new(false), RefCell::new(resume));
        let taken = Cell::new(0u64);
        let inputs = self.map.inputs.inputs(self.reading, &defect)?;
        let inputs = inputs.inspect(|_| taken.set(taken.get() + 1));
        let inputs = inputs.take_while(|_| !self.interrupt.requested() && !stopped.get());
        let inputs = inputs.filter(|input| resume.borrow_mut().is_to_run(input));
        let mut results: RawMap<_> =
            if self.map.unordered { self.task.imap_unordered(inputs) } else { self.task.map(inputs) };
        let stop = self.stop(results.canceller());
        let watch = self.interrupt.on_first(stop.clone()).map_err(Failure::start)?;
        let (mut cut_short, mut cut_off) = (false, None);
        for (nth, completed) in results.by_ref() {
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
            let outcome = sinks.write(index, &completed)?;
            if outcome.is_err() && self.map.stop_on_error && !stopped.replace(true) {
                stop();
            }
        }
        drop((results, watch));
        sinks.write_resumed(&resume.into_inner().finish()?)?;
        let late = cut_off.filter(|_| self.total != Some(taken.get()));
        let late = late.map(|deadline| self.late(deadline, taken.get()));
        let ended = Ended { defect: defect.into_inner(), cut_short, stopped: stopped.get(), late };
        Ok(self.finish(sinks, ended)?)
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
            (Some(defect), _) => Err(self.map.inputs.failure(defect)),
            (None, Some(late)) => Err(late),
            (None, None) if failed > 0 => Ok(SOME_FAILED),
            (None, None) => Ok(SUCCESS),
        }
    }
}

/// How a map ended.
struct Ended {
    /// The reason why the inputs ended early, if they did.
    defect: Option<Defect>,
    /// Whether a task was cancelled.
    cut_short: bool,
    /// Whether the error of a task has stopped the run.
    stopped: bool,
    /// The failure of a run whose deadline has passed before all inputs were taken.
    late: Option<Failure>,
}
