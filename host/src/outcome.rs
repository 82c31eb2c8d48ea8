//! A worker's words for how a task ended, turned into the parent's errors.

use wpool_abi::ErrorPayload;

use crate::error::{Clock, Frame, GuestError, TaskError};
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{Outcome, decode};
use wpool_wire::trap::Trap;

/// The value of a task, or its error with the limits filled in.
pub(crate) fn task_result(outcome: Outcome<'_>, limits: &Limits) -> Result<Vec<u8>, TaskError> {
    match outcome {
        Outcome::Value(bytes, _) if bytes.len() <= limits.result as usize => Ok(bytes.to_vec()),
        Outcome::Value(bytes, _) => {
            Err(TaskError::OutputLimit { limit: u64::from(limits.result), size: bytes.len() as u64 })
        }
        failed => Err(task_error(failed, limits)),
    }
}

/// The error of a task that has no value.
pub(crate) fn task_error(outcome: Outcome<'_>, limits: &Limits) -> TaskError {
    match outcome {
        Outcome::Value(..) => TaskError::BadResult { message: "a value where none was wanted".to_owned() },
        Outcome::Error(payload) => match decode::<ErrorPayload>(payload) {
            Ok(ErrorPayload { message, value }) => TaskError::Guest(GuestError { message, value }),
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
        Outcome::Timeout => {
            TaskError::Timeout { clock: Clock::Run, limit: limits.timeout.unwrap_or_default() }
        }
        Outcome::Killed => TaskError::Killed,
        Outcome::OutOfFuel => TaskError::OutOfFuel { limit: limits.fuel.unwrap_or_default() },
        Outcome::MemoryLimit { asked } => TaskError::MemoryLimit { limit: limits.memory_bytes(), asked },
        Outcome::TableLimit { asked } => TaskError::TableLimit { limit: u64::from(limits.table), asked },
        Outcome::OutputLimit { size } => TaskError::OutputLimit { limit: u64::from(limits.result), size },
        Outcome::EmitLimit { size } => TaskError::EmitLimit { limit: u64::from(MAX_EMITTED), size },
        Outcome::BadArguments(message) => TaskError::BadArguments { message: message.to_owned() },
        Outcome::BadResult(message) => TaskError::BadResult { message: message.to_owned() },
        Outcome::BadGuest(message) => TaskError::BadGuest { message: message.to_owned() },
    }
}
