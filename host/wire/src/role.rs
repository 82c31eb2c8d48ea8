//! The hidden first argument that tells a program which child process of a pool it is.

/// Makes a program a worker.
pub const WORKER: &str = "__worker";
/// Makes a program a compiler.
pub const COMPILER: &str = "__compile";

/// The role that this process was started in; `None` if it was not started by a pool.
///
/// A role is the only argument, so a person who types it among others does not lose the program's own behaviour.
#[must_use]
pub fn asked() -> Option<&'static str> {
    let mut arguments = std::env::args_os();
    let role = arguments.nth(1)?;
    if arguments.next().is_some() {
        return None;
    }
    [WORKER, COMPILER].into_iter().find(|known| role == *known)
}
