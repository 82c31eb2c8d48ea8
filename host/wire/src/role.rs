//! The hidden argument by which a pool starts a program as one of its child processes.

/// Starts a worker.
pub const WORKER: &str = "__worker";
/// Starts a compiler.
pub const COMPILER: &str = "__compile";

/// The role that this process was started in; `None` if its only argument is not a role.
///
/// A role has to be the only argument, so a program keeps its own behaviour if a role's name is among other arguments.
#[must_use]
pub fn asked() -> Option<&'static str> {
    let mut arguments = std::env::args_os();
    let role = arguments.nth(1)?;
    if arguments.next().is_some() {
        return None;
    }
    [WORKER, COMPILER].into_iter().find(|known| role == *known)
}
