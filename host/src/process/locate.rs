//! The program that child processes run. It is never looked up in a search path.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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
/// the folder of this program, or in the one above Cargo's `deps` or `examples`. A file or a folder of another user, or one
/// that everybody can write to, is passed over.
///
/// ```
/// let executable = wpool::Executable::at("/usr/local/bin/wpool");
/// let loader = wpool::Loader::default().executable(executable);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Executable {
    path: Option<PathBuf>,
}

/// Whether nobody else can have put a program there: it and its folder belong to this user, to root or to the owner of
/// the running program, and not everybody can write to them.
fn is_trusted(path: &Path, own: &Path) -> bool {
    let owner = own.metadata().map(|metadata| metadata.uid());
    let trusts = |path: &Path| {
        path.metadata().is_ok_and(|metadata| {
            let uid = metadata.uid();
            let is_ours = uid == 0
                || uid == rustix::process::geteuid().as_raw()
                || owner.as_ref().is_ok_and(|owner| *owner == uid);
            is_ours && metadata.mode() & 0o002 == 0
        })
    };
    path.is_file() && trusts(path) && path.parent().is_some_and(trusts)
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
        let is_below = |folder: &&Path| folder.ends_with("deps") || folder.ends_with("examples");
        let folder = own.parent();
        let above = folder.filter(is_below).and_then(Path::parent);
        let mut programs = folder.into_iter().chain(above).map(|folder| folder.join("wpool"));
        programs.find(|path| is_trusted(path, &own)).ok_or(SpawnError::NoExecutable)
    }

    /// Returns a text that differs for each build of the program: its inode, size and time of modification.
    pub(crate) fn fingerprint(&self) -> Result<String, SpawnError> {
        let path = self.locate()?;
        let file = path.metadata().map_err(|error| SpawnError::start(path, error))?;
        Ok(format!("{}-{}-{}.{}", file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }
}
