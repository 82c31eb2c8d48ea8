//! Submits one task: at once, when the queue has room, or not at all.

use std::sync::Arc;
use std::task::Waker;

use super::Runtime;
use super::cell::emitted::EmitCell;
use super::cell::future::FutureCell;
use super::jobs::Arguments;
use super::pool_guest::TaskCall;
use super::state::Lifecycle;
use crate::error::SubmitError;
use crate::ids::TaskId;

impl Runtime {
    /// Submits one task. While the queue is full it waits for room, or fails if it may not `wait`.
    pub(crate) fn submit(
        &self,
        call: &TaskCall,
        arguments: Arguments,
        wait: bool,
        emits: Option<Arc<EmitCell>>,
    ) -> Result<(TaskId, Arc<FutureCell>), SubmitError> {
        let (size, limit) = (arguments.bytes.len(), call.guest.limits.arguments as usize);
        if size > limit {
            return Err(SubmitError::TooLarge { size, limit });
        }
        let mut state = self.state.lock();
        while state.lifecycle == Lifecycle::Open && state.dispatcher.queued() >= self.queue_limit {
            if !wait {
                return Err(SubmitError::QueueFull { limit: self.queue_limit });
            }
            state.waiting_for_room += 1;
            self.room.wait(&mut state);
            state.waiting_for_room -= 1;
        }
        if let Some(by) = state.lifecycle.closed_by() {
            return Err(SubmitError::Closed { by });
        }
        Ok(self.turn(state, |state| state.submit(call, arguments, emits)))
    }

    /// As [`submit`](Self::submit), but has `waker` woken when a queue that is full has room again: then it returns `None`
    /// and leaves the arguments.
    pub(crate) fn poll_submit(
        &self,
        call: &TaskCall,
        arguments: &mut Option<Arguments>,
        waker: &Waker,
    ) -> Option<Result<(TaskId, Arc<FutureCell>), SubmitError>> {
        // A waker's clone runs code of its executor, and so does its drop: neither under the lock.
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        if state.lifecycle == Lifecycle::Open && state.dispatcher.queued() >= self.queue_limit {
            // Each poll of one future would add one more.
            if !state.room_wakers.iter().any(|known| waker.as_ref().is_some_and(|new| known.will_wake(new))) {
                state.room_wakers.extend(waker.take());
            }
            return None;
        }
        drop(state);
        let submitted = self.submit(call, arguments.take()?, false, None);
        Some(submitted)
    }
}
