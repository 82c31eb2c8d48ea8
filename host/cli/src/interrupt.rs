//! Ctrl-C, SIGTERM and SIGHUP: the first signal ends the run early, the second ends the process at once.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};

use crate::exit_code::INTERRUPTED;
use crate::target::remove_unfinished;

/// Tells whether a signal has come, and lets a watch call a function at the first.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// Never carries a message: the first signal disconnects it, which every later look at it sees too.
    first: Receiver<Infallible>,
    /// Whether there is anything to finish. Before that, the first signal ends the process: it may wait to open a file.
    has_begun: Arc<AtomicBool>,
}

impl Interrupt {
    /// Begins to listen for signals. Possible once in a process.
    pub(crate) fn listen() -> Result<Self, ctrlc::Error> {
        let (connected, interrupt) = Self::pair();
        let (mut connected, has_begun) = (Some(connected), Arc::clone(&interrupt.has_begun));
        ctrlc::set_handler(move || {
            if connected.take().is_none() || !has_begun.load(Ordering::SeqCst) {
                // The workers die with this process.
                end_now();
            }
        })?;
        Ok(interrupt)
    }

    /// An interrupt, and what is dropped at the first signal.
    fn pair() -> (Sender<Infallible>, Self) {
        let (connected, first) = bounded(1);
        (connected, Self { first, has_begun: Arc::default() })
    }

    /// Whether a signal has come.
    pub(crate) fn requested(&self) -> bool {
        matches!(self.first.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Has `stop` called at the first signal, at once if it has come already, until the watch is dropped.
    pub(crate) fn on_first(&self, stop: impl FnOnce() + Send + 'static) -> io::Result<Watch> {
        self.on_first_and_after(stop, None, || {})
    }

    /// As [`on_first`](Self::on_first), and has `kill` called when `grace` has passed after that. `None` is for ever.
    pub(crate) fn on_first_and_after(
        &self,
        stop: impl FnOnce() + Send + 'static,
        grace: Option<Duration>,
        kill: impl FnOnce() + Send + 'static,
    ) -> io::Result<Watch> {
        self.has_begun.store(true, Ordering::SeqCst);
        let (connected, dropped) = bounded::<Infallible>(1);
        let first = self.first.clone();
        let thread = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
            select! {
                recv(first) -> _ => stop(),
                recv(dropped) -> _ => return,
            }
            if let Some(grace) = grace
                && dropped.recv_timeout(grace) == Err(RecvTimeoutError::Timeout)
            {
                kill();
            }
        })?;
        Ok(Watch { connected: Some(connected), thread: Some(thread) })
    }
}

/// Waits for the first signal; dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Watch {
    connected: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.connected.take());
        // A panic of the thread was printed when it happened.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[expect(clippy::exit, reason = "the second signal asks for the end of this process")]
fn end_now() -> ! {
    remove_unfinished();
    std::process::exit(i32::from(INTERRUPTED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_calls_stop_whether_it_comes_before_or_after() {
        for before in [true, false] {
            let (connected, interrupt) = Interrupt::pair();
            let (stopped, stops) = bounded(1);
            let mut connected = Some(connected);
            if before {
                drop(connected.take());
            }
            let watch = interrupt.on_first(move || stopped.send(()).unwrap()).unwrap();
            assert_eq!(interrupt.requested(), before);
            drop(connected);
            assert_eq!(stops.recv(), Ok(()));
            assert!(interrupt.requested());
            drop(watch);
        }
    }

    #[test]
    fn what_goes_on_after_the_grace_is_killed() {
        let (connected, interrupt) = Interrupt::pair();
        let (happens, happened) = bounded(2);
        let (stops, kills) = (happens.clone(), happens);
        let watch = interrupt.on_first_and_after(
            move || stops.send("stop").unwrap(),
            Some(Duration::from_millis(1)),
            move || kills.send("kill").unwrap(),
        );
        drop(connected);
        assert_eq!((happened.recv(), happened.recv()), (Ok("stop"), Ok("kill")));
        drop(watch.unwrap());
    }

    #[test]
    fn a_watch_that_is_dropped_stops_nothing() {
        let (connected, interrupt) = Interrupt::pair();
        let (stopped, stops) = bounded(1);
        drop(interrupt.on_first(move || stopped.send(()).unwrap()).unwrap());
        drop(connected);
        assert!(stops.recv().is_err() && interrupt.requested());
    }
}
