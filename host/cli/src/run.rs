//! `wpool run`: resolves the plan of a run, and maps the task over its inputs or calls it once.

use std::process::ExitCode;
use std::sync::Arc;

use crate::args::RunArgs;
use crate::call::call;
use crate::dry_run;
use crate::exit_code::{Done, Failure, INTERRUPTED, SUCCESS};
use crate::guest::choose_task;
use crate::interrupt::Interrupt;
use crate::map::MapRun;
use crate::plan::{MapPlan, RunPlan, Work};
use crate::reading::Reading;
use crate::results_dir::ResultsDir;
use crate::resume::Resume;
use crate::sinks::{Sinks, WriteError};

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
    let reading = Reading { signature: signature.clone(), objects: plan.objects.named.clone() };
    let total = map.inputs.check(&reading)?;
    if let Some(folder) = &map.sinks.results {
        ResultsDir::check(folder, &map.inputs, total, &map.files())?;
    }
    if plan.dry {
        return dry_run::show(plan, &guest, &signature, &map.inputs.shown(total), &map.sinks);
    }
    let context = plan.pool.journal_context(&guest.identity().to_string(), signature.name());
    let resume = map.journal.as_deref().map(|path| Resume::open(path, &context));
    let resume = resume.transpose()?.unwrap_or_default();
    let pool = Arc::new(plan.pool.start(guest)?);
    let task = plan.terms.task(&pool, signature.name())?;
    if interrupt.requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let objects = plan.objects.start(&pool.manager())?;
    let sinks = Sinks::open(&map.sinks, &plan.logs, task.guest(), &signature, &map.inputs, total);
    let deadline = plan.terms.deadline;
    let run = MapRun { map, pool: &pool, task: &task, interrupt, total, deadline };
    let outcome = sinks.map_err(WriteError::Failed).and_then(|sinks| run.run(sinks, resume, reading));
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
