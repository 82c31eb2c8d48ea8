//! `wpool run --call`: calls a task once, and prints its value.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use wpool::{Completed, JsonError, Signature, TaskError, TaskFuture, Undecoded};

use crate::exit_code::{Done, Failure, INTERRUPTED, SOME_FAILED, SUCCESS};
use crate::guest::{choose_task, signature};
use crate::interrupt::Interrupt;
use crate::logs::Logs;
use crate::plan::{CallPlan, RunPlan};
use crate::report::{self, Screen};
use crate::source::DECLARE;

/// How often the log of the task is looked at.
const LOG_PERIOD: Duration = Duration::from_millis(25);

/// Calls the task once, and prints its value.
pub(crate) fn call(plan: &RunPlan, call: &CallPlan, interrupt: &Interrupt) -> Done {
    let guest = plan.guest.load()?;
    let signature = choose_task(&guest, Some(&call.task))?.clone();
    let text = arguments_as_json(&signature, &call.arguments)?;
    plan.objects.named.check(&signature, text.as_bytes()).map_err(misfit)?;
    let pool = plan.pool.start(guest)?;
    let logs = Logs::open(&plan.logs, false, Screen::default())?;
    let objects = plan.objects.start(&pool.manager())?;
    let arguments = plan.objects.named.arguments(&signature, text.as_bytes()).map_err(misfit)?;
    // The one task is the whole run.
    let task = plan.terms.task(&pool, &call.task)?.total_timeout(plan.terms.deadline);
    let future = task.submit(arguments).map_err(Failure::input)?;
    let watch = interrupt.on_first({
        let future = future.clone();
        move || future.kill()
    });
    let watch = watch.map_err(Failure::start)?;
    let completed = follow(&future, &logs);
    drop(watch);
    let written = objects.finish();
    logs.end(0, &completed.log)?;
    logs.finish()?;
    if interrupt.requested() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let text = value_as_json(&signature, &completed)
        .map_err(|error| Failure::new(SOME_FAILED, format!("`{}` failed: {error}", call.task)))?;
    report::print(&text);
    written?;
    Ok(ExitCode::from(SUCCESS))
}

/// Waits for the end of the task. Meanwhile its log is written.
fn follow(future: &TaskFuture<Undecoded>, logs: &Logs) -> Arc<Completed> {
    loop {
        if let Ok(completed) = future.completed_timeout(LOG_PERIOD) {
            return completed;
        }
        if let Some(log) = future.log() {
            logs.part(0, 0, log.bytes());
        }
    }
}

/// Returns the arguments as the JSON of one input. Each word is JSON, or a string as it stands.
fn arguments_as_json(signature: &Signature, words: &[String]) -> Result<String, Failure> {
    let types: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    if types.len() != words.len() {
        return Err(Failure::input(format!(
            "`{}` takes {} arguments, got {}",
            self::signature(signature),
            types.len(),
            words.len()
        )));
    }
    let values: Vec<String> = types.iter().zip(words).map(|(ty, word)| argument_as_json(ty, word)).collect();
    Ok(match values.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(",")),
    })
}

fn argument_as_json(ty: &str, word: &str) -> String {
    let is_string = ty == "string" && serde_json::from_str::<String>(word).is_err();
    // A word that is no JSON can only be a string, such as the name of an object.
    let is_word = word.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && serde_json::from_str::<serde::de::IgnoredAny>(word).is_err();
    if is_string || is_word { serde_json::Value::from(word).to_string() } else { word.to_owned() }
}

/// Returns the value as a line of JSON.
fn value_as_json(signature: &Signature, completed: &Completed) -> Result<String, TaskError> {
    let bytes = completed.result.as_ref().map_err(TaskError::clone)?;
    let mut text = Vec::new();
    signature
        .value_to_json(bytes, &mut text)
        .map_err(|error| TaskError::BadResult { message: error.to_string() })?;
    text.push(b'\n');
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn misfit(error: JsonError) -> Failure {
    let at = if error.path.is_empty() { "" } else { " at " };
    let failure = Failure::input(format!("the arguments do not fit{at}{}: {}", error.path, error.message));
    if error.unknown_object { failure.hint(DECLARE) } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_json_or_a_string_as_it_stands() {
        for (ty, word, expected) in [
            ("i64", "-7", "-7"),
            ("string", "ab", "\"ab\""),
            ("string", "7", "\"7\""),
            ("string", "\"a b\"", "\"a b\""),
            ("queue<u32>", "results", "\"results\""),
            ("option<u32>", "null", "null"),
            ("list<u32>", "[1,2]", "[1,2]"),
        ] {
            assert_eq!(argument_as_json(ty, word), expected, "{ty} {word}");
        }
    }
}
