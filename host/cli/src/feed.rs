//! The inputs on their way from the thread that reads them to the map, which never waits for them.
//!
//! The queue is bounded in inputs and in bytes. It is not a channel, as none is bounded in bytes, and the map takes
//! all that is there at once: a crowd of fast inputs costs it one lock, and no wake-up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use wpool::RawArguments;

use crate::exit_code::Failure;

/// The reader waits while the queue holds this number of inputs, or of their bytes.
const MAX_INPUTS: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

/// An input for the pool: its arguments, or the reason why it has none.
pub(crate) type Input = Result<RawArguments, String>;

/// Inputs one after the other, or the failure that ends them. Each may have to be waited for.
pub(crate) type Inputs = Box<dyn Iterator<Item = Result<Input, Failure>>>;

/// The map's end of the queue. When it is dropped the reader ends with its next input.
pub(crate) struct Feed {
    queue: Arc<Queue>,
    /// Inputs that were taken from the queue together.
    taken: VecDeque<Input>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    inputs: VecDeque<Input>,
    bytes: usize,
    /// The input that the reader has, which waits for room.
    held: Option<Input>,
    ended: bool,
    /// The failure that has ended the inputs early.
    failure: Option<Failure>,
    /// The map takes no more.
    closed: bool,
    /// The map has found nothing, and is to be woken.
    is_awaited: bool,
    waker: Option<Waker>,
}

impl Feed {
    /// Starts the thread that reads the inputs. `open` runs on it, too: a named pipe may have no writer yet.
    pub(crate) fn start(
        open: impl FnOnce() -> Result<Inputs, Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let queue = Arc::new(Queue::default());
        // The end that the map sees if the thread panics.
        let panicked = Some(Failure::input("the inputs could not be read"));
        let reader = Reader { queue: Arc::clone(&queue), failure: panicked };
        // It is not joined, as it may wait for an input that never comes.
        let thread = std::thread::Builder::new().name("inputs".to_owned()).spawn(move || reader.run(open));
        thread.map_err(Failure::start)?;
        Ok(Self { queue, taken: VecDeque::new() })
    }

    /// Has `waker` woken when there is an input after there was none; now, too.
    pub(crate) fn wake_with(&self, waker: Waker) {
        self.queue.lock().waker = Some(waker.clone());
        waker.wake();
    }

    /// Returns the next input, `Pending` if there is none for now, and `None` at their end.
    pub(crate) fn poll(&mut self) -> Option<Poll<Input>> {
        if self.taken.is_empty() {
            let mut state = self.queue.lock();
            std::mem::swap(&mut state.inputs, &mut self.taken);
            state.bytes = 0;
            state.is_awaited = self.taken.is_empty();
            if self.taken.is_empty() {
                return (!state.ended).then_some(Poll::Pending);
            }
            drop(state);
            self.queue.room.notify_one();
        }
        self.taken.pop_front().map(Poll::Ready)
    }

    /// Whether every input was taken.
    pub(crate) fn is_at_end(&self) -> bool {
        self.taken.is_empty() && {
            let state = self.queue.lock();
            state.inputs.is_empty() && state.ended
        }
    }

    /// Ends the queue. Returns the inputs in it, which nobody takes any more.
    pub(crate) fn end(mut self) -> Vec<Input> {
        let mut state = self.queue.lock();
        state.closed = true;
        let rest = std::mem::take(&mut state.inputs);
        let held = state.held.take();
        drop(state);
        std::mem::take(&mut self.taken).into_iter().chain(rest).chain(held).collect()
    }

    /// Returns the failure that has ended the inputs early, if all inputs before it were taken.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        if self.is_at_end() { self.queue.lock().failure.take() } else { None }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.room.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an input when there is room. Returns false if the map takes no more.
    fn push(&self, input: Input) -> bool {
        let mut state = self.lock();
        state.held = Some(input);
        while !state.closed && (state.inputs.len() >= MAX_INPUTS || state.bytes >= MAX_BYTES) {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        let Some(input) = state.held.take() else { return false };
        state.bytes += input.as_ref().map_or_else(String::len, |arguments| arguments.bytes().len());
        state.inputs.push_back(input);
        let waker = state.take_awaited();
        drop(state);
        waker.iter().for_each(Waker::wake_by_ref);
        true
    }
}

impl State {
    /// The waker of the map if it waits, to be woken when the lock is released.
    fn take_awaited(&mut self) -> Option<Waker> {
        let is_awaited = std::mem::take(&mut self.is_awaited);
        self.waker.as_ref().filter(|_| is_awaited).cloned()
    }
}

/// The thread's end of the queue; when it is dropped the inputs have ended.
struct Reader {
    queue: Arc<Queue>,
    failure: Option<Failure>,
}

impl Reader {
    fn run(mut self, open: impl FnOnce() -> Result<Inputs, Failure>) {
        let ended = self.read(open);
        self.failure = ended.err();
    }

    fn read(&self, open: impl FnOnce() -> Result<Inputs, Failure>) -> Result<(), Failure> {
        for input in open()? {
            if !self.queue.push(input?) {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.failure = self.failure.take();
        state.ended = true;
        let waker = state.take_awaited();
        drop(state);
        waker.iter().for_each(Waker::wake_by_ref);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Tells a channel of each wake-up.
    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }

    fn feed(
        inputs: impl Iterator<Item = Result<Input, Failure>> + Send + 'static,
    ) -> (Feed, mpsc::Receiver<()>) {
        let (sender, bell) = mpsc::channel();
        let feed = Feed::start(|| Ok(Box::new(inputs))).unwrap();
        feed.wake_with(Waker::from(Arc::new(Bell(sender))));
        bell.recv().unwrap();
        (feed, bell)
    }

    fn input(number: usize) -> Result<Input, Failure> {
        Ok(Err(number.to_string()))
    }

    /// Takes the next input, and waits for it as a map does.
    fn next(feed: &mut Feed, bell: &mpsc::Receiver<()>) -> Option<String> {
        loop {
            match feed.poll()? {
                Poll::Ready(input) => return input.err(),
                Poll::Pending => bell.recv_timeout(Duration::from_secs(30)).unwrap(),
            }
        }
    }

    #[test]
    fn inputs_come_in_order_and_their_failure_after_them() {
        let inputs = (0..3 * MAX_INPUTS).map(input).chain([Err(Failure::input("torn"))]);
        let (mut feed, bell) = feed(inputs);
        for number in 0..3 * MAX_INPUTS {
            assert!(feed.take_failure().is_none());
            assert_eq!(next(&mut feed, &bell), Some(number.to_string()));
        }
        assert_eq!(next(&mut feed, &bell), None);
        assert_eq!(feed.take_failure().unwrap().to_string(), "torn");
    }

    #[test]
    fn what_is_not_taken_is_bounded_and_a_reader_of_no_use_ends() {
        let (sender, read) = mpsc::channel();
        let counted = (0..).map(input).inspect(move |_| sender.send(()).unwrap_or_default());
        let (mut feed, bell) = feed(counted);
        assert_eq!(next(&mut feed, &bell).as_deref(), Some("0"));
        drop(feed);
        // The iterator is dropped with its thread, and the sender with it.
        assert!(read.into_iter().count() <= 3 * MAX_INPUTS);
    }

    #[test]
    fn large_inputs_wait_for_room_in_bytes() {
        let queue = Queue::default();
        assert!(queue.push(Err("x".repeat(MAX_BYTES - 1))) && queue.push(Err("x".to_owned())));
        std::thread::scope(|scope| {
            let third = scope.spawn(|| queue.push(Err("y".to_owned())));
            queue.lock().closed = true;
            queue.room.notify_one();
            assert!(!third.join().unwrap(), "it waited, until the map was gone");
        });
        assert_eq!(queue.lock().inputs.len(), 2);
    }

    #[test]
    fn a_reader_that_panics_is_a_failure() {
        let (mut feed, bell) =
            feed((0..2).map(|number| if number == 1 { panic!("on purpose") } else { input(number) }));
        assert_eq!(next(&mut feed, &bell).as_deref(), Some("0"));
        assert_eq!(next(&mut feed, &bell), None);
        assert_eq!(feed.take_failure().unwrap().to_string(), "the inputs could not be read");
    }
}
