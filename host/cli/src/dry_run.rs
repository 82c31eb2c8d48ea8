//! `wpool run --dry-run`: checks everything that can be checked, and says what would run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use wpool::{Guest, Signature};

use crate::exit_code::{Done, SUCCESS};
use crate::guest::signature;
use crate::plan::RunPlan;
use crate::report;
use crate::sinks::SinkPlan;

/// Says what would run: `inputs` is a line about the inputs or the arguments.
pub(crate) fn show(plan: &RunPlan, guest: &Guest, task: &Signature, inputs: &str, sinks: &SinkPlan) -> Done {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{name:<8} {value}");
    };
    line("guest", &format!("{} ({})", plan.guest.path.display(), guest.identity()));
    line("task", &signature(task));
    line("inputs", &inputs);
    line(
        "output",
        &sinks
            .output
            .as_deref()
            .or(sinks.results.as_deref())
            .map_or_else(|| "standard output".into(), Path::to_string_lossy),
    );
    if let Some(report) = &sinks.report {
        line("report", &report.display());
    }
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
    line("timeout", &limit(plan.pool.timeout.map(|time| format!("{time:?}"))));
    line("memory", &limit(plan.pool.memory.map(report::size)));
    line("deadline", &limit(plan.terms.deadline.map(|time| format!("{time:?}"))));
    report::print(&report::escaped(&text))?;
    Ok(ExitCode::from(SUCCESS))
}
