//! The ways in which a worker's process ends.

use std::fmt;

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerExit {
    /// The process exited by itself, with this code.
    Code(i32),
    /// A signal ended the process.
    Signal {
        /// The signal, such as 9 for SIGKILL.
        signal: i32,
        /// Whether the pool sent it.
        by_pool: bool,
    },
    /// The worker violated the protocol in this way, and the pool killed it.
    Violation(String),
    /// The process has ended, and other code of this program has collected its status.
    Unknown,
}

impl WorkerExit {
    /// Returns whether neither the pool nor the task ended the worker.
    ///
    /// SIGKILL and SIGTERM that the pool did not send are external: the kernel's out-of-memory killer ends a process
    /// with SIGKILL, too. [`Unknown`](Self::Unknown) counts as external.
    pub fn is_external(&self) -> bool {
        const SIGKILL: i32 = 9;
        const SIGTERM: i32 = 15;
        match self {
            WorkerExit::Signal { signal: SIGKILL | SIGTERM, by_pool } => !by_pool,
            WorkerExit::Unknown => true,
            _ => false,
        }
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerExit::Code(code) => write!(f, "it exited with code {code}"),
            WorkerExit::Signal { signal, .. } => write!(f, "it was ended by {}", signal_name(*signal)),
            WorkerExit::Violation(violation) => write!(f, "it broke the protocol ({violation})"),
            WorkerExit::Unknown => f.write_str("it is gone"),
        }
    }
}

/// Returns the name of a signal that can end a process.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_from_outside_is_external_and_a_crash_is_not() {
        let outside = WorkerExit::Signal { signal: 9, by_pool: false };
        let ours = WorkerExit::Signal { signal: 9, by_pool: true };
        let crash = WorkerExit::Signal { signal: 11, by_pool: false };
        assert!(outside.is_external() && !ours.is_external() && !crash.is_external());
    }
}
