//! Polling of futures without an executor: a worker's futures wake nothing, they are polled again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use crate::ticker::TICK;

pub(crate) fn once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a future that suspends for nothing but points in time, in a worker that has nothing else to do.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match once(future.as_mut()) {
            Poll::Ready(output) => return output,
            // Only descriptions and initializers run here, which seldom sleep: the exact time does not matter.
            Poll::Pending => std::thread::sleep(TICK),
        }
    }
}
