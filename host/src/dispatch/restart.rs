//! When a worker that could not start is tried again, and when no more.

use std::time::Duration;

/// The wait before the first new attempt; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// After so many failures in a row, with no worker started in between, the pool gives up: whatever is
/// wrong will not go away by itself, and tasks must not wait for ever.
const ATTEMPTS: u32 = 6;

/// Counts failures to start, over all places of a pool.
#[derive(Debug, Default)]
pub(super) struct RestartPolicy {
    failures: u32,
    broken: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Restart {
    After(Duration),
    GiveUp,
}

impl RestartPolicy {
    /// A worker has started.
    pub(super) fn started(&mut self) {
        *self = Self::default();
    }

    /// A worker could not start.
    pub(super) fn failed(&mut self, message: String) -> Restart {
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            self.broken = Some(message);
            return Restart::GiveUp;
        }
        Restart::After(FIRST_WAIT * 2u32.pow(self.failures - 1))
    }

    /// Why no worker can be started, once that is certain.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let mut policy = RestartPolicy::default();
        let mut waits = Vec::new();
        while let Restart::After(wait) = policy.failed("no such file".into()) {
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160]);
        assert_eq!(policy.broken(), Some("no such file"));
    }
}
