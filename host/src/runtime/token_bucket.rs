//! A token bucket: `per_second` events, with a burst of one second's worth.

use std::time::{Duration, Instant};

/// Holds the time at which all events so far are paid for, each at the price of `1 / per_second`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokenBucket(Option<Instant>);

impl TokenBucket {
    /// Takes one token. Returns whether there was one; with zero `per_second` there never is.
    pub(super) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let Some(price) = Duration::from_secs(1).checked_div(per_second) else { return false };
        let paid = self.0.map_or(now, |at| at.max(now)) + price;
        let allowed = paid - now <= Duration::from_secs(1);
        if allowed {
            self.0 = Some(paid);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_as_many_tokens_as_its_rate_says() {
        let (mut bucket, start) = (TokenBucket::default(), Instant::now());
        let mut count = |times: usize, at: u64| {
            let now = start + Duration::from_millis(at);
            (0..times).filter(|_| bucket.take(10, now)).count()
        };
        assert_eq!(count(30, 0), 10);
        assert_eq!(count(30, 250), 2, "a quarter of a second has passed");
        assert_eq!(count(30, 60_000), 10, "what was not used is not saved");
    }

    #[test]
    fn a_rate_of_zero_gives_nothing() {
        assert!(!TokenBucket::default().take(0, Instant::now()));
    }
}
