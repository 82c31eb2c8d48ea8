//! The child processes of a wpool pool: the worker, which runs guests, the compiler, and the sandbox that both enter.
//!
//! Internal to wpool, and the only crate that links the WebAssembly engine. A program becomes a child by
//! [`run_if_asked`], which `wpool::init()` calls; nothing else is public.

mod compiler;
mod engine;
mod guest_error;
mod guest_mem;
mod image;
mod imports;
mod instance;
mod outcome;
mod output;
mod parent;
mod poll;
mod sandbox;
mod serve;
mod snapshot;
mod state;
mod ticker;
mod worker;

use std::process::ExitCode;

use wpool_wire::role;

/// Runs the role in which a pool has started this process, and returns its exit code. `None` if its only argument is not a
/// role.
///
/// It closes all descriptors that the program has opened. So it has to be called first in `main`, and the caller has to
/// exit with the code.
pub fn run_if_asked() -> Option<ExitCode> {
    match role::asked()? {
        role::WORKER => Some(worker::main()),
        role::COMPILER => Some(compiler::main()),
        _ => None,
    }
}
