//! Which program becomes a child. Never one that a search path happens to find.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::SpawnError;

/// Set once `wpool::init()` has run, so that this program is known to turn into a child when asked.
static SELF_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Remembers that this program calls `wpool::init()`.
#[cfg(feature = "worker")]
pub(crate) fn allow_self() {
    SELF_ALLOWED.store(true, Ordering::Relaxed);
}

/// The program that child processes are made of.
///
/// By default it is this program itself, if it calls [`init`](crate::init) first thing in `main`, else
/// the `wpool` in this program's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Executable {
    path: Option<PathBuf>,
}

impl Executable {
    /// A program by its path: a `wpool` of this version, or a program that calls
    /// [`init`](crate::init).
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()) }
    }

    pub(crate) fn locate(&self) -> Result<PathBuf, SpawnError> {
        if let Some(path) = &self.path {
            return Ok(path.clone());
        }
        if SELF_ALLOWED.load(Ordering::Relaxed) {
            // This name means the running program even after its file was replaced.
            return Ok(PathBuf::from("/proc/self/exe"));
        }
        let own = std::env::current_exe().map_err(|_| SpawnError::NoExecutable)?;
        // A test program lies one folder below the programs of its build.
        let folders = own.ancestors().skip(1).take(2);
        folders.map(|folder| folder.join("wpool")).find(|path| path.is_file()).ok_or(SpawnError::NoExecutable)
    }

    /// What tells this program from its other builds: where it is, how large and how old.
    pub(crate) fn fingerprint(&self) -> Result<String, SpawnError> {
        use std::os::unix::fs::MetadataExt as _;
        let path = self.locate()?;
        let file = Path::new(&path);
        let metadata = file
            .metadata()
            .map_err(|error| SpawnError::Start { path: path.clone(), message: error.to_string() })?;
        Ok(format!("{}-{}-{}.{}", metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    }
}
