//! Notices that the reader of a pipe has left, also while nothing is written to it.

use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

/// Waits for the reader's end; dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct ReaderWatch {
    gone: Arc<AtomicBool>,
    /// The thread ends when this is closed.
    connected: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl ReaderWatch {
    /// Has `end` called when no process reads from `output` any more. Without an output it never is.
    pub(crate) fn start(output: Option<OwnedFd>, end: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let gone = Arc::<AtomicBool>::default();
        let Some(output) = output else { return Ok(Self { gone, connected: None, thread: None }) };
        let (dropped, connected) = io::pipe()?;
        let told = Arc::clone(&gone);
        let watch = move || {
            if wait_for_end(&output, &dropped).unwrap_or(false) {
                told.store(true, Ordering::SeqCst);
                end();
            }
        };
        let thread = std::thread::Builder::new().name("reader watch".to_owned()).spawn(watch)?;
        Ok(Self { gone, connected: Some(connected), thread: Some(thread) })
    }

    /// Whether the reader has left.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

impl Drop for ReaderWatch {
    fn drop(&mut self) {
        drop(self.connected.take());
        // A panic of the thread was printed when it happened.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until `output` has no reader, or the other end of `dropped` is closed. Returns whether it was the former.
fn wait_for_end(output: &OwnedFd, dropped: &io::PipeReader) -> io::Result<bool> {
    loop {
        // Errors and hang-ups are reported without being asked for.
        let mut watched = [PollFd::new(output, PollFlags::empty()), PollFd::new(dropped, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) if !watched[1].revents().is_empty() => return Ok(false),
            Ok(_) if !watched[0].revents().is_empty() => return Ok(true),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_a_reader_is_noticed_and_no_other() {
        let (reader, writer) = io::pipe().unwrap();
        let (sender, ends) = mpsc::channel();
        let watch = ReaderWatch::start(Some(writer.into()), move || sender.send(()).unwrap()).unwrap();
        assert!(!watch.is_gone());
        drop(reader);
        ends.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(watch.is_gone());
    }

    #[test]
    fn a_watch_that_is_dropped_ends_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        let (sender, ends) = mpsc::channel();
        drop(ReaderWatch::start(Some(writer.into()), move || sender.send(()).unwrap()).unwrap());
        drop(reader);
        assert!(ends.recv().is_err(), "it was dropped with the thread");
        assert!(!ReaderWatch::start(None, || {}).unwrap().is_gone());
    }
}
