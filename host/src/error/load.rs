//! The errors of loading a guest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::spawn::SpawnError;
use super::task::TaskError;
use super::worker_exit::WorkerExit;

/// Why a guest could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error. The text of this error contains it.
        error: Arc<io::Error>,
    },
    /// The path names something other than a regular file.
    #[error("`{}` is {what}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of the file, such as "a directory".
        what: &'static str,
    },
    /// The module is larger than [`CompileLimits`](crate::CompileLimits) allows.
    #[error("the module has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// The size of the module, in bytes. For a file that grows while it is read, the size that was read.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The bytes are not a WebAssembly module, nor one in text form.
    #[error("not a WebAssembly module: this is {what}")]
    NotAModule {
        /// The format that the bytes look like, such as "an ELF program or library".
        what: &'static str,
    },
    /// The module is invalid, or uses a feature of WebAssembly that wpool does not allow.
    #[error("invalid module: {message}")]
    Invalid {
        /// The compiler's message, with the position in the module.
        message: String,
    },
    /// The module imports a function that no guest may have.
    #[error("unknown import `{module}` `{name}`")]
    UnknownImport {
        /// The name of the module that it is imported from.
        module: String,
        /// The name of the import.
        name: String,
    },
    /// An import or an export has another type than the ABI requires.
    #[error("the {what} `{name}` has the type {found}, not {expected}")]
    WrongType {
        /// Which of the two: "import" or "export".
        what: &'static str,
        /// Its name.
        name: String,
        /// The type that it has.
        found: String,
        /// The type that the ABI requires.
        expected: String,
    },
    /// The module lacks an export that every guest has.
    #[error("missing export `{name}`")]
    MissingExport {
        /// The name of the export.
        name: String,
    },
    /// The module was built for another version of the guest ABI.
    #[error("the guest speaks version {found} of the ABI, this wpool speaks version {expected}")]
    WrongAbi {
        /// The guest's version.
        found: String,
        /// The version of this library.
        expected: u32,
    },
    /// The module starts with more memory than [`Limits`](crate::Limits) allow a task.
    #[error("the guest starts with {needed} bytes of memory, {limit} are allowed")]
    MemoryLimit {
        /// The memory that an instance starts with, in bytes.
        needed: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The compilation took longer than [`CompileLimits`](crate::CompileLimits) allow.
    #[error("compiling took longer than {limit:?}")]
    CompileTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The compiler needed more memory than [`CompileLimits`](crate::CompileLimits) allow.
    #[error("compiling needs more than {limit} bytes of memory")]
    CompileMemory {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The compiler's process ended without a result.
    #[error("the compiler was lost: {cause}")]
    CompilerLost {
        /// How it ended.
        cause: WorkerExit,
    },
    /// The guest failed while it described its tasks.
    #[error("the guest could not describe its tasks")]
    Describe(#[source] TaskError),
    /// The guest's description of its tasks is invalid.
    #[error("the guest's description is invalid: {message}")]
    Description {
        /// The first mistake in it.
        message: String,
    },
    /// A child process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl LoadError {
    pub(crate) fn read(path: &Path, error: io::Error) -> Self {
        Self::Read { path: path.to_owned(), error: Arc::new(error) }
    }
}
