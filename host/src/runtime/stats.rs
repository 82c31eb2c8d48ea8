//! A pool's counters at one moment.

/// The counters of a pool at one moment.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let wpool::Stats { workers, queued, in_flight, .. } = pool.stats();
/// println!("{workers} workers have {in_flight} tasks, and {queued} wait");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that can run tasks now.
    pub workers: usize,
    /// Tasks that wait in the parent.
    pub queued: usize,
    /// Tasks that workers have: on their way, running or suspended.
    pub in_flight: usize,
    /// Tasks that were submitted since the pool was built.
    pub submitted: u64,
    /// Tasks that ended with a value.
    pub succeeded: u64,
    /// Tasks that ended with an error.
    pub failed: u64,
    /// Worker processes that were started.
    pub workers_started: u64,
    /// Worker processes that ended while the pool was open, without having been told to stop.
    pub workers_lost: u64,
}
