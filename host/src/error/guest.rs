//! The error that a task returned, and the functions in which a guest was stopped.

use std::fmt;

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

/// The error that a task returned.
///
/// Its text is the message, or a fixed sentence if the message is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestError {
    pub(crate) message: String,
    pub(crate) value: Option<Vec<u8>>,
    /// The fingerprint of the value's type, as the guest has described it; `None` if it is not known.
    pub(crate) fingerprint: Option<u64>,
}

impl GuestError {
    /// Returns the text of the guest's error. It is empty if the error's type has no `Display`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the guest's error in postcard. `None` if its type has no schema.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Returns the guest's error as an `E`. `None` if the guest sent no value, or `E` is not the type that the guest has
    /// described.
    ///
    /// ```no_run
    /// use wpool::TaskError;
    /// #[derive(serde::Deserialize, wpool::Schema)]
    /// enum Problem {
    ///     Odd,
    /// }
    /// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
    /// match pool.task::<i64, i64>("half")?.apply(&3) {
    ///     Err(wpool::ApplyError::Task(TaskError::Guest(error))) => match error.decode::<Problem>() {
    ///         Some(Problem::Odd) => println!("it is odd"),
    ///         None => println!("{error}"),
    ///     },
    ///     other => println!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<E: DeserializeOwned + Schema>(&self) -> Option<E> {
        let is_described = self.fingerprint == Some(wpool_schema::fingerprint::<E>());
        let bytes = self.value.as_deref().filter(|_| is_described)?;
        wpool_schema::check_bounds::<E>(bytes).ok()?;
        postcard::from_bytes(bytes).ok()
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str("the task returned an error");
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestError").field("message", &self.message).finish_non_exhaustive()
    }
}

/// One function in a guest's backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, or its index if the module has no names.
    pub function: String,
    /// The position of the instruction, in bytes from the start of the module. `None` if the engine does not know it.
    pub offset: Option<u64>,
}
