//! The pool's callback thread: started with the first callback, it runs one callback after the other.

use std::panic::AssertUnwindSafe;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// Runs callbacks on a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    thread: Mutex<Option<(Sender<Callback>, JoinHandle<()>)>>,
}

impl Callbacks {
    /// Starts the thread unless it runs.
    pub(crate) fn start(&self) {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return;
        }
        let (sender, receiver) = crossbeam_channel::unbounded::<Callback>();
        let spawned = std::thread::Builder::new()
            .name("wpool callbacks".to_owned())
            .spawn(move || receiver.into_iter().for_each(run));
        match spawned {
            Ok(handle) => *thread = Some((sender, handle)),
            Err(error) => tracing::error!(%error, "no thread for done callbacks; they run where tasks end"),
        }
    }

    /// Has the thread run `callback`; without a thread it runs here and now.
    pub(crate) fn call(&self, callback: Callback) {
        let thread = self.thread.lock();
        let left = match &*thread {
            Some((sender, _)) => sender.send(callback).err().map(|failed| failed.0),
            None => Some(callback),
        };
        drop(thread);
        left.into_iter().for_each(run);
    }

    /// Waits until every callback so far has run.
    pub(crate) fn finish(&self) {
        let Some((sender, handle)) = self.thread.lock().take() else { return };
        drop(sender);
        // A callback may be what drops the pool, and a thread cannot wait for itself.
        if handle.thread().id() != std::thread::current().id() {
            // Panics were caught one by one.
            let _finished = handle.join();
        }
    }
}

/// Runs one callback. A panic is logged, and the thread continues.
fn run(callback: Callback) {
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(callback)) {
        let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        tracing::error!(message, "a callback panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn callbacks_run_in_order_and_a_panic_costs_one() {
        let callbacks = Callbacks::default();
        callbacks.start();
        let (sender, called) = mpsc::channel();
        for n in 0..3 {
            let sender = sender.clone();
            callbacks.call(Box::new(move || {
                assert_ne!(n, 1, "this one panics");
                sender.send(n).unwrap();
            }));
        }
        callbacks.finish();
        assert_eq!(called.try_iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn without_its_thread_a_callback_runs_at_once() {
        let (sender, called) = mpsc::channel();
        Callbacks::default().call(Box::new(move || sender.send(()).unwrap()));
        assert!(called.try_recv().is_ok());
    }
}
