//! The exit codes of `wpool`, and the failures that lead to them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

/// Every task succeeded.
pub(crate) const SUCCESS: u8 = 0;
/// Some tasks failed; the output names them.
pub(crate) const SOME_FAILED: u8 = 1;
/// The arguments or the input make no sense; nothing ran.
pub(crate) const BAD_INPUT: u8 = 2;
/// The guest or the pool could not start.
pub(crate) const NOT_STARTED: u8 = 3;
/// The run was interrupted; what was done is written.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command could not do its work: what, because of what, and what might help.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Something in the arguments or the input is wrong.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self { code: BAD_INPUT, message: message.to_string(), causes: Vec::new(), hint: None }
    }

    /// A file cannot be written, for this reason.
    pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Self {
        Self::input(format!("cannot write `{}`: {error}", path.display()))
    }

    /// The guest or the pool cannot start, for this reason.
    pub(crate) fn start(error: &dyn Error) -> Self {
        Self { code: NOT_STARTED, message: error.to_string(), causes: Vec::new(), hint: None }
            .caused_by(error.source())
    }

    /// Adds everything below as causes.
    pub(crate) fn caused_by(mut self, mut cause: Option<&dyn Error>) -> Self {
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
