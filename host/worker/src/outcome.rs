//! The outcome of a call: the record that a guest has returned, or the cause of a failure.

use wasmtime::WasmBacktrace;
use wpool_abi::{outcome, status};
use wpool_wire::message::{Frame, Outcome};
use wpool_wire::trap::Trap;

use crate::guest_error::{BadGuest, EndRequested, Exited, LimitExceeded, PolicyDenied};
use crate::guest_mem::{GuestSlice, read_u32};
use crate::state::{TaskLog, TaskState};

/// The resources that a task has used.
pub(crate) struct Figures<'a> {
    pub(crate) run_ns: u64,
    pub(crate) peak_memory: u64,
    pub(crate) fuel: u64,
    pub(crate) log: &'a TaskLog,
}

impl<'a> Figures<'a> {
    pub(crate) fn new(state: &'a TaskState, fuel: u64) -> Self {
        Self {
            run_ns: u64::try_from(state.clock.elapsed().as_nanos()).unwrap_or(u64::MAX),
            peak_memory: state.usage.peak(),
            fuel,
            log: &state.log,
        }
    }
}

/// Passes the outcome of a call that has returned the address `record` to `report`. Also returns whether the instance
/// can run another task, which it can if the task has returned a value or an error of its own.
pub(crate) fn report_returned<R>(
    memory: &[u8],
    record: u32,
    state: &TaskState,
    figures: Figures<'_>,
    report: impl FnOnce(Outcome<'_>, Figures<'_>) -> R,
) -> (R, bool) {
    match read_outcome(memory, record, state) {
        Ok(outcome) => {
            let reusable = matches!(outcome, Outcome::Value(..) | Outcome::Error(_));
            (report(outcome, figures), reusable)
        }
        Err(BadGuest(message)) => (report(Outcome::BadGuest(&message), figures), false),
    }
}

fn read_outcome<'m>(memory: &'m [u8], record: u32, state: &TaskState) -> Result<Outcome<'m>, BadGuest> {
    let field = |n: u32| {
        record
            .checked_add(n * 4)
            .ok_or_else(|| BadGuest("its outcome lies at the end of the address space".to_owned()))
            .and_then(|at| read_u32(memory, at))
    };
    const { assert!(outcome::SIZE == 5 * 4, "the record has the five fields that are read here") };
    let (status, ptr, len) = (field(0)?, field(1)?, field(2)?);
    if len > state.limits.result {
        return Ok(Outcome::OutputLimit { size: u64::from(len) });
    }
    let slice = GuestSlice::new(ptr, len);
    let bytes = slice.read(memory)?;
    let message = || slice.text(memory, "its message");
    match status {
        status::VALUE => Ok(Outcome::Value(bytes, state.handles.read_indices(memory, field(3)?, field(4)?)?)),
        status::ERROR => Ok(Outcome::Error(bytes)),
        status::BAD_ARGUMENTS => Ok(Outcome::BadArguments(message()?)),
        status::BAD_RESULT => Ok(Outcome::BadResult(message()?)),
        other => Err(BadGuest(format!("its outcome has the unknown status {other}"))),
    }
}

/// Passes the outcome of a call that failed with `error` to `report`.
pub(crate) fn report_failure<R>(
    error: &wasmtime::Error,
    state: &TaskState,
    figures: Figures<'_>,
    report: impl FnOnce(Outcome<'_>, Figures<'_>) -> R,
) -> R {
    if let Some(panic) = &state.panic {
        return report(Outcome::Panic { message: &panic.message, location: &panic.location }, figures);
    }
    if error.downcast_ref::<EndRequested>().is_some() {
        return report(Outcome::Killed, figures);
    }
    if let Some(exceeded) = error.downcast_ref::<LimitExceeded>() {
        let outcome = match *exceeded {
            LimitExceeded::Memory { asked } => Outcome::MemoryLimit { asked },
            LimitExceeded::Table { asked } => Outcome::TableLimit { asked },
            LimitExceeded::Emitted { size } => Outcome::EmitLimit { size },
        };
        return report(outcome, figures);
    }
    if let Some(PolicyDenied(capability)) = error.downcast_ref::<PolicyDenied>() {
        return report(Outcome::Denied(*capability), figures);
    }
    if let Some(Exited(code)) = error.downcast_ref::<Exited>() {
        return report(Outcome::Exited { code: *code }, figures);
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) if state.cancel.end_requested() => report(Outcome::Killed, figures),
        Some(wasmtime::Trap::Interrupt) => report(Outcome::Timeout, figures),
        Some(wasmtime::Trap::OutOfFuel) => report(Outcome::OutOfFuel, figures),
        Some(&trap) => {
            let functions = error.downcast_ref::<WasmBacktrace>().map(functions_of).unwrap_or_default();
            let backtrace =
                functions.iter().map(|(function, offset)| Frame { function, offset: *offset }).collect();
            report(Outcome::Trap { number: trap_of(trap).number(), backtrace }, figures)
        }
        None => report(Outcome::BadGuest(&format!("{error:#}")), figures),
    }
}

/// Returns the readable names and the offsets of a backtrace's functions.
fn functions_of(backtrace: &WasmBacktrace) -> Vec<(String, Option<u64>)> {
    /// A hostile module may give its functions names of a megabyte.
    const LONGEST_NAME: usize = 200;
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        // The alternate form leaves out the hash at the end of a mangled name.
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)).chars().take(LONGEST_NAME).collect(),
        None => format!("function {}", frame.func_index()),
    };
    let offset = |frame: &wasmtime::FrameInfo| frame.module_offset().map(|offset| offset as u64);
    backtrace.frames().iter().map(|frame| (name(frame), offset(frame))).collect()
}

fn trap_of(trap: wasmtime::Trap) -> Trap {
    match trap {
        wasmtime::Trap::StackOverflow => Trap::StackOverflow,
        wasmtime::Trap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        wasmtime::Trap::HeapMisaligned => Trap::HeapMisaligned,
        wasmtime::Trap::TableOutOfBounds => Trap::TableOutOfBounds,
        wasmtime::Trap::IndirectCallToNull => Trap::IndirectCallToNull,
        wasmtime::Trap::BadSignature => Trap::BadSignature,
        wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
        wasmtime::Trap::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        wasmtime::Trap::BadConversionToInteger => Trap::BadConversionToInteger,
        wasmtime::Trap::UnreachableCodeReached => Trap::UnreachableCodeReached,
        wasmtime::Trap::NullReference => Trap::NullReference,
        wasmtime::Trap::AllocationTooLarge => Trap::AllocationTooLarge,
        _ => Trap::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use wpool_wire::control::ControlPage;
    use wpool_wire::limits::Limits;

    use super::*;
    use crate::output::Output;
    use crate::state::{MemoryBudget, WorkerState};

    fn state() -> TaskState {
        let (socket, _) = UnixStream::pair().unwrap();
        let (control, _) = ControlPage::create().unwrap();
        TaskState::new(&WorkerState {
            limits: Limits::default(),
            output: Arc::new(Output::new(socket)),
            control: Arc::new(control),
            yield_state: Arc::default(),
            budget: Arc::new(MemoryBudget::new(1 << 20)),
            mailbox: Arc::default(),
            name: "0.1".into(),
        })
    }

    /// The outcome of a record at address 0 with bytes at address 32, in words, and whether the instance is reusable.
    fn reported(record: [u32; 5], bytes: &[u8]) -> (String, bool) {
        let mut memory = record.map(u32::to_le_bytes).concat();
        memory.resize(32, 0);
        memory.extend_from_slice(bytes);
        let state = state();
        let figures = Figures::new(&state, 0);
        report_returned(&memory, 0, &state, figures, |outcome, _| format!("{outcome:?}"))
    }

    #[test]
    fn the_error_of_a_bad_record_reaches_the_report() {
        for (record, message) in [
            ([9, 32, 0, 0, 0], "its outcome has the unknown status 9"),
            ([status::BAD_ARGUMENTS, 32, 2, 0, 0], "its message is not UTF-8"),
            ([status::VALUE, 33, 2, 0, 0], "2 bytes at address 33 do not lie in its memory of 34 bytes"),
            ([status::VALUE, 32, 2, 0, 1], "it hands out a handle that it does not have"),
        ] {
            let expected = (format!("BadGuest({message:?})"), false);
            assert_eq!(reported(record, b"a\xff"), expected, "{record:?}");
        }
    }

    #[test]
    fn an_instance_is_reusable_after_a_value_or_an_error() {
        assert_eq!(reported([status::VALUE, 32, 1, 0, 0], b"\x07"), ("Value([7], [])".to_owned(), true));
        assert_eq!(reported([status::ERROR, 32, 1, 0, 0], b"\x07"), ("Error([7])".to_owned(), true));
        let (_, reusable) = reported([status::BAD_RESULT, 32, 1, 0, 0], b"x");
        assert!(!reusable);
    }
}
