//! [`wait_ready`]: waits until one of several queues and pipes can be read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wpool_abi::object::ObjectError;

use super::manager::{Connection, Queue, Receiver};

/// An object that [`wait_ready`] can wait for: a queue, its receiver, or an end of a pipe.
///
/// ```
/// let numbers = wpool::Manager::new().queue::<u32>(0);
/// numbers.put(&1)?;
/// assert_eq!(wpool::wait_ready(&[&numbers], None)?, [0]);
/// # Ok::<(), wpool::ObjectError>(())
/// ```
pub trait Readable: sealed::Sealed {
    /// Resolves when there is something to read; the end of the values counts as something.
    #[doc(hidden)]
    fn when_ready(&self) -> Ready<'_>;
}

type Ready<'a> = Pin<Box<dyn Future<Output = Result<(), ObjectError>> + 'a>>;

mod sealed {
    pub trait Sealed {}
}

macro_rules! readable {
    ($($name:ident),*) => { $(
        impl<T> sealed::Sealed for $name<T> {}

        impl<T> Readable for $name<T> {
            fn when_ready(&self) -> Ready<'_> {
                Box::pin(self.ready())
            }
        }
    )* };
}

readable!(Connection, Queue, Receiver);

/// A waker that unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until at least one of `objects` is ready to be read, at most for `timeout`, and returns the indices of those
/// that are ready; none of them are if the time is over. An object that is closed, or whose other end is gone, is
/// ready, too: reading it returns the error. `None` is no limit; zero looks without waiting. With an empty slice it
/// returns at once.
///
/// ```no_run
/// use wpool::{Manager, PipeMode};
/// let manager = Manager::new();
/// let ((a, _to_a), (b, _to_b)) = (manager.pipe::<String>(PipeMode::OneWay), manager.pipe::<u32>(PipeMode::OneWay));
/// for index in wpool::wait_ready(&[&a, &b], None)? {
///     match index {
///         0 => println!("{}", a.recv()?),
///         _ => println!("{}", b.recv()?),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the pool is gone.
pub fn wait_ready(
    objects: &[&dyn Readable],
    timeout: impl Into<Option<Duration>>,
) -> Result<Vec<usize>, ObjectError> {
    let deadline = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut waits: Vec<Ready<'_>> = objects.iter().map(|object| object.when_ready()).collect();
    loop {
        let mut ready = Vec::new();
        for (index, wait) in waits.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = wait.as_mut().poll(&mut context) {
                outcome?;
                ready.push(index);
            }
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if !ready.is_empty() || objects.is_empty() || left.is_some_and(|left| left.is_zero()) {
            return Ok(ready);
        }
        match left {
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
    }
}
