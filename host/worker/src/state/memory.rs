//! The linear memory of a worker's instances: the usage of each, and the budget that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The linear memory that all instances of this worker have together, with its limit.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicU64,
    limit: u64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    /// Returns whether this number of bytes is left.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed)) >= bytes
    }

    fn take(&self, bytes: u64) -> bool {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The linear memory of one instance, which returns to the budget when the instance is dropped.
#[derive(Debug)]
pub(crate) struct MemoryUsage {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryUsage {
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Returns the peak of the usage, which is the present one: linear memory never shrinks.
    pub(crate) fn peak(&self) -> u64 {
        self.bytes
    }

    /// Takes the growth to `bytes` from the budget. Returns false if the budget does not have it.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if !self.budget.take(more) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for MemoryUsage {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_from_one_budget_and_returns_to_it() {
        let budget = Arc::new(MemoryBudget::new(100));
        let mut first = MemoryUsage::new(Arc::clone(&budget));
        let mut second = MemoryUsage::new(Arc::clone(&budget));
        assert!(first.grow_to(60));
        assert!(!second.grow_to(50));
        drop(first);
        assert!(second.grow_to(50));
    }
}
