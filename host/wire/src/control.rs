//! The control page: memory that the parent and one worker share, made of atomics only.
//!
//! Every task on its way to the worker has a claim word. The worker turns *pending* into *running*, the
//! parent turns *pending* into *recalled*, and exactly one of them wins. The parent may turn *running* into
//! *ending*, and the worker ends that task. A word holds the task's number
//! too, so a word that was given to a later task is never mistaken for an earlier one's.
//!
//! The page also tells which task is running. The parent never trusts any of it: a worker that lies
//! here can only lie about tasks that were given to it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::ids::TaskId;

/// How many tasks can be on their way to one worker, or running there, at a time.
pub const CLAIMS: u32 = 1024;

/// How many tasks can have begun in one worker: one runs, the others are suspended.
pub const SEATS: u32 = 127;

/// What a claim word says, in its lowest bits. The rest is the task's number.
const PENDING: u64 = 0;
const RUNNING: u64 = 1;
const RECALLED: u64 = 2;
const ENDING: u64 = 3;
const STATE_BITS: u32 = 2;

/// The number that no task has.
const NOBODY: u64 = u64::MAX;

#[repr(C)]
struct Layout {
    running: AtomicU64,
    /// Goes up whenever `running` changes.
    slice: AtomicU64,
    claims: [AtomicU64; CLAIMS as usize],
}

/// The page, mapped into this process.
#[derive(Debug)]
pub struct ControlPage {
    layout: NonNull<Layout>,
}

// SAFETY: the mapping lives as long as the value, moves with it, and holds nothing but atomics.
unsafe impl Send for ControlPage {}
// SAFETY: as above: every access through a shared reference is atomic.
unsafe impl Sync for ControlPage {}

impl ControlPage {
    /// Makes a page, and the file to hand to the worker. The file can be neither grown nor shrunk, so
    /// no access to the page can fault.
    pub fn create() -> rustix::io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("wpool-control", flags)?;
        rustix::fs::ftruncate(&file, size_of::<Layout>() as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let page = Self::map(&file)?;
        page.layout().running.store(NOBODY, Ordering::Relaxed);
        Ok((page, file))
    }

    /// Maps the page that the parent made.
    pub fn open(file: &File) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        if u64::try_from(stat.st_size).ok() != Some(size_of::<Layout>() as u64) {
            return Err(rustix::io::Errno::INVAL);
        }
        Self::map(file)
    }

    fn map(file: impl AsFd) -> rustix::io::Result<Self> {
        // SAFETY: the kernel picks the address, and the file is as long as the mapping: the maker has
        // just sealed its size, and `open` has just compared it.
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
        // SAFETY: the mapping is as large as the layout, aligned to a page, and unmapped only on drop.
        unsafe { self.layout.as_ref() }
    }

    fn word(&self, claim: u32) -> &AtomicU64 {
        &self.layout().claims[(claim % CLAIMS) as usize]
    }

    /// Parent: marks a task as pending, before it is sent.
    pub fn offer(&self, claim: u32, task: TaskId) {
        self.word(claim).store(task.0 << STATE_BITS | PENDING, Ordering::Release);
    }

    /// Worker: tries to take a task. False if the parent has taken it back.
    pub fn claim(&self, claim: u32, task: TaskId) -> bool {
        self.turn(claim, task, RUNNING)
    }

    /// Parent: tries to take a task back. False if it has begun.
    pub fn recall(&self, claim: u32, task: TaskId) -> bool {
        self.turn(claim, task, RECALLED)
    }

    /// Parent: asks for the end of a task that has begun. False if it has not, or was asked before.
    pub fn ask_to_end(&self, claim: u32, task: TaskId) -> bool {
        self.turn_from(RUNNING, claim, task, ENDING)
    }

    /// Worker: whether the parent wants this task to end.
    pub fn is_to_end(&self, claim: u32, task: TaskId) -> bool {
        self.word(claim).load(Ordering::Acquire) == task.0 << STATE_BITS | ENDING
    }

    fn turn(&self, claim: u32, task: TaskId, into: u64) -> bool {
        self.turn_from(PENDING, claim, task, into)
    }

    fn turn_from(&self, from: u64, claim: u32, task: TaskId, into: u64) -> bool {
        let (from, into) = (task.0 << STATE_BITS | from, task.0 << STATE_BITS | into);
        self.word(claim).compare_exchange(from, into, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Parent: whether the worker has begun this task.
    pub fn has_begun(&self, claim: u32, task: TaskId) -> bool {
        let begun = [RUNNING, ENDING].map(|state| task.0 << STATE_BITS | state);
        begun.contains(&self.word(claim).load(Ordering::Acquire))
    }

    /// Worker: says which task it is running now.
    pub fn set_running(&self, task: Option<TaskId>) {
        let layout = self.layout();
        layout.running.store(task.map_or(NOBODY, |task| task.0), Ordering::Release);
        // Only the worker writes it, so it need not be one atomic step.
        layout.slice.store(layout.slice.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Parent: which task the worker says it is running, and a number that changes when another one, or the
    /// same one anew, begins to.
    pub fn running(&self) -> (Option<TaskId>, u64) {
        let slice = self.layout().slice.load(Ordering::Acquire);
        match self.layout().running.load(Ordering::Acquire) {
            NOBODY => (None, slice),
            task => (Some(TaskId(task)), slice),
        }
    }
}

impl Drop for ControlPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and nothing borrows from it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.layout.as_ptr().cast(), size_of::<Layout>()) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
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
        assert!(parent.has_begun(3, TaskId(10)));

        parent.offer(4, TaskId(11));
        assert!(parent.recall(4, TaskId(11)));
        assert!(!worker.claim(4, TaskId(11)));
        assert!(!parent.has_begun(4, TaskId(11)));
    }

    #[test]
    fn only_what_has_begun_is_asked_to_end() {
        let (parent, worker) = two_views();
        parent.offer(0, TaskId(1));
        assert!(!parent.ask_to_end(0, TaskId(1)), "it is taken back instead");
        assert!(worker.claim(0, TaskId(1)) && !worker.is_to_end(0, TaskId(1)));
        assert!(!parent.ask_to_end(0, TaskId(2)));
        assert!(parent.ask_to_end(0, TaskId(1)) && worker.is_to_end(0, TaskId(1)));
        assert!(parent.has_begun(0, TaskId(1)));
    }

    #[test]
    fn a_reused_word_is_not_mistaken_for_an_earlier_task() {
        let (parent, worker) = two_views();
        parent.offer(5, TaskId(20));
        assert!(parent.recall(5, TaskId(20)));
        parent.offer(5, TaskId(21));
        assert!(!worker.claim(5, TaskId(20)), "the worker still holds the recalled task's number");
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

    /// The last of `rounds` tasks that were offered in this word.
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
