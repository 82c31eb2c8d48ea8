//! The host functions: everything that a guest can import.

mod host_function;
mod random;
mod requests;
mod shared_memory;
mod task;
mod time;
mod wasi;

use wasmtime::{Linker, Module};
use wpool_abi::import;

use self::host_function::{HostFunction, host_functions};
use crate::state::TaskState;

/// The functions of the module `wpool`.
const FUNCTIONS: &[HostFunction] = host_functions!(import::MODULE, {
    sync import::LOG => task::log,
    sync import::PANIC => task::panic,
    sync import::EXIT => task::exit,
    sync import::CANCELLED => task::cancelled,
    sync import::CLOCK => time::read_clock,
    async import::SLEEP => time::sleep,
    sync import::RANDOM => random::fill,
    sync import::WORKER => requests::worker,
    async import::EMIT => requests::emit,
    sync import::SUBMIT => requests::submit,
    async import::OUTCOME => requests::outcome,
    sync import::ANSWER => requests::answer,
    async import::CALL => requests::call,
    async import::POST => requests::post,
    async import::FLUSH => requests::flush,
    sync import::SHARED_SIZE => shared_memory::size,
    sync import::SHARED_READ => shared_memory::read,
    sync import::SHARED_WRITE => shared_memory::write,
    sync import::SHARED_ADD => shared_memory::add,
});

/// Returns whether a guest can import the function `name` of `module`.
pub(crate) fn is_known(module: &str, name: &str) -> bool {
    match module {
        import::MODULE => FUNCTIONS.iter().any(|function| function.name == name),
        import::WASI => wasi::is_known(name),
        _ => false,
    }
}

/// Defines the functions that `module` can import.
pub(crate) fn define(linker: &mut Linker<TaskState>, module: &Module) -> wasmtime::Result<()> {
    for function in FUNCTIONS {
        (function.define)(linker, function.name)?;
    }
    wasi::define(linker, module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_in_its_own_module_only() {
        assert!(is_known(import::MODULE, import::LOG) && !is_known(import::WASI, import::LOG));
        for name in ["fd_write", "path_open", "proc_raise"] {
            assert!(is_known(import::WASI, name) && !is_known(import::MODULE, name), "{name}");
        }
        assert!(!is_known("env", import::LOG) && !is_known(import::MODULE, "logs"));
    }

    #[test]
    fn every_function_is_in_its_table_once() {
        // A linker refuses a second definition of a name.
        let engine = wasmtime::Engine::default();
        let module =
            wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "path_open" (func)))"#).unwrap();
        let module = Module::new(&engine, module).unwrap();
        define(&mut Linker::new(&engine), &module).unwrap();
    }
}
