//! The errors of building a pool, and of the settings and initializers that it is built with.

use super::load::LoadError;
use super::spawn::SpawnError;
use super::task::TaskError;

/// Why a pool could not be built.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting has a value that it cannot have.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The pool is closed and accepts no more guests.
    #[error("the pool is closed: {by} was called")]
    Closed {
        /// The function that closed it.
        by: &'static str,
    },
    /// The guest's initializer failed, so no task can start from its state.
    #[error("the guest's initializer failed")]
    Init(#[source] TaskError),
    /// The guest's initializer takes an argument, and none was given with
    /// [`initialized_with`](crate::Guest::initialized_with).
    #[error("the guest's initializer `{name}({parameters})` needs an argument")]
    InitArgument {
        /// The name of the initializer.
        name: String,
        /// Its parameters: names and types.
        parameters: String,
    },
    /// The guest could not be prepared for these limits.
    #[error("cannot prepare the guest")]
    Load(#[from] LoadError),
    /// A child process could not be started, or the system refused another resource.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A setting has a value that it cannot have.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let error = pool.task::<i64, i64>("square")?.chunk(0).unwrap_err();
/// println!("{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} cannot be {value}: {reason}")]
pub struct SettingError {
    /// The name of the setting.
    pub setting: &'static str,
    /// The value.
    pub value: String,
    /// Why the setting cannot have it.
    pub reason: &'static str,
}

impl SettingError {
    pub(crate) fn new(setting: &'static str, value: &impl ToString, reason: &'static str) -> Self {
        Self { setting, value: value.to_string(), reason }
    }
}

/// Why a guest's initializer does not accept an argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The guest has no initializer.
    #[error("the guest has no initializer")]
    None,
    /// The initializer takes another type.
    #[error("initializer `{name}` takes `{expected}`, not `{found}`")]
    TypeMismatch {
        /// The name of the initializer.
        name: String,
        /// The type in the guest's description.
        expected: String,
        /// The type of the argument.
        found: String,
    },
    /// The argument does not fit the initializer's parameters, or cannot be encoded.
    #[error("the initializer's argument does not fit: {message}")]
    Argument {
        /// The first mistake in it.
        message: String,
    },
}
