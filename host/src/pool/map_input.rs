//! [`MapInput`]: the input of a map, pulled one by one and encoded.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use super::objects::handle::Handle;
use crate::manager::Grant;
use crate::runtime::TaskCall;

/// The capacity in bytes that the scratch buffer keeps after a larger input.
const MAX_SCRATCH: usize = 64 << 10;
/// An input that takes longer than this to produce is slow.
const SLOW_INPUT: Duration = Duration::from_micros(20);

/// Appends the encoded arguments of an input, or returns the text of an error.
pub(super) type Encode<T> = fn(T, &mut Vec<u8>) -> Result<(), String>;

pub(super) struct MapInput<I: Iterator> {
    iterator: Option<I>,
    encode: Encode<I::Item>,
    /// Whether an item stands for no input, because there is none for now.
    is_pending: fn(&I::Item) -> bool,
    /// The arguments may contain handles.
    carries_handles: bool,
    max_arguments: usize,
    /// The buffer in which the next input is encoded.
    scratch: Vec<u8>,
    /// It had none for now. It is pulled again after a nudge, or when the next result is asked for.
    pub(super) is_dry: bool,
    /// It is not pulled while results are ready.
    pub(super) is_slow: bool,
    /// Its panic, which continues in the caller after the results of the inputs before it.
    pub(super) panicked: Option<Box<dyn Any + Send>>,
}

/// The outcome of one pull.
pub(super) enum Pull<T> {
    Item(T),
    /// There is none for now.
    Dry,
    /// There are no more, or the input panicked.
    End,
}

/// The arguments of one task.
pub(super) struct Encoded {
    /// The bytes, or why the input has none.
    pub(super) bytes: Result<Vec<u8>, String>,
    pub(super) grants: Vec<Grant>,
}

impl<I: Iterator> MapInput<I> {
    pub(super) fn new(
        call: &TaskCall,
        iterator: I,
        encode: Encode<I::Item>,
        is_pending: fn(&I::Item) -> bool,
    ) -> Self {
        Self {
            iterator: Some(iterator),
            encode,
            is_pending,
            carries_handles: call.guest.guest.tasks()[call.function as usize].carries_handles(),
            max_arguments: call.guest.limits.arguments as usize,
            scratch: Vec::new(),
            is_dry: false,
            is_slow: false,
            panicked: None,
        }
    }

    pub(super) fn carries_handles(&self) -> bool {
        self.carries_handles
    }

    /// Whether there may be more.
    pub(super) fn is_open(&self) -> bool {
        self.iterator.is_some()
    }

    /// Ends the input. Returns whether it may have had more.
    pub(super) fn close(&mut self) -> bool {
        self.iterator.take().is_some_and(|iterator| iterator.size_hint().1 != Some(0))
    }

    /// The `nth` input.
    pub(super) fn pull(&mut self, nth: u64) -> Pull<I::Item> {
        let Some(iterator) = self.iterator.as_mut() else { return Pull::End };
        // Reading the clock takes time: fast inputs are timed now and then, slow ones always.
        let began = (self.is_slow || nth.is_multiple_of(16)).then(Instant::now);
        match std::panic::catch_unwind(AssertUnwindSafe(|| iterator.next())) {
            Ok(Some(item)) if (self.is_pending)(&item) => {
                self.is_dry = true;
                Pull::Dry
            }
            Ok(Some(item)) => {
                if let Some(began) = began {
                    self.is_slow = began.elapsed() > SLOW_INPUT;
                }
                Pull::Item(item)
            }
            ended => {
                self.iterator = None;
                self.panicked = ended.err();
                Pull::End
            }
        }
    }

    /// Encodes an input. Dropping its handles takes locks, so the caller has none.
    pub(super) fn encode(&mut self, item: I::Item) -> Encoded {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let (encoded, handles) = if self.carries_handles {
            <Handle as wpool_objects::Handle>::attaching(|| (self.encode)(item, &mut bytes))
        } else {
            ((self.encode)(item, &mut bytes), Vec::new())
        };
        let grants = handles.iter().map(Handle::to_grant).collect();
        let bytes = encoded.and_then(|()| check_size(bytes.len(), self.max_arguments)).map(|()| bytes);
        Encoded { bytes, grants }
    }

    /// Gives back the buffer of an input that was copied.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        bytes.shrink_to(MAX_SCRATCH);
        self.scratch = bytes;
    }
}

fn check_size(size: usize, limit: usize) -> Result<(), String> {
    if size <= limit { Ok(()) } else { Err(format!("the arguments have {size} bytes, {limit} are allowed")) }
}
