//! The program that child processes run. It is never looked up in a search path.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::SpawnError;

/// Whether this program has called `wpool::init()`, and so becomes a child when it is started as one.
static SELF_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Records that this program has called `wpool::init()`.
#[cfg(feature = "worker")]
pub(crate) fn allow_self() {
    SELF_ALLOWED.store(true, Ordering::Relaxed);
}

/// The program that child processes run.
///
/// The default is this program itself, if it calls [`init`](crate::init) first in `main`; else the program `wpool` in
/// the folder of this program, or in the folder above that.
///
/// ```
/// let executable = wpool::Executable::at("/usr/local/bin/wpool");
/// let loader = wpool::Loader::default().executable(executable);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Executable {
    path: Option<PathBuf>,
}

impl Executable {
    /// Names a program by its path: a `wpool` of this version, or a program that calls [`init`](crate::init).
    ///
    /// The path is not checked here. A program that cannot be started is a [`SpawnError`] later.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()) }
    }

    pub(crate) fn locate(&self) -> Result<PathBuf, SpawnError> {
        if let Some(path) = &self.path {
            return Ok(path.clone());
        }
        if SELF_ALLOWED.load(Ordering::Relaxed) {
            // This path stands for the running program, also after its file was replaced.
            return Ok(PathBuf::from("/proc/self/exe"));
        }
        let own = std::env::current_exe().map_err(|_| SpawnError::NoExecutable)?;
        // Cargo puts test programs one folder below the other programs of a build.
        let folders = own.ancestors().skip(1).take(2);
        folders.map(|folder| folder.join("wpool")).find(|path| path.is_file()).ok_or(SpawnError::NoExecutable)
    }

    /// Returns a text that differs for each build of the program: its inode, size and time of modification.
    pub(crate) fn fingerprint(&self) -> Result<String, SpawnError> {
        let path = self.locate()?;
        let file = path.metadata().map_err(|error| SpawnError::start(path, error))?;
        Ok(format!("{}-{}-{}.{}", file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }
}
