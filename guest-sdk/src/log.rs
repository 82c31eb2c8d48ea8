//! The task's log: macros that write one line each, which the host collects with the task's outcome.

use std::fmt::{Arguments, Write as _};

use crate::host;
use crate::level::Level;

/// Writes one line to the task's log. The host drops and counts the lines beyond the log's limit.
pub fn write_log(level: Level, arguments: Arguments<'_>) {
    match arguments.as_str() {
        Some(line) => host::log(level, line),
        None => {
            let mut line = String::new();
            // Writing to a string fails only if a `Display` does; the line is then the text so far.
            let _incomplete = line.write_fmt(arguments);
            host::log(level, &line);
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
    /// Writes a line for debugging to the task's log, with the syntax of `format!`.
    debug => Debug, $;
    /// Writes a line of the finest details to the task's log, with the syntax of `format!`.
    trace => Trace, $;
}
