//! The child processes of a wpool pool: the worker, which runs guests, the compiler, and the sandbox that both enter.
//!
//! Internal to wpool, and the only crate that links the WebAssembly engine. A program becomes a child by
//! [`run_if_asked`], which `wpool::init()` calls; nothing else is public.

mod compiler;
mod engine;
mod faults;
mod guest_mem;
mod handles;
mod imports;
mod instance;
mod output;
mod parent;
mod requests;
mod sandbox;
mod serve;
mod snapshot;
mod state;
mod wasi;
mod worker;

use std::process::ExitCode;

use wpool_wire::role;

/// Runs the child role that this process was started in, and returns how it ended. `None` if a pool did not start this
/// process: then it is an ordinary program.
pub fn run_if_asked() -> Option<ExitCode> {
    match role::asked()? {
        role::WORKER => Some(worker::main()),
        role::COMPILER => Some(compiler::main()),
        _ => None,
    }
}
