//! Ctrl-C: once finishes what runs, twice ends at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::exit_code::INTERRUPTED;

static INTERRUPTED_ONCE: AtomicBool = AtomicBool::new(false);
/// What is to be stopped at the first signal.
static STOP: Mutex<Option<wpool::Canceller>> = Mutex::new(None);

/// Whether somebody wants the run to end.
pub(crate) fn requested() -> bool {
    INTERRUPTED_ONCE.load(Ordering::SeqCst)
}

/// Starts to listen for Ctrl-C, SIGTERM and SIGHUP.
pub(crate) fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if INTERRUPTED_ONCE.swap(true, Ordering::SeqCst) {
            // The workers die with this process.
            end_now();
        }
        if let Some(canceller) = &*STOP.lock().unwrap_or_else(PoisonError::into_inner) {
            canceller.cancel();
        }
    })
}

/// Names what the first signal stops. If it has come already, that is stopped now.
pub(crate) fn stops(canceller: wpool::Canceller) {
    *STOP.lock().unwrap_or_else(PoisonError::into_inner) = Some(canceller.clone());
    if requested() {
        canceller.cancel();
    }
}

#[expect(clippy::exit, reason = "somebody has asked twice for this process to end")]
fn end_now() -> ! {
    std::process::exit(i32::from(INTERRUPTED));
}
