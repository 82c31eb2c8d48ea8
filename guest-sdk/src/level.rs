//! [`Level`]: the severity of a line in the task's log.

use wpool_abi::level;

/// The severity of a line in the task's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Level {
    /// An error.
    Error = level::ERROR,
    /// A warning.
    Warn = level::WARN,
    /// Information.
    Info = level::INFO,
    /// Details for debugging.
    Debug = level::DEBUG,
    /// The finest details.
    Trace = level::TRACE,
}
