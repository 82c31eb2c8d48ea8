//! How often something may happen: so many times a second, all of a second's at once if none came before.

use std::time::{Duration, Instant};

/// When what has happened so far is paid for, at one price each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate(Option<Instant>);

impl Rate {
    /// Whether it may happen once more now.
    pub(super) fn allows(&mut self, per_second: u32, now: Instant) -> bool {
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
    fn a_second_holds_so_many_and_no_more() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut count = |times: usize, at: u64| {
            let now = start + Duration::from_millis(at);
            (0..times).filter(|_| rate.allows(10, now)).count()
        };
        assert_eq!(count(30, 0), 10);
        assert_eq!(count(30, 250), 2, "a quarter of a second has passed");
        assert_eq!(count(30, 60_000), 10, "what was not used is not saved");
    }

    #[test]
    fn zero_is_never() {
        assert!(!Rate::default().allows(0, Instant::now()));
    }
}
