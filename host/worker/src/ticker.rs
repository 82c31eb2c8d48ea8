//! The ticker: a thread that advances the engine's epoch while tasks run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::Engine;

/// The period of the epoch, which is the resolution of timeouts.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The number of ticks without work after which the thread is parked.
const IDLE_TICKS: u32 = 20;

/// Advances the epoch while there is work.
///
/// Running guests check the epoch, and nothing else needs a periodic clock. So an idle worker causes no wake-ups, and a
/// busy one starts no timer per task.
#[derive(Debug, Clone)]
pub(crate) struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct TickerState {
    busy: AtomicBool,
    /// Incremented whenever work starts.
    activity: AtomicU64,
    parked: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let state = Arc::clone(&shared);
        let engine = engine.weak();
        let handle =
            std::thread::Builder::new().name("ticker".to_owned()).stack_size(64 << 10).spawn(move || {
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    state.rest();
                }
            })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// To be called when work starts.
    pub(crate) fn busy(&self) {
        self.shared.busy.store(true, Ordering::SeqCst);
        self.shared.activity.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// To be called when there is no more work.
    pub(crate) fn idle(&self) {
        self.shared.busy.store(false, Ordering::SeqCst);
    }
}

impl TickerState {
    /// Waits for the next tick: one period while there is work, without limit while there is none.
    fn rest(&self) {
        let seen = self.activity.load(Ordering::SeqCst);
        std::thread::sleep(TICK);
        for _ in 0..IDLE_TICKS {
            if self.busy.load(Ordering::SeqCst) || self.activity.load(Ordering::SeqCst) != seen {
                return;
            }
            std::thread::sleep(TICK);
        }
        // `parked` is set before the activity is checked for the last time, and `busy` checks `parked` after it has
        // changed the activity. So at least one of the two threads sees the other's store, and no wake-up is lost.
        self.parked.store(true, Ordering::SeqCst);
        while !self.busy.load(Ordering::SeqCst) && self.activity.load(Ordering::SeqCst) == seen {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
