//! The errors of reading and of writing JSON.

use std::fmt;

/// Why a JSON text does not fit a task's parameters.
///
/// It is printed as the path and the message. The position is for the caller, who knows where the text comes from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct JsonError {
    /// The mistake, such as ``expected u32, got string "x"``.
    pub message: String,
    /// The part of the value, such as `.name` or `[3].size`. Empty for the value itself.
    pub path: String,
    /// The line in the text, counted from 1.
    pub line: usize,
    /// The column in that line in bytes, counted from 1.
    pub column: usize,
    /// Whether the text is not JSON at all.
    pub syntax: bool,
    /// Whether the text names a shared object that the [`NamedObjects`](crate::NamedObjects) do not have.
    pub unknown_object: bool,
}

impl JsonError {
    /// Makes the error for a file's content that has to be a string and is not UTF-8.
    pub(in crate::guest) fn not_utf8(error: std::str::Utf8Error) -> Self {
        Self {
            message: format!("expected text in UTF-8, got other bytes at {}", error.valid_up_to()),
            path: String::new(),
            line: 1,
            column: 1,
            syntax: true,
            unknown_object: false,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Why the bytes of a value cannot be written as JSON: they are not of the type that the guest has described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);
