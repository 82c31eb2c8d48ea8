//! The queue of a worker: batches of tasks that have arrived and not yet started.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use wpool_wire::message::{BadMessage, CallHeader, Granted};

use crate::state::TaskSpec;

/// The tasks of one call frame.
struct Batch {
    header: CallHeader,
    /// The arguments of all tasks.
    arguments: Rc<[u8]>,
    /// The number of tasks that were taken, and the offset of the next one's arguments.
    taken: u32,
    offset: usize,
}

/// One task of a batch. Its arguments stay in the batch's frame.
pub(super) struct QueuedTask {
    pub(super) spec: TaskSpec,
    /// The index of its function among the exports of the hello.
    pub(super) function: u32,
    pub(super) arguments: Rc<[u8]>,
    /// The part of `arguments` that belongs to this task.
    pub(super) range: Range<usize>,
    pub(super) granted: Vec<Granted>,
}

/// The batches of a worker, in the order in which they have arrived.
#[derive(Default)]
pub(super) struct BatchQueue(VecDeque<Batch>);

impl BatchQueue {
    /// Adds the batch of a call frame.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), BadMessage> {
        let (header, arguments) = postcard::take_from_bytes(payload).map_err(bad_message)?;
        self.0.push_back(Batch { header, arguments: arguments.into(), taken: 0, offset: 0 });
        Ok(())
    }

    /// Takes the next task. `batch_ended` is called for each batch that has ended before it.
    pub(super) fn take(&mut self, batch_ended: impl Fn()) -> Result<Option<QueuedTask>, BadMessage> {
        while let Some(batch) = self.0.front_mut() {
            if !batch.is_empty() {
                return batch.take().map(Some);
            }
            self.0.pop_front();
            batch_ended();
        }
        Ok(None)
    }

    /// Returns whether every task that has arrived was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Batch::is_empty)
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.taken == self.header.count
    }

    fn take(&mut self) -> Result<QueuedTask, BadMessage> {
        let mut rest = &self.arguments[self.offset..];
        let mut granted = Vec::new();
        if self.header.handles {
            (granted, rest) = postcard::take_from_bytes::<Vec<Granted>>(rest).map_err(bad_message)?;
        }
        let (arguments, after) = postcard::take_from_bytes::<&[u8]>(rest).map_err(bad_message)?;
        let end = self.arguments.len() - after.len();
        let range = end - arguments.len()..end;
        let spec = TaskSpec {
            id: self.header.first.plus(u64::from(self.taken)),
            claim: self.header.claim.wrapping_add(self.taken),
            run_timeout: self.header.run_timeout,
            emits: self.header.emits,
            place: self.header.place.plus(u64::from(self.taken)),
            follow_log: self.header.follow_log,
        };
        self.taken += 1;
        self.offset = end;
        let (function, arguments) = (self.header.function, Rc::clone(&self.arguments));
        Ok(QueuedTask { spec, function, arguments, range, granted })
    }
}

fn bad_message(error: postcard::Error) -> BadMessage {
    BadMessage(error.to_string())
}
