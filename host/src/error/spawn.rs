//! The errors of starting a child process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a child process could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no program to start: see [`Executable`](crate::Executable).
    #[error(
        "no worker executable: call `wpool::init()` first in `main`, install `wpool` beside this program, \
         or name one with `Executable::at`"
    )]
    NoExecutable,
    /// The program could not be started.
    #[error("cannot start `{}`: {error}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The system's error. The text of this error contains it.
        error: Arc<io::Error>,
    },
    /// The program is not this version of wpool.
    #[error("`{}` is not this wpool: {message}", path.display())]
    Mismatch {
        /// The program.
        path: PathBuf,
        /// How it differs from this program.
        message: String,
    },
    /// The system refused a resource.
    #[error("cannot make {what}: {error}")]
    System {
        /// The resource, such as "a thread".
        what: &'static str,
        /// The system's error. The text of this error contains it.
        error: Arc<io::Error>,
    },
}

impl SpawnError {
    pub(crate) fn start(path: PathBuf, error: io::Error) -> Self {
        SpawnError::Start { path, error: Arc::new(error) }
    }

    pub(crate) fn system(what: &'static str, error: impl Into<io::Error>) -> Self {
        SpawnError::System { what, error: Arc::new(error.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_of_the_system_is_kept_and_printed_once() {
        let denied = SpawnError::start("/p".into(), io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "cannot start `/p`: permission denied");
        assert!(denied.source().is_none(), "a printed chain would repeat it");
        let SpawnError::Start { error, .. } = denied else { panic!("{denied:?}") };
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
