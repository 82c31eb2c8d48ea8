//! What the tasks of one submit or one map have in common: their arguments, and who gets their results.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::future::{Completed, FutureState};
use super::handle::HostWait;
use super::hosted::Call;
use super::map::{MapState, Pending};
use super::objects::{Action, BarrierAct};
use crate::ids::TaskId;
use crate::manager::{Answer, Grant};

/// What a task is called with: bytes in postcard, and the handles in them.
#[derive(Default)]
pub(super) struct Arguments {
    pub(super) bytes: Vec<u8>,
    pub(super) grants: Vec<Grant>,
}

impl From<Vec<u8>> for Arguments {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, grants: Vec::new() }
    }
}

/// What belongs to the tasks of one submit or one map.
pub(super) enum Job {
    Single {
        args: Arguments,
        future: Arc<FutureState>,
        submitted: Instant,
    },
    Map(MapJob),
    /// A sub-task, its parent's `number`th.
    Sub {
        args: Arguments,
        parent: TaskId,
        number: u32,
        submitted: Instant,
    },
}

pub(super) struct MapJob {
    pub(super) state: Arc<MapState>,
    pub(super) pending: Arc<Mutex<Pending>>,
    pub(super) call: Call,
    /// When the map as a whole must have ended, and what that limit was.
    pub(super) end_by: Option<(Instant, Duration)>,
    pub(super) batches: VecDeque<Batch>,
    /// Published tasks that have not ended.
    pub(super) running: u64,
    /// No more tasks will come.
    pub(super) complete: bool,
    /// Nobody looks at the results any more.
    pub(super) dropped: bool,
}

/// The arguments of consecutive tasks of a map, kept until all of them have ended.
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) ends: Vec<usize>,
    pub(super) bytes: Vec<u8>,
    /// The handles in the arguments of each; empty if the function takes none.
    pub(super) grants: Vec<Vec<Grant>>,
    pub(super) unsettled: usize,
    pub(super) published: Instant,
}

pub(super) enum Delivery {
    Future(Arc<FutureState>, Completed),
    Map(Arc<MapState>, u64, Completed),
    /// Somebody who awaits what a task emits.
    Wake(Waker),
    /// Somebody in the host who has asked a shared object.
    Answer(Arc<HostWait>, Answer),
    /// What the host does when all have come to a barrier.
    Act(Action, BarrierAct),
    /// What it did there, which nobody needs any more.
    Drop(Action),
}

impl Job {
    pub(super) fn arguments(&self, index: u64) -> &[u8] {
        match self {
            Job::Single { args, .. } | Job::Sub { args, .. } => &args.bytes,
            Job::Map(map) => map.batch(index).map_or(&[], |batch| batch.arguments(index)),
        }
    }

    /// The handles in a task's arguments; none if no task of the job has any.
    pub(super) fn grants(&self, index: u64) -> Option<&[Grant]> {
        match self {
            Job::Single { args, .. } | Job::Sub { args, .. } => {
                (!args.grants.is_empty()).then_some(&args.grants)
            }
            Job::Map(map) => map.batch(index).and_then(|batch| batch.grants(index)),
        }
    }

    pub(super) fn submitted(&self, index: u64) -> Option<Instant> {
        match self {
            Job::Single { submitted, .. } | Job::Sub { submitted, .. } => Some(*submitted),
            Job::Map(map) => map.batch(index).map(|batch| batch.published),
        }
    }
}

impl MapJob {
    fn place(&self, index: u64) -> usize {
        self.batches.partition_point(|batch| batch.first <= index).saturating_sub(1)
    }

    fn batch(&self, index: u64) -> Option<&Batch> {
        self.batches.get(self.place(index))
    }

    /// One more task has ended. Arguments that nobody needs any more are freed.
    pub(super) fn settled(&mut self, index: u64) {
        self.running -= 1;
        let place = self.place(index);
        if let Some(batch) = self.batches.get_mut(place) {
            batch.unsettled -= 1;
        }
        while self.batches.front().is_some_and(|batch| batch.unsettled == 0) {
            self.batches.pop_front();
        }
    }
}

impl Batch {
    fn grants(&self, index: u64) -> Option<&[Grant]> {
        let place = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        self.grants.get(place).map(Vec::as_slice)
    }

    fn arguments(&self, index: u64) -> &[u8] {
        let place = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).map_or(&[], |&end| &self.bytes[start..end])
    }
}
