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
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::ids::TaskId;

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

/// The seals that keep the size of the file, so that an access to the page cannot fault.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

#[repr(C)]
struct Layout {
    running: AtomicU64,
    /// Incremented whenever `running` is set.
    slice: AtomicU64,
    claims: [AtomicU64; CLAIMS as usize],
}

/// The page, mapped into this process.
#[derive(Debug)]
pub struct ControlPage {
    layout: NonNull<Layout>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this value alone unmaps it. So it may be moved to
// another thread.
unsafe impl Send for ControlPage {}
// SAFETY: a shared reference gives access to nothing but a `Layout`, whose fields are all atomics.
unsafe impl Sync for ControlPage {}

impl ControlPage {
    /// Creates a page, and the file to send to the worker.
    pub fn create() -> rustix::io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-control", flags)?;
        rustix::fs::ftruncate(&file, size_of::<Layout>() as u64)?;
        rustix::fs::fcntl_add_seals(&file, FIXED_SIZE | SealFlags::SEAL)?;
        let page = Self::map(&file)?;
        page.layout().running.store(NO_TASK, Ordering::Relaxed);
        Ok((page, file))
    }

    /// Maps the page that the parent has created.
    ///
    /// # Errors
    /// `EINVAL` if the file has another size, or if its size could change.
    pub fn open(file: &File) -> rustix::io::Result<Self> {
        Self::map(file)
    }

    fn map(file: impl AsFd) -> rustix::io::Result<Self> {
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).ok();
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if size != Some(size_of::<Layout>() as u64) || !seals.contains(FIXED_SIZE) {
            return Err(rustix::io::Errno::INVAL);
        }
        // SAFETY: `mmap` may replace memory only at a fixed address; here the address is null, so the kernel picks a
        // free range. Each byte of the range stays backed by the file: the checks above found that the file has the
        // size of the mapping, and seals that keep it.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size_of::<Layout>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        Ok(Self { layout: NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM)? })
    }

    fn layout(&self) -> &Layout {
        // SAFETY: the pointer comes from `map`, which mapped `size_of::<Layout>()` bytes from the start of a page, so
        // it is aligned. All bytes are valid atomics, which may change at any time. Only `drop` unmaps them, and it
        // cannot run while `self` is borrowed.
        unsafe { self.layout.as_ref() }
    }

    fn word(&self, claim: u32) -> &AtomicU64 {
        &self.layout().claims[(claim % CLAIMS) as usize]
    }

    /// Parent: marks a task as pending. To be called before the task is sent.
    pub fn offer(&self, claim: u32, task: TaskId) {
        self.word(claim).store(claim_word(task, PENDING), Ordering::Release);
    }

    /// Worker: claims a task, to run it. Returns false if the parent has recalled the task.
    pub fn claim(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, PENDING, RUNNING)
    }

    /// Parent: takes a task back. Returns false if the worker has started it.
    pub fn recall(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, PENDING, RECALLED)
    }

    /// Parent: requests the end of a started task. Returns false if the worker has not started it, or if its end was
    /// requested before.
    pub fn request_end(&self, claim: u32, task: TaskId) -> bool {
        self.transition(claim, task, RUNNING, ENDING)
    }

    /// Worker: returns whether the parent has requested the end of this task.
    pub fn end_requested(&self, claim: u32, task: TaskId) -> bool {
        self.word(claim).load(Ordering::Acquire) == claim_word(task, ENDING)
    }

    /// Parent: returns whether the worker has started this task.
    pub fn has_started(&self, claim: u32, task: TaskId) -> bool {
        let word = self.word(claim).load(Ordering::Acquire);
        [RUNNING, ENDING].iter().any(|state| word == claim_word(task, *state))
    }

    fn transition(&self, claim: u32, task: TaskId, from: u64, to: u64) -> bool {
        let (from, to) = (claim_word(task, from), claim_word(task, to));
        self.word(claim).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Worker: sets the running task; `None` if no task runs now.
    pub fn set_running(&self, task: Option<TaskId>) {
        let layout = self.layout();
        layout.running.store(task.map_or(NO_TASK, |task| task.0), Ordering::Release);
        // Only the worker writes the counter, so the increment need not be one atomic step.
        layout.slice.store(layout.slice.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Parent: returns the task that the worker claims to run, and a counter of the changes of it.
    ///
    /// A task that is resumed changes the counter too.
    pub fn running(&self) -> (Option<TaskId>, u64) {
        let slice = self.layout().slice.load(Ordering::Acquire);
        match self.layout().running.load(Ordering::Acquire) {
            NO_TASK => (None, slice),
            task => (Some(TaskId(task)), slice),
        }
    }
}

impl Drop for ControlPage {
    fn drop(&mut self) {
        // SAFETY: `map` has made this mapping with this address and size, and no other value unmaps it. `self` is
        // borrowed mutably, so no reference into the mapping is left.
        let unmapped = unsafe { rustix::mm::munmap(self.layout.as_ptr().cast(), size_of::<Layout>()) };
        debug_assert!(unmapped.is_ok(), "a mapping of this process can be unmapped");
    }
}

fn claim_word(task: TaskId, state: u64) -> u64 {
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

    #[test]
    fn a_file_whose_size_could_change_is_not_mapped() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-control", flags).unwrap();
        rustix::fs::ftruncate(&file, size_of::<Layout>() as u64).unwrap();
        let file = File::from(file);
        assert!(ControlPage::open(&file).is_err());
        rustix::fs::fcntl_add_seals(&file, FIXED_SIZE).unwrap();
        assert!(ControlPage::open(&file).is_ok());
    }
}
