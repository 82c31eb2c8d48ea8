//! Clocks and sleeping.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wpool_abi::clock;

use crate::host;

/// A point in time of the monotonic clock, as [`now`] returns it.
///
/// It is comparable only within a task, and between tasks whose instance is the same.
///
/// ```
/// use std::time::Duration;
/// let begun = wpool_guest::now();
/// wpool_guest::sleep(Duration::from_millis(2));
/// assert!(begun.elapsed() >= Duration::from_millis(2));
/// assert_eq!((begun + Duration::from_secs(1)) - begun, Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// Returns the time since this point in time; zero if it is in the future.
    pub fn elapsed(self) -> Duration {
        now() - self
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// The latest point in time that there is, if the sum is later.
    fn add(self, time: Duration) -> Instant {
        Instant(self.0.saturating_add(time))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Returns the time of the monotonic clock, in steps of 1 ms. The task fails if the host denies clocks. Natively, in a
/// test, it is the system's clock.
///
/// ```
/// /// Counts for as long as it may.
/// #[wpool_guest::task]
/// fn count_for(milliseconds: u64) -> u64 {
///     let end = wpool_guest::now() + std::time::Duration::from_millis(milliseconds);
///     (0..).find(|_| wpool_guest::now() >= end).unwrap_or_default()
/// }
/// # fn main() { count_for(2); }
/// ```
pub fn now() -> Instant {
    Instant(Duration::from_nanos(host::clock(clock::MONOTONIC)))
}

/// Returns the time of day, in steps of 1 ms. The task fails if the host denies clocks. Natively, in a test, it is the
/// system's clock.
///
/// ```
/// let since_1970 = wpool_guest::system_time().duration_since(std::time::UNIX_EPOCH).unwrap();
/// assert!(since_1970.as_secs() > 1_700_000_000);
/// ```
pub fn system_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(host::clock(clock::SYSTEM))
}

/// Sleeps for `time`, rounded up to whole milliseconds. The worker runs other tasks meanwhile.
///
/// Sleeping counts as running: a task that sleeps longer than its timeout fails. A task that is killed, or whose time is
/// over, is woken if it has a grace, and [`cancelled`](crate::cancelled) is then true; without one it ends. The task fails
/// if the host denies clocks.
///
/// ```
/// use std::time::Duration;
///
/// /// Looks again after a while, as long as there is nothing.
/// #[wpool_guest::task]
/// fn wait_for(flag: wpool_guest::Event) -> Result<u32, wpool_guest::ObjectError> {
///     let mut looks = 1;
///     while !flag.is_set()? && !wpool_guest::cancelled() {
///         wpool_guest::sleep(Duration::from_millis(10));
///         looks += 1;
///     }
///     Ok(looks)
/// }
/// # fn main() {}
/// ```
pub fn sleep(time: Duration) {
    host::sleep(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}
