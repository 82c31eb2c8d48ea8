//! The control page: memory that the parent and one worker share, made of atomics only.
//!
//! Each task that was sent to the worker has a claim word. The worker turns *pending* into *running*, the parent turns
//! *pending* into *recalled*, and exactly one of the two succeeds. The parent may turn *running* into *ending*; the
//! worker then ends the task. A claim word also holds the task's id, so a word that was reused for a later task is not
//! mistaken for the earlier one's.
//!
//! The page also holds the id of the running task. The parent takes all of it as a hint: a hostile worker can give
//! false answers about the tasks that were sent to it, and about no others.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::SealFlags;

use crate::ids::TaskId;
use crate::mapping::{WritableMapping, create_file};

/// The number of claim words: the limit of tasks that are queued, running or suspended in one worker.
pub const CLAIMS: u32 = 1024;

/// The number of started-task slots of a worker: one task runs, the others are suspended.
pub const MAX_STARTED: u32 = 127;

/// The states of a claim word, in its lowest bits. The other bits are the task's id.
const PENDING: u64 = 0;
const RUNNING: u64 = 1;
const RECALLED: u64 = 2;
const ENDING: u64 = 3;
const STATE_BITS: u32 = 2;

/// The id that stands for no task.
const NO_TASK: u64 = u64::MAX;

/// The index of the word with the id of the running task.
const RUNNING_TASK: usize = 0;
/// The index of the word that is incremented whenever the running task is set.
const SLICE: usize = 1;
/// The index of the first claim word.
const FIRST_CLAIM: usize = 2;
/// The number of words of the page.
const WORDS: usize = FIRST_CLAIM + CLAIMS as usize;

/// The page, mapped into this process.
#[derive(Debug)]
pub struct ControlPage {
    mapping: WritableMapping,
}

impl ControlPage {
    /// Creates a page, and the file to send to the worker.
    pub fn create() -> rustix::io::Result<(Self, OwnedFd)> {
        let file = create_file("wpool-control", WORDS)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL)?;
        let page = Self { mapping: WritableMapping::open(&file, WORDS)? };
        page.words()[RUNNING_TASK].store(NO_TASK, Ordering::Relaxed);
        Ok((page, file))
    }

    /// Maps the page that the parent has created.
    ///
    /// # Errors
    /// `EINVAL` if the file has another size, or if its size could change.
    pub fn open(file: &File) -> rustix::io::Result<Self> {
        Ok(Self { mapping: WritableMapping::open(file, WORDS)? })
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        self.mapping.words()
    }

    #[inline]
    fn claim_word(&self, claim: u32) -> &AtomicU64 {
        &self.words()[FIRST_CLAIM + (claim % CLAIMS) as usize]
    }

    /// Parent: marks a task as pending. To be called before the task is sent.
    #[inline]
    pub fn offer(&self, claim: u32, task: TaskId) {
        self.claim_word(claim).store(claim_of(task, PENDING), Ordering::Release);
    }

    /// Worker: claims a task, to run it. Returns false if the parent has recalled the task.
    #[inline]
    pub fn claim(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, PENDING, RUNNING)
    }

    /// Parent: takes a task back. Returns false if the worker has started it.
    #[inline]
    pub fn recall(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, PENDING, RECALLED)
    }

    /// Parent: requests the end of a started task. Returns false if the worker has not started it, or if its end was
    /// requested before.
    pub fn request_end(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, RUNNING, ENDING)
    }

    /// Worker: returns whether the parent has requested the end of this task.
    #[inline]
    pub fn end_requested(&self, claim: u32, task: TaskId) -> bool {
        self.claim_word(claim).load(Ordering::Acquire) == claim_of(task, ENDING)
    }

    /// Parent: returns whether the worker has started this task.
    #[inline]
    pub fn has_started(&self, claim: u32, task: TaskId) -> bool {
        let word = self.claim_word(claim).load(Ordering::Acquire);
        [RUNNING, ENDING].iter().any(|state| word == claim_of(task, *state))
    }

    #[inline]
    fn transition(&self, claim: u32, task: TaskId, from: u64, to: u64) -> bool {
        let (from, to) = (claim_of(task, from), claim_of(task, to));
        self.claim_word(claim).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Worker: sets the running task; `None` if no task runs now.
    #[inline]
    pub fn set_running(&self, task: Option<TaskId>) {
        self.words()[RUNNING_TASK].store(task.map_or(NO_TASK, |task| task.0), Ordering::Release);
        // Only the worker writes the counter, so the increment need not be one atomic step.
        let slice = &self.words()[SLICE];
        slice.store(slice.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Parent: returns the task that the worker claims to run, and a counter of the changes of it.
    ///
    /// A task that is resumed changes the counter too.
    #[inline]
    pub fn running(&self) -> (Option<TaskId>, u64) {
        let slice = self.words()[SLICE].load(Ordering::Acquire);
        match self.words()[RUNNING_TASK].load(Ordering::Acquire) {
            NO_TASK => (None, slice),
            task => (Some(TaskId(task)), slice),
        }
    }
}

/// Returns the claim word of a task in this state.
#[inline]
fn claim_of(task: TaskId, state: u64) -> u64 {
    task.0 << STATE_BITS | state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_views() -> (ControlPage, ControlPage) {
        let (parent, file) = ControlPage::create().unwrap();
        let worker = ControlPage::open(&File::from(file)).unwrap();
        (parent, worker)
    }

    #[test]
    fn one_side_wins_each_claim() {
        let (parent, worker) = two_views();
        parent.offer(3, TaskId(10));
        assert!(worker.claim(3, TaskId(10)));
        assert!(!parent.recall(3, TaskId(10)));
        assert!(parent.has_started(3, TaskId(10)));

        parent.offer(4, TaskId(11));
        assert!(parent.recall(4, TaskId(11)));
        assert!(!worker.claim(4, TaskId(11)));
        assert!(!parent.has_started(4, TaskId(11)));
    }

    #[test]
    fn only_what_has_started_is_asked_to_end() {
        let (parent, worker) = two_views();
        parent.offer(0, TaskId(1));
        assert!(!parent.request_end(0, TaskId(1)), "it can be recalled instead");
        assert!(worker.claim(0, TaskId(1)) && !worker.end_requested(0, TaskId(1)));
        assert!(!parent.request_end(0, TaskId(2)));
        assert!(parent.request_end(0, TaskId(1)) && worker.end_requested(0, TaskId(1)));
        assert!(parent.has_started(0, TaskId(1)));
    }

    #[test]
    fn a_reused_word_is_not_mistaken_for_an_earlier_task() {
        let (parent, worker) = two_views();
        parent.offer(5, TaskId(20));
        assert!(parent.recall(5, TaskId(20)));
        parent.offer(5, TaskId(21));
        assert!(!worker.claim(5, TaskId(20)), "the worker still holds the recalled task's id");
        assert!(worker.claim(5, TaskId(21)));
    }

    #[test]
    fn claims_raced_from_two_threads_have_one_winner() {
        let (parent, worker) = two_views();
        let rounds = 20_000;
        for round in 0..rounds {
            parent.offer(round, TaskId(u64::from(round)));
        }
        let (claimed, recalled) = std::thread::scope(|scope| {
            let claimed = scope.spawn(|| (0..CLAIMS).filter(|&n| worker.claim(n, latest(n, rounds))).count());
            let recalled = (0..CLAIMS).rev().filter(|&n| parent.recall(n, latest(n, rounds))).count();
            (claimed.join().unwrap(), recalled)
        });
        assert_eq!(claimed + recalled, CLAIMS as usize);
    }

    /// The last of `rounds` tasks that was offered in this word.
    fn latest(claim: u32, rounds: u32) -> TaskId {
        TaskId(u64::from((0..rounds).rev().find(|round| round % CLAIMS == claim).unwrap()))
    }

    #[test]
    fn the_running_task_is_seen_from_outside() {
        let (parent, worker) = two_views();
        assert_eq!(parent.running(), (None, 0));
        worker.set_running(Some(TaskId(5)));
        assert_eq!(parent.running(), (Some(TaskId(5)), 1));
        worker.set_running(Some(TaskId(5)));
        assert_eq!(parent.running(), (Some(TaskId(5)), 2));
        worker.set_running(None);
        assert_eq!(parent.running(), (None, 3));
    }
}
