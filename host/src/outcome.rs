//! How a task ended in its worker's words, turned into the parent's result.

use std::time::Duration;

use wpool_abi::ErrorPayload;
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{Outcome, decode};
use wpool_wire::trap::Trap;

use crate::error::{Clock, Frame, GuestError, TaskError};

/// How a task ended, as far as its worker knows. Which limit a timeout had, and why a task was told to end, only the
/// dispatcher knows.
#[derive(Debug)]
pub(crate) enum Ended {
    Value(Vec<u8>),
    Failed(TaskError),
    /// The run timeout is over.
    TimedOut,
    /// The task was told to end.
    Killed,
}

impl Ended {
    /// Reads a worker's outcome, with the limits that the parent has set.
    pub(crate) fn new(outcome: Outcome<'_>, limits: &Limits) -> Self {
        Ended::Failed(match outcome {
            Outcome::Value(bytes, _) if bytes.len() <= limits.result as usize => {
                return Ended::Value(bytes.to_vec());
            }
            Outcome::Value(bytes, _) => {
                TaskError::OutputLimit { limit: u64::from(limits.result), size: bytes.len() as u64 }
            }
            Outcome::Timeout => return Ended::TimedOut,
            Outcome::Killed => return Ended::Killed,
            Outcome::Error(payload) => match decode::<ErrorPayload>(payload) {
                Ok(ErrorPayload { message, value }) => {
                    TaskError::Guest(GuestError { message, value, fingerprint: None })
                }
                Err(error) => TaskError::BadResult { message: error.to_string() },
            },
            Outcome::Panic { message, location } => {
                TaskError::Panic { message: message.to_owned(), location: location.to_owned() }
            }
            Outcome::Trap { number, backtrace } => TaskError::Trap {
                trap: Trap::from_number(number),
                backtrace: backtrace
                    .into_iter()
                    .map(|frame| Frame { function: frame.function.to_owned(), offset: frame.offset })
                    .collect(),
            },
            Outcome::Exited { code } => TaskError::Exited { code },
            Outcome::OutOfFuel => TaskError::OutOfFuel { limit: limits.fuel.unwrap_or_default() },
            Outcome::MemoryLimit { asked } => TaskError::MemoryLimit { limit: limits.memory_bytes(), asked },
            Outcome::TableLimit { asked } => TaskError::TableLimit { limit: u64::from(limits.table), asked },
            Outcome::OutputLimit { size } => TaskError::OutputLimit { limit: u64::from(limits.result), size },
            Outcome::EmitLimit { size } => TaskError::EmitLimit { limit: u64::from(MAX_EMITTED), size },
            Outcome::Denied(capability) => TaskError::Denied { capability },
            Outcome::BadArguments(message) => TaskError::BadArguments { message: message.to_owned() },
            Outcome::BadResult(message) => TaskError::BadResult { message: message.to_owned() },
            Outcome::BadGuest(message) => TaskError::BadGuest { message: message.to_owned() },
        })
    }

    /// The result of the task. `run_timeout` is the limit that it had; `reason` is why it was told to end, if it was.
    pub(crate) fn result(
        self,
        run_timeout: Option<Duration>,
        reason: Option<TaskError>,
    ) -> Result<Vec<u8>, TaskError> {
        match self {
            Ended::Value(bytes) => Ok(bytes),
            Ended::Failed(error) => Err(error),
            Ended::TimedOut => {
                Err(TaskError::Timeout { clock: Clock::Run, limit: run_timeout.unwrap_or_default() })
            }
            Ended::Killed => Err(reason.unwrap_or(TaskError::Killed)),
        }
    }
}

/// The error of a description or an initializer, which has no value.
pub(crate) fn task_error(outcome: Outcome<'_>, limits: &Limits) -> TaskError {
    match Ended::new(outcome, limits).result(limits.timeout, None) {
        Ok(_) => TaskError::BadResult { message: "a value where none was wanted".to_owned() },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Outcome<'_>) -> Ended {
        Ended::new(outcome, &Limits::default())
    }

    #[test]
    fn a_timeout_names_the_limit_that_the_task_had() {
        let limit = Duration::from_millis(7);
        let result = ended(Outcome::Timeout).result(Some(limit), None);
        assert_eq!(result, Err(TaskError::Timeout { clock: Clock::Run, limit }));
    }

    #[test]
    fn a_task_that_was_told_to_end_says_why() {
        let late = TaskError::Timeout { clock: Clock::Total, limit: Duration::from_secs(1) };
        assert_eq!(ended(Outcome::Killed).result(None, Some(late.clone())), Err(late));
        assert_eq!(ended(Outcome::Killed).result(None, None), Err(TaskError::Killed));
        let value = ended(Outcome::Value(b"7", b"")).result(None, Some(TaskError::Killed));
        assert_eq!(value, Ok(b"7".to_vec()), "it ended by itself");
    }

    #[test]
    fn a_result_that_is_too_large_is_refused_whatever_the_worker_says() {
        let mut limits = Limits::default();
        limits.result = 2;
        let result = Ended::new(Outcome::Value(b"abc", b""), &limits).result(None, None);
        assert_eq!(result, Err(TaskError::OutputLimit { limit: 2, size: 3 }));
    }
}
