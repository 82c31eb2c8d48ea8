//! The thread that calls back: started when the first callback is added, one call after the other.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

type Callback = Box<dyn FnOnce() + Send>;

/// Calls back on a thread of its own.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    thread: Mutex<Option<(Sender<Callback>, JoinHandle<()>)>>,
}

impl Callbacks {
    /// Starts the thread unless it runs.
    pub(super) fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let (sender, receiver) = channel::<Callback>();
        let spawned = std::thread::Builder::new().name("wpool callbacks".to_owned()).spawn(move || {
            for callback in receiver {
                if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(callback)) {
                    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
                    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                    tracing::error!(message, "a callback panicked");
                }
            }
        });
        match spawned {
            Ok(handle) => *thread = Some((sender, handle)),
            Err(error) => tracing::error!(%error, "no thread for done callbacks; they run where tasks end"),
        }
    }

    /// Calls back soon; at once and here if there is no thread.
    pub(super) fn call(&self, callback: Callback) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let left = match &*thread {
            Some((sender, _)) => sender.send(callback).err().map(|failed| failed.0),
            None => Some(callback),
        };
        drop(thread);
        if let Some(callback) = left {
            callback();
        }
    }

    /// Waits until everything that was to be called back has been.
    pub(super) fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((sender, handle)) = thread else { return };
        drop(sender);
        // A callback may be what drops the pool, and a thread cannot wait for itself.
        if handle.thread().id() != std::thread::current().id() {
            // Panics were caught one by one.
            let _finished = handle.join();
        }
    }
}
