//! Uses shared objects as no SDK would: by guessing, by flooding, and out of turn.
#![no_main]

use wpool_guest::{BoundedSemaphore, Event, Lock, Queue, Receiver, Sender, SharedArray, SharedSlice};

mod raw {
    #[link(wasm_import_module = "wpool")]
    unsafe extern "C" {
        pub(crate) fn call(handle: u32, wait: i64, ptr: *const u8, len: usize) -> usize;
        pub(crate) fn answer(ptr: *mut u8);
        pub(crate) fn post(handle: u32, ptr: *const u8, len: usize) -> u32;
        pub(crate) fn flush() -> usize;
        pub(crate) fn shared_size(handle: u32) -> i64;
        pub(crate) fn shared_read(handle: u32, at: u64, ptr: *mut u8, len: usize) -> u32;
        pub(crate) fn shared_write(handle: u32, at: u64, ptr: *const u8, len: usize) -> u32;
        pub(crate) fn shared_add(handle: u32, at: u64, number: u64, before: *mut u64) -> u32;
    }
}

/// Calls by their first bytes: `wpool_abi::object::Call` in postcard, see docs/src/reference/protocol.md.
const PUT: [u8; 5] = [0, 1, 1, 7, 0];
const PUT_HANDLE_9: [u8; 6] = [0, 1, 1, 0, 1, 9];
const GET: [u8; 2] = [1, 1];
const ACQUIRE: [u8; 1] = [7];
const RELEASE: [u8; 2] = [8, 1];

/// The first bytes of an answer: zero is done, one and a number is an error.
fn call(handle: u32, question: &[u8]) -> Vec<u8> {
    // SAFETY: the host reads the question before it returns.
    read(unsafe { raw::call(handle, 0, question.as_ptr(), question.len()) })
}

fn read(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: the host writes as many bytes as it has said.
    unsafe { raw::answer(bytes.as_mut_ptr()) };
    bytes.truncate(3);
    bytes
}

fn post(handle: u32, question: &[u8]) -> u32 {
    // SAFETY: the host reads the question before it returns.
    unsafe { raw::post(handle, question.as_ptr(), question.len()) }
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.roll() % 24).map(|_| self.roll() as u8).collect()
    }
}

/// Asks anything of any handle, many times, and says how often something was done by one that it does not have.
#[wpool_guest::task]
fn guess(seed: u64, times: u32, _only: Event) -> u32 {
    let mut dice = Dice(seed);
    let mut done = 0;
    for _ in 0..times {
        let handle =
            if dice.roll().is_multiple_of(2) { dice.roll() as u32 } else { (dice.roll() % 20) as u32 + 1 };
        let question = dice.bytes();
        done += u32::from(call(handle, &question).first() == Some(&0));
        done += u32::from(post(handle, &question) == 0);
        let (mut block, mut before) = ([0u8; 16], 0u64);
        // SAFETY: the host writes within the block and the number.
        let statuses = unsafe {
            [
                raw::shared_read(handle, dice.roll(), block.as_mut_ptr(), 16),
                raw::shared_write(handle, dice.roll(), block.as_ptr(), 16),
                raw::shared_add(handle, dice.roll(), 1, &raw mut before),
                u32::from(raw::shared_size(handle) < 0),
            ]
        };
        done += statuses.iter().filter(|status| **status == 0).count() as u32;
    }
    done
}

/// What each wrong call is answered.
#[wpool_guest::task]
fn wrong(_sender: Sender<u32>, _receiver: Receiver<u32>, _lock: Lock) -> Vec<Vec<u8>> {
    vec![
        call(0, &GET),
        call(1, &PUT),
        call(2, &GET),
        call(3, &GET),
        call(0, &PUT_HANDLE_9),
        call(0, &[]),
        call(0, &[99]),
        call(0, &PUT[..3]),
        call(2, &RELEASE),
        call(2, &ACQUIRE),
        call(2, &RELEASE),
        call(2, &RELEASE),
        vec![post(0, &GET) as u8, post(2, &GET) as u8, post(3, &GET) as u8, post(0, &PUT) as u8],
    ]
}

/// What the first handles are good for, of a task that was granted none.
#[wpool_guest::task]
fn without_any() -> Vec<Vec<u8>> {
    (0..3).map(|handle| call(handle, &GET)).collect()
}

/// Tries to write to what is to be read only, and to reach beyond.
#[wpool_guest::task]
fn overreach(_whole: SharedArray<u64>, _part: SharedSlice<u64>, _queue: Queue<u32>) -> Vec<u32> {
    let (mut block, mut before) = ([1u8; 64], 0u64);
    let (ptr, before) = (block.as_mut_ptr(), &raw mut before);
    // SAFETY: the host writes within the block and the number.
    unsafe {
        vec![
            raw::shared_write(1, 0, ptr, 8),
            raw::shared_add(1, 0, 1, before),
            raw::shared_read(0, 1, ptr, 8),
            raw::shared_read(0, 0, ptr, 7),
            raw::shared_read(0, u64::MAX - 7, ptr, 8),
            raw::shared_write(0, 8, ptr, 64),
            raw::shared_add(0, 16, 1, before),
            raw::shared_read(2, 0, ptr, 8),
            raw::shared_read(9, 0, ptr, 8),
            u32::try_from(-raw::shared_size(2)).unwrap_or(99),
            raw::shared_add(0, 8, 5, before),
        ]
    }
}

/// Has the host write where there is no memory.
#[wpool_guest::task]
fn astray(_array: SharedArray<u64>, write: bool) -> u32 {
    let nowhere = std::ptr::without_provenance_mut(0xffff_fff0);
    // SAFETY: there is none. The host looks first.
    unsafe { if write { raw::shared_write(0, 0, nowhere, 16) } else { raw::shared_read(0, 0, nowhere, 16) } }
}

/// Posts more bytes than may be posted.
#[wpool_guest::task]
fn post_too_much(_queue: Sender<u32>) -> u32 {
    post(0, &vec![0; (64 << 10) + 1])
}

/// Posts without end, and looks only then what came of it. What nobody waits for when the task ends is lost.
#[wpool_guest::task]
fn flood(times: u32, _queue: Sender<u32>) -> u32 {
    let refused: u32 = (0..times).map(|_| post(0, &PUT)).sum();
    // SAFETY: it takes nothing.
    refused + u32::from(read(unsafe { raw::flush() }).first() != Some(&0))
}

/// How many of so many calls were answered, one after the other.
#[wpool_guest::task]
fn calls(times: u32, _queue: Queue<u32>) -> u32 {
    (0..times).filter(|_| call(0, &[6]).first() == Some(&0)).count() as u32
}

/// Releases a semaphore that nobody holds, posted and then told.
#[wpool_guest::task]
fn release_too_often(_semaphore: BoundedSemaphore) -> (u32, Vec<u8>) {
    let status = post(0, &RELEASE);
    // SAFETY: it takes nothing.
    (status, read(unsafe { raw::flush() }))
}
