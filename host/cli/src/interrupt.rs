//! Ctrl-C: once finishes what runs, twice ends at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::exit_code::INTERRUPTED;

static INTERRUPTED_ONCE: AtomicBool = AtomicBool::new(false);
/// What is to be stopped at the first signal.
static STOP: Mutex<Option<Stop>> = Mutex::new(None);

type Stop = Box<dyn Fn() + Send>;

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
        if let Some(stop) = &*STOP.lock().unwrap_or_else(PoisonError::into_inner) {
            stop();
        }
    })
}

/// Names what stops the map at the first signal.
pub(crate) fn stops(stop: impl Fn() + Send + 'static) {
    at_first(Box::new(stop));
}

/// Names the task that the first signal ends.
pub(crate) fn ends(future: wpool::TaskFuture<wpool::Undecoded>) {
    at_first(Box::new(move || future.kill()));
}

/// If the signal has come already, it is done now.
fn at_first(stop: Stop) {
    let mut place = STOP.lock().unwrap_or_else(PoisonError::into_inner);
    if requested() {
        stop();
    }
    *place = Some(stop);
}

#[expect(clippy::exit, reason = "somebody has asked twice for this process to end")]
fn end_now() -> ! {
    std::process::exit(i32::from(INTERRUPTED));
}
