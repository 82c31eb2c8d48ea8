//! The task's log: lines with a level, which the host collects with the task's outcome.

use std::fmt::{Arguments, Write as _};

use wpool_abi::level;

/// How severe a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = level::ERROR,
    /// Something is suspicious.
    Warn = level::WARN,
    /// What happens.
    Info = level::INFO,
    /// What happens in detail.
    Debug = level::DEBUG,
    /// Everything.
    Trace = level::TRACE,
}

/// Writes one line to the task's log. What is beyond the log's limit is dropped and counted.
pub fn write_log(level: Level, arguments: Arguments<'_>) {
    match arguments.as_str() {
        Some(line) => crate::glue::host_log(level, line),
        None => {
            let mut line = String::new();
            // Writing to a string fails only if a Display does, and then the line so far is the line.
            let _incomplete = line.write_fmt(arguments);
            crate::glue::host_log(level, &line);
        }
    }
}

macro_rules! level_macros {
    ($($(#[$docs:meta])* $name:ident => $level:ident, $dollar:tt;)*) => {
        $($(#[$docs])*
        #[macro_export]
        macro_rules! $name {
            ($dollar($arguments:tt)*) => {
                $crate::__private::write_log($crate::Level::$level, ::core::format_args!($dollar($arguments)*))
            };
        })*
    };
}

level_macros! {
    /// Writes an error to the task's log, with the syntax of `format!`.
    error => Error, $;
    /// Writes a warning to the task's log, with the syntax of `format!`.
    warn => Warn, $;
    /// Writes a line of information to the task's log, with the syntax of `format!`.
    ///
    /// ```
    /// wpool_guest::info!("{} words", 3);
    /// ```
    info => Info, $;
    /// Writes a line of detail to the task's log, with the syntax of `format!`.
    debug => Debug, $;
    /// Writes a line of the finest detail to the task's log, with the syntax of `format!`.
    trace => Trace, $;
}
