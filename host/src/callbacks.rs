//! The pool's callback thread: started with the first callback, it runs one callback after the other.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use crate::lock::Mutex;

pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// Runs code of the program that embeds the pool: a waker, or the drop of what it has passed. A panic there costs nothing
/// else.
pub(crate) fn guarded(act: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(act)).is_err() {
        tracing::error!("a waker, or a drop, of the program has panicked");
    }
}

/// Runs callbacks on a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    thread: Mutex<Option<(Sender<Callback>, JoinHandle<()>)>>,
    /// Held by the thread that waits for the last callback.
    finishing: Mutex<()>,
}

thread_local! {
    /// The `Callbacks` whose thread this is, as an address that is only compared; zero for any other thread.
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

/// The thread for callbacks on futures whose pool is gone.
pub(crate) fn after_pools() -> &'static Callbacks {
    static CALLBACKS: Callbacks = Callbacks { thread: Mutex::new(None), finishing: Mutex::new(()) };
    CALLBACKS.start();
    &CALLBACKS
}

impl Callbacks {
    /// Starts the thread unless it runs.
    pub(crate) fn start(&self) {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return;
        }
        let (sender, receiver) = crossbeam_channel::unbounded::<Callback>();
        let address = self.address();
        let spawned = std::thread::Builder::new().name("wpool callbacks".to_owned()).spawn(move || {
            RUNS.set(address);
            receiver.into_iter().for_each(run);
        });
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

    /// Waits until every callback so far has run. A callback that asks for this is not waited for.
    pub(crate) fn finish(&self) {
        if RUNS.get() == self.address() {
            return;
        }
        let _finishing = self.finishing.lock();
        let Some((sender, handle)) = self.thread.lock().take() else { return };
        drop(sender);
        // Panics were caught one by one.
        let _finished = handle.join();
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
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
    fn a_callback_that_waits_for_all_callbacks_does_not_wait_for_itself() {
        let callbacks = std::sync::Arc::new(Callbacks::default());
        callbacks.start();
        let (sender, called) = mpsc::channel();
        let inner = std::sync::Arc::clone(&callbacks);
        callbacks.call(Box::new(move || {
            inner.finish();
            sender.send(()).unwrap();
        }));
        callbacks.finish();
        assert!(called.try_recv().is_ok());
    }

    #[test]
    fn without_its_thread_a_callback_runs_at_once() {
        let (sender, called) = mpsc::channel();
        Callbacks::default().call(Box::new(move || sender.send(()).unwrap()));
        assert!(called.try_recv().is_ok());
    }
}
