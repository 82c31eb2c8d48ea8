//! The ids that a pool and its workers exchange.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a task, unique within its pool. Ids grow in the order of submission and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(#[doc(hidden)] pub u64);

impl TaskId {
    /// Returns the id of the `n`th task after this one.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a shared memory, unique within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemoryId(pub u64);

/// The place of a task among those of its pool. It is the same in every run of a program that submits the same tasks in
/// the same order, and for each attempt to run the task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the job among those of the host; for a sub-task a number that its parent's place leads to.
    pub job: u64,
    /// The index of the task in its job.
    pub index: u64,
}

impl Place {
    /// Returns the place of the `n`th task of the same job after this one.
    #[must_use]
    pub fn plus(self, n: u64) -> Self {
        Self { index: self.index.wrapping_add(n), ..self }
    }

    /// Returns the place of a sub-task, by its index among those of this task.
    #[must_use]
    pub fn of_sub_task(self, index: u32) -> Self {
        Self { job: self.seeded(SUB_TASK), index: index.into() }
    }

    /// Returns a number that depends on the place and on `seed`, to start a random number generator with.
    #[must_use]
    pub fn seeded(self, seed: u64) -> u64 {
        [self.job, self.index].iter().fold(seed, |mixed, part| mix(mixed.wrapping_add(STEP) ^ mix(*part)))
    }
}

/// Separates the numbers of sub-tasks from those that seeds lead to.
const SUB_TASK: u64 = 0x7375_625f_7461_736b;
/// An odd number whose multiples spread over all 64 bits: 2 to the power of 64, divided by the golden ratio.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a number, so that numbers that are close lead to numbers that are not: the finalizer of SplitMix64.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn places_and_seeds_lead_to_different_numbers() {
        let mut seen = HashSet::new();
        for job in 0..20 {
            for index in 0..20 {
                let place = Place { job, index };
                let sub_tasks = (0..3).map(|n| place.of_sub_task(n));
                for place in sub_tasks.chain([place]) {
                    assert!([0, 1, 7].iter().all(|seed| seen.insert(place.seeded(*seed))), "{place:?}");
                }
            }
        }
        let (first, other) = (Place { job: 1, index: 0 }, Place { job: 1, index: 5 });
        assert_eq!(first.plus(5).seeded(3), other.seeded(3));
    }
}
