//! The thread that ends calls of shared objects at their deadlines. It starts with the first deadline, and ends with the
//! server.

use std::sync::Arc;
use std::time::Instant;

use crate::lock::{Condvar, Mutex};

/// Ends the calls whose time is over. Returns the deadline of the next one.
type Expire = Box<dyn Fn() -> Option<Instant> + Send + Sync>;

/// When the next call is to end, and how.
pub(super) struct Timer {
    expire: Expire,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: Option<Instant>,
    is_running: bool,
    stopped: bool,
}

impl Timer {
    pub(super) fn new(expire: Expire) -> Arc<Self> {
        Arc::new(Self { expire, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Has the thread look at the deadlines at `at`, or earlier.
    pub(super) fn watch(self: &Arc<Self>, at: Instant) {
        let mut state = self.state.lock();
        if state.next.is_some_and(|next| next <= at) {
            return;
        }
        state.next = Some(at);
        if state.is_running {
            self.changed.notify_all();
            return;
        }
        let timer = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("wpool manager".to_owned()).spawn(move || timer.run());
        match spawned {
            Ok(_) => state.is_running = true,
            Err(error) => {
                tracing::error!(%error, "no thread for the deadlines of shared objects");
                // The next deadline tries again.
                state.next = None;
            }
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    fn run(self: &Arc<Self>) {
        while self.wait_for_next() {
            if let Some(next) = (self.expire)() {
                self.watch(next);
            }
        }
    }

    /// Waits until something is due. Returns false if the server is gone.
    fn wait_for_next(&self) -> bool {
        let mut state = self.state.lock();
        while !state.stopped {
            match state.next {
                None => self.changed.wait(&mut state),
                Some(at) if at <= Instant::now() => {
                    state.next = None;
                    return true;
                }
                Some(at) => {
                    self.changed.wait_until(&mut state, at);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_looks_at_each_deadline_and_not_after_it_was_stopped() {
        let (sender, looked) = mpsc::channel();
        let again = Mutex::new(Some(Duration::from_millis(1)));
        let timer = Timer::new(Box::new(move || {
            sender.send(()).unwrap();
            again.lock().take().map(|after| Instant::now() + after)
        }));
        timer.watch(Instant::now());
        let patience = Duration::from_secs(30);
        assert!(
            looked.recv_timeout(patience).is_ok() && looked.recv_timeout(patience).is_ok(),
            "the second is due, too"
        );
        timer.watch(Instant::now() + Duration::from_secs(3600));
        timer.watch(Instant::now());
        assert!(looked.recv_timeout(patience).is_ok(), "an earlier deadline comes first");
        timer.watch(Instant::now() + Duration::from_secs(3600));
        timer.stop();
        drop(timer);
        assert!(
            looked.recv_timeout(patience).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
