//! The parts that all host functions share: an entry of a table, and the view of the guest that calls.

use wasmtime::{Caller, Linker};

use crate::guest_error::BadGuest;
use crate::state::TaskState;

/// An entry of a table of host functions.
pub(super) struct HostFunction {
    pub(super) name: &'static str,
    /// Adds the function to a linker under the name.
    pub(super) define: fn(&mut Linker<TaskState>, &str) -> wasmtime::Result<()>,
}

/// Makes a table of the host functions of `$module`, of which those with `async` can suspend the task.
macro_rules! host_functions {
    ($module:expr, { $($kind:ident $name:expr => $function:expr,)* }) => {
        &[$(HostFunction { name: $name, define: host_functions!(@$kind $module, $function) }),*]
    };
    (@sync $module:expr, $function:expr) => {
        |linker, name| linker.func_wrap($module, name, $function).map(|_| ())
    };
    (@async $module:expr, $function:expr) => {
        |linker, name| {
            linker.func_wrap_async($module, name, |caller, args| Box::new($function(caller, args))).map(|_| ())
        }
    };
}

pub(super) use host_functions;

/// Splits a caller into the guest's memory and the task's state.
///
/// # Errors
/// If the guest calls while its instance is being made, when it has no memory yet.
pub(super) fn memory_and_state<'a>(
    caller: &'a mut Caller<'_, TaskState>,
) -> Result<(&'a mut [u8], &'a mut TaskState), BadGuest> {
    let memory =
        caller.data().memory.ok_or_else(|| BadGuest("it called the host while it started".to_owned()))?;
    Ok(memory.data_and_store_mut(caller))
}
