//! Clocks and sleeping, for the module `wpool` and for WASI alike.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::Caller;
use wpool_abi::clock;
use wpool_wire::limits::{Capability, ClockPolicy};

use crate::guest_error::{BadGuest, EndRequested, PolicyDenied};
use crate::state::{CancelToken, SuspendReason, TaskState, YieldState};

/// The resolution of a guest's clocks and sleeps. A finer one would help to measure other processes by side channels.
pub(super) const RESOLUTION: Duration = Duration::from_millis(1);
/// Longer than any task lives, and short enough to be added to a point in time.
const LONGEST_SLEEP: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The clocks, of which each interface has its own numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    Monotonic,
    System,
}

/// Returns the time of a clock in nanoseconds.
pub(super) fn read_clock(caller: Caller<'_, TaskState>, clock: u32) -> wasmtime::Result<u64> {
    let clock = match clock {
        clock::MONOTONIC => Clock::Monotonic,
        clock::SYSTEM => Clock::System,
        other => return Err(BadGuest(format!("it read the unknown clock {other}")).into()),
    };
    Ok(now(caller.data(), clock)?)
}

/// Suspends the task for some time.
pub(super) async fn sleep(mut caller: Caller<'_, TaskState>, (nanoseconds,): (u64,)) -> wasmtime::Result<()> {
    check(caller.data())?;
    sleep_until(&mut caller, after(nanoseconds)).await
}

/// Returns an error if the task's policy denies clocks.
pub(super) fn check(state: &TaskState) -> Result<(), PolicyDenied> {
    match state.limits.clock {
        ClockPolicy::Denied => Err(PolicyDenied(Capability::Clock)),
        // The only other policy of this version.
        _ => Ok(()),
    }
}

/// Returns the time of a clock in nanoseconds, rounded down to the resolution. The monotonic clock starts at zero in each
/// worker, so it does not reveal the uptime of the machine.
pub(super) fn now(state: &TaskState, clock: Clock) -> Result<u64, PolicyDenied> {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    check(state)?;
    let time = match clock {
        Clock::Monotonic => START.elapsed(),
        Clock::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    let resolution = nanos(RESOLUTION);
    Ok(nanos(time) / resolution * resolution)
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the point in time after `nanoseconds`, which are rounded up to the resolution.
pub(super) fn after(nanoseconds: u64) -> Instant {
    let resolution = nanos(RESOLUTION);
    let rounded = nanoseconds.checked_next_multiple_of(resolution).unwrap_or(u64::MAX);
    Instant::now() + Duration::from_nanos(rounded).min(LONGEST_SLEEP)
}

/// Suspends the task until `until`, or until it is to end. The time that it wanted to sleep counts as running; the time
/// that it then waits for its worker does not.
///
/// # Errors
/// If the task is to end and has no grace.
pub(super) async fn sleep_until(caller: &mut Caller<'_, TaskState>, until: Instant) -> wasmtime::Result<()> {
    let state = caller.data_mut();
    if !state.must_end() {
        let began = Instant::now();
        let until = state.run_deadline().map_or(until, |deadline| deadline.min(until));
        state.pause();
        let (yield_state, cancel) = (Arc::clone(&state.yield_state), state.cancel.clone());
        Sleep { until, yield_state: &yield_state, cancel: &cancel }.await;
        let slept = Instant::now().min(until).saturating_duration_since(began);
        caller.data_mut().clock.resume_after_sleep(slept);
    }
    end_if_due(caller.data_mut())
}

/// Ends the task in a host call if it is to end and has no grace.
pub(super) fn end_if_due(state: &mut TaskState) -> wasmtime::Result<()> {
    match state.must_end() && state.limits.grace.is_zero() {
        false => Ok(()),
        true if state.cancel.end_requested() => Err(EndRequested.into()),
        true => Err(wasmtime::Trap::Interrupt.into()),
    }
}

/// Waits for a point in time, or for a request of the task's end. The worker's loop polls it again at that time.
struct Sleep<'a> {
    until: Instant,
    yield_state: &'a YieldState,
    cancel: &'a CancelToken,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until || self.cancel.end_requested() {
            return Poll::Ready(());
        }
        self.yield_state.set_reason(SuspendReason::Until(self.until));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_rounded_up_and_bounded() {
        let sleeps = |nanoseconds| {
            let began = Instant::now();
            let until = after(nanoseconds);
            (until.duration_since(began), until.saturating_duration_since(Instant::now()))
        };
        for (asked, rounded) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            let (least, most) = sleeps(asked);
            let rounded = Duration::from_millis(rounded);
            assert!(least >= rounded && most <= rounded, "{asked}: {least:?}, {most:?}");
        }
        assert!(sleeps(u64::MAX).1 <= LONGEST_SLEEP);
    }
}
