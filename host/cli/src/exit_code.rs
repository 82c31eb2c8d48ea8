//! The exit codes of `wpool`, and the failures that lead to them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Every task succeeded.
pub(crate) const SUCCESS: u8 = 0;
/// Some tasks failed; the output names them.
pub(crate) const SOME_FAILED: u8 = 1;
/// The usage or the input is bad, or a file cannot be read or written. Most of it is found before any task runs. Tasks
/// have run if a stream turns bad midway, a file changes while it is read, or a file cannot be written later.
pub(crate) const BAD_INPUT: u8 = 2;
/// The guest or the pool could not start.
pub(crate) const NOT_STARTED: u8 = 3;
/// The run was interrupted; the results that it had are written.
pub(crate) const INTERRUPTED: u8 = 130;

/// The outcome of a command.
pub(crate) type Done = Result<ExitCode, Failure>;

/// The reason why a command could not do its work: a message, the errors below it, and a hint.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
    /// The error whose text is, or ends, the message.
    source: Option<Box<dyn Error + Send + Sync>>,
    /// Printed below the causes.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), source: None, hint: None }
    }

    /// Something in the arguments or the input is wrong.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self::new(BAD_INPUT, message)
    }

    /// A file cannot be read, because of `error`.
    pub(crate) fn cannot_read(path: &Path, error: io::Error) -> Self {
        Self::input(format!("cannot read `{}`", path.display())).because(error)
    }

    /// A file cannot be written, because of `error`.
    pub(crate) fn cannot_write(path: &Path, error: io::Error) -> Self {
        Self::input(format!("cannot write `{}`", path.display())).because(error)
    }

    /// The guest or the pool cannot start, because of `error`.
    pub(crate) fn start(error: impl Error + Send + Sync + 'static) -> Self {
        Self::of(NOT_STARTED, error)
    }

    /// A failure whose message is that of `error`.
    pub(crate) fn of(code: u8, error: impl Error + Send + Sync + 'static) -> Self {
        Self { code, message: error.to_string(), source: Some(Box::new(error)), hint: None }
    }

    /// Ends the message with the text of `error`, and keeps it as the source.
    pub(crate) fn because(mut self, error: impl Error + Send + Sync + 'static) -> Self {
        self.message += &format!(": {error}");
        self.source = Some(Box::new(error));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The errors below the message: its source's text is already part of it.
    pub(crate) fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first = self.source().and_then(Error::source);
        std::iter::successors(first, |cause: &&(dyn Error + 'static)| (*cause).source())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source: &(dyn Error + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_ends_the_message_and_stays_the_source() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::cannot_write(Path::new("out.json"), denied);
        assert_eq!(
            (failure.code, failure.to_string().as_str()),
            (2, "cannot write `out.json`: permission denied")
        );
        let source = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(failure.causes().count(), 0, "its text is not printed twice");
    }

    #[test]
    fn the_errors_below_an_error_are_its_causes() {
        let init = wpool::BuildError::Init(wpool::TaskError::Cancelled);
        let failure = Failure::start(init);
        assert_eq!((failure.code, failure.to_string().as_str()), (3, "the guest's initializer failed"));
        let causes: Vec<String> = failure.causes().map(ToString::to_string).collect();
        assert_eq!(causes, [wpool::TaskError::Cancelled.to_string()]);
    }
}
