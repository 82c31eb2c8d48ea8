//! Jobs: the tasks of one submit or one map, or a sub-task, with their arguments and where their results go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::cell::future::FutureCell;
use super::cell::map::MapCell;
use super::pool_guest::TaskCall;
use crate::ids::{GuestKey, JobId, Place, TaskId};
use crate::lock::Mutex;
use crate::manager::Grant;

/// The arguments of one task: bytes in postcard, and the handles in them.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) bytes: Vec<u8>,
    pub(crate) grants: Vec<Grant>,
}

impl From<Vec<u8>> for Arguments {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, grants: Vec::new() }
    }
}

/// The tasks of one submit, of one map, or one sub-task.
pub(super) enum Job {
    Single {
        arguments: Arguments,
        future: Arc<FutureCell>,
        submitted: Instant,
    },
    Map(MapJob),
    /// A sub-task: `index` is its index among those of its parent.
    SubTask {
        arguments: Arguments,
        parent: TaskId,
        index: u32,
        place: Place,
        submitted: Instant,
    },
}

/// Whether a map has been ended from outside of its reader, and by what.
#[derive(Debug, Default)]
pub(crate) struct MapStop(AtomicU8);

/// The cause that has ended a map from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoppedBy {
    Canceller,
    Pool,
}

impl MapStop {
    /// Ends the map. Returns whether it had not been ended before.
    pub(crate) fn stop(&self, by: StoppedBy) -> bool {
        let value = match by {
            StoppedBy::Canceller => 1,
            StoppedBy::Pool => 2,
        };
        self.0.compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The cause that has ended the map; `None` if nothing has.
    pub(crate) fn by(&self) -> Option<StoppedBy> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StoppedBy::Canceller),
            _ => Some(StoppedBy::Pool),
        }
    }
}

pub(super) struct MapJob {
    pub(super) cell: Arc<MapCell>,
    pub(super) pending: Arc<Mutex<PendingInputs>>,
    pub(super) call: TaskCall,
    stop: Arc<MapStop>,
    /// When the map as a whole must have ended, and its limit.
    pub(super) end_by: Option<(Instant, Duration)>,
    /// The batches with tasks that have not ended, each by the index of its first input.
    batches: BTreeMap<u64, Batch>,
    /// Published tasks that have not ended.
    pub(super) unfinished: u64,
    /// No more tasks will come.
    pub(super) complete: bool,
    /// The reader is gone.
    pub(super) dropped: bool,
}

/// Inputs of a map that the dispatcher does not know yet: consecutive, with their arguments one after the other.
#[derive(Debug, Default)]
pub(crate) struct PendingInputs {
    /// The index of the first input.
    pub(crate) first: u64,
    /// Where the arguments of each input end in `bytes`.
    pub(crate) ends: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
    /// The handles in the arguments of each input; empty if the function takes none.
    pub(crate) grants: Vec<Vec<Grant>>,
}

/// Reserves ids for consecutive tasks, and returns the first. They are unique within the program, as tasks of several
/// pools may wait for one lock.
pub(super) fn next_tasks(count: u32) -> TaskId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    TaskId(NEXT.fetch_add(u64::from(count), Ordering::Relaxed))
}

impl PendingInputs {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes all of them; `None` if there are none.
    fn take(&mut self) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        let capacity = self.bytes.len();
        let next = Self { bytes: Vec::with_capacity(capacity), ..Self::default() };
        Some(std::mem::replace(self, next))
    }
}

/// The arguments of consecutive tasks of a map, kept until all of them have ended.
struct Batch {
    inputs: PendingInputs,
    unfinished: usize,
    published: Instant,
}

impl Job {
    /// The arguments of the task with this index in the job.
    pub(super) fn arguments(&self, index: u64) -> &[u8] {
        match self {
            Job::Single { arguments, .. } | Job::SubTask { arguments, .. } => &arguments.bytes,
            Job::Map(map) => map.batch(index).map_or(&[], |batch| batch.arguments(index)),
        }
    }

    /// The handles in a task's arguments; `None` if no task of the job has any.
    pub(super) fn grants(&self, index: u64) -> Option<&[Grant]> {
        match self {
            Job::Single { arguments, .. } | Job::SubTask { arguments, .. } => {
                (!arguments.grants.is_empty()).then_some(&arguments.grants)
            }
            Job::Map(map) => map.batch(index).and_then(|batch| batch.grants(index)),
        }
    }

    /// The place of the task with this index, in the job with this id.
    pub(super) fn place(&self, id: JobId, index: u64) -> Place {
        match self {
            Job::Single { .. } | Job::Map(_) => Place { job: id.0, index },
            Job::SubTask { place, .. } => *place,
        }
    }

    /// Whether the logs of the tasks are read while the tasks run.
    pub(super) fn follows_logs(&self) -> bool {
        match self {
            Job::Single { .. } => true,
            Job::SubTask { .. } => false,
            Job::Map(map) => map.call.logs.is_some(),
        }
    }

    /// When a task was submitted.
    pub(super) fn submitted(&self, index: u64) -> Option<Instant> {
        match self {
            Job::Single { submitted, .. } | Job::SubTask { submitted, .. } => Some(*submitted),
            Job::Map(map) => map.batch(index).map(|batch| batch.published),
        }
    }
}

impl MapJob {
    pub(super) fn new(
        call: TaskCall,
        cell: Arc<MapCell>,
        pending: Arc<Mutex<PendingInputs>>,
        stop: Arc<MapStop>,
        now: Instant,
    ) -> Self {
        let end_by = call.options.map_timeout.and_then(|limit| Some((now.checked_add(limit)?, limit)));
        let batches = BTreeMap::new();
        Self { cell, pending, call, stop, end_by, batches, unfinished: 0, complete: false, dropped: false }
    }

    /// Takes the inputs that were gathered; `None` if there are none.
    pub(super) fn take_pending(&self) -> Option<PendingInputs> {
        self.pending.lock().take()
    }

    /// Keeps the arguments of inputs that are submitted.
    pub(super) fn publish(&mut self, inputs: PendingInputs, now: Instant) {
        let count = inputs.ends.len();
        self.unfinished += count as u64;
        self.batches.insert(inputs.first, Batch { inputs, unfinished: count, published: now });
    }

    /// One more task has ended. Arguments that no task needs any more are freed.
    pub(super) fn ended(&mut self, index: u64) {
        self.unfinished -= 1;
        let Some((&first, batch)) = self.batches.range_mut(..=index).next_back() else { return };
        batch.unfinished -= 1;
        if batch.unfinished == 0 {
            self.batches.remove(&first);
        }
    }

    fn batch(&self, index: u64) -> Option<&Batch> {
        self.batches.range(..=index).next_back().map(|(_, batch)| batch)
    }
}

impl Batch {
    fn offset(&self, index: u64) -> usize {
        usize::try_from(index - self.inputs.first).unwrap_or(usize::MAX)
    }

    fn grants(&self, index: u64) -> Option<&[Grant]> {
        self.inputs.grants.get(self.offset(index)).map(Vec::as_slice)
    }

    fn arguments(&self, index: u64) -> &[u8] {
        let (ends, offset) = (&self.inputs.ends, self.offset(index));
        let start = offset.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        ends.get(offset).map_or(&[], |&end| &self.inputs.bytes[start..end])
    }
}

/// The jobs of a pool that have not ended, and the maps that have a reader.
#[derive(Default)]
pub(super) struct Jobs {
    jobs: HashMap<JobId, Job>,
    /// The number of the host's jobs. Their ids do not depend on the sub-tasks in between, so that seeded random numbers
    /// do not either.
    hosts: u64,
    /// The number of sub-tasks.
    sub_tasks: u64,
    /// The number of jobs that are maps.
    open_maps: usize,
    /// A worker could take a task and there is none: maps look at it before they gather more inputs for one message.
    wants_tasks: Arc<AtomicBool>,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// The flag that maps look at.
    pub(super) fn wants_tasks(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wants_tasks)
    }

    pub(super) fn add(&mut self, job: Job) -> JobId {
        let id = self.next_id(&job);
        self.open_maps += usize::from(matches!(job, Job::Map(_)));
        self.jobs.insert(id, job);
        id
    }

    fn next_id(&mut self, job: &Job) -> JobId {
        /// Separates the ids of sub-tasks from those of the host's jobs.
        const SUB_TASKS: u64 = 1 << 63;
        match job {
            Job::SubTask { .. } => {
                self.sub_tasks += 1;
                JobId(SUB_TASKS | self.sub_tasks)
            }
            Job::Single { .. } | Job::Map(_) => {
                self.hosts += 1;
                JobId(self.hosts)
            }
        }
    }

    pub(super) fn get(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(&job)
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&job)
    }

    pub(super) fn map(&mut self, job: JobId) -> Option<&mut MapJob> {
        match self.jobs.get_mut(&job)? {
            Job::Map(map) => Some(map),
            Job::Single { .. } | Job::SubTask { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, job: JobId) {
        if let Some(Job::Map(_)) = self.jobs.remove(&job) {
            self.open_maps -= 1;
        }
    }

    /// Removes a map whose reader is gone, when its last task has ended.
    pub(super) fn remove_if_dropped(&mut self, job: JobId) {
        if self.map(job).is_some_and(|map| map.dropped && map.unfinished == 0) {
            self.remove(job);
        }
    }

    /// Takes all jobs out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        self.open_maps = 0;
        self.jobs.drain().map(|(_, job)| job)
    }

    pub(super) fn any_map(&self) -> bool {
        self.open_maps > 0
    }

    /// Whether a map may get more inputs.
    pub(super) fn any_incomplete_map(&self) -> bool {
        self.any_map() && self.jobs.values().any(|job| matches!(job, Job::Map(map) if !map.complete))
    }

    /// No map gets more inputs: the pool has ended them. Returns the cells of those that might have got some, whose readers
    /// have to look.
    pub(super) fn end_maps(&mut self) -> Vec<Arc<MapCell>> {
        let mut ended = Vec::new();
        for job in self.jobs.values_mut() {
            if let Job::Map(map) = job
                && !map.complete
            {
                map.stop.stop(StoppedBy::Pool);
                map.complete = true;
                ended.push(Arc::clone(&map.cell));
            }
        }
        ended
    }

    /// A map of one of these guests that has inputs which the dispatcher does not know. The flag goes up before the maps
    /// are looked at, and a map looks at the flag after it has added an input: one of the two sees the other.
    pub(super) fn next_to_publish(&self, guests: &[GuestKey]) -> Option<JobId> {
        self.wants_tasks.store(!guests.is_empty(), Ordering::SeqCst);
        if guests.is_empty() {
            return None;
        }
        self.jobs.iter().find_map(|(job, kind)| match kind {
            Job::Map(map) if guests.contains(&map.call.guest.key) => {
                (!map.cell.holds() && !map.pending.lock().is_empty()).then_some(*job)
            }
            Job::Map(_) | Job::Single { .. } | Job::SubTask { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(first: u64, arguments: &[&[u8]]) -> PendingInputs {
        let mut inputs = PendingInputs { first, ..PendingInputs::default() };
        for argument in arguments {
            inputs.bytes.extend_from_slice(argument);
            inputs.ends.push(inputs.bytes.len());
        }
        inputs
    }

    #[test]
    fn a_batch_knows_each_of_its_arguments() {
        let inputs = inputs(10, &[b"a", b"", b"bcd"]);
        let batch = Batch { inputs, unfinished: 3, published: Instant::now() };
        assert_eq!([10, 11, 12, 13].map(|index| batch.arguments(index)), [&b"a"[..], b"", b"bcd", b""]);
        assert_eq!(batch.grants(10), None);
    }

    #[test]
    fn pending_inputs_are_taken_once() {
        let mut pending = inputs(5, &[b"x"]);
        assert_eq!(pending.take().map(|taken| (taken.first, taken.ends)), Some((5, vec![1])));
        assert!(pending.take().is_none());
    }

    #[test]
    fn a_job_that_is_removed_is_gone() {
        let mut jobs = Jobs::default();
        let job = || Job::Single {
            arguments: Arguments::from(b"abc".to_vec()),
            future: Arc::default(),
            submitted: Instant::now(),
        };
        let (first, second) = (jobs.add(job()), jobs.add(job()));
        assert_ne!(first, second);
        assert_eq!(jobs.get(first).map(|job| job.arguments(0)), Some(&b"abc"[..]));
        jobs.remove(first);
        assert!(jobs.get(first).is_none() && jobs.len() == 1 && !jobs.any_map());
    }

    #[test]
    fn the_places_of_the_hosts_jobs_do_not_depend_on_sub_tasks() {
        let mut jobs = Jobs::default();
        let single = || Job::Single {
            arguments: Arguments::default(),
            future: Arc::default(),
            submitted: Instant::now(),
        };
        let place = Place { job: 9, index: 4 };
        let sub_task = Job::SubTask {
            arguments: Arguments::default(),
            parent: TaskId(0),
            index: 4,
            place,
            submitted: Instant::now(),
        };
        let ids = [single(), sub_task, single()].map(|job| jobs.add(job));
        let places = ids.map(|id| jobs.get(id).unwrap().place(id, 0));
        assert_eq!(places, [Place { job: 1, index: 0 }, place, Place { job: 2, index: 0 }]);
    }
}
