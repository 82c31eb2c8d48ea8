//! Awaits tasks: their futures work with any executor; this program's has a dozen lines.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use wpool::{Guest, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(wpool_examples::guest("primes")?)?).build()?;
    block_on(async {
        let primes = pool.task::<u32, u32>("primes")?;
        // Both are submitted before the first is awaited, so they run side by side.
        let (small, large) = (primes.submit(&1000)?, primes.submit(&1_000_000)?);
        wpool_examples::say(&format!("{} primes below a thousand", small.await?));
        wpool_examples::say(&format!("{} primes below a million", large.await?));
        Ok(())
    })
}

/// Wakes the thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
