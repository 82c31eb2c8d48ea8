//! The counters of a task's requests to the pool.

use std::sync::Arc;

use wpool_wire::message::POSTS;

use super::mailbox::Mailbox;

/// One task's requests since its start, and the credit for those that have no answer.
#[derive(Debug)]
pub(crate) struct RequestState {
    pub(crate) mailbox: Arc<Mailbox>,
    /// The number of submitted sub-tasks, which is the index of the next.
    pub(crate) submitted: u32,
    pub(crate) emitted: u64,
    /// The number of values that may be emitted since the start; `None` if they are discarded.
    pub(crate) emit_credit: Option<u64>,
    pub(crate) posted: u64,
    /// The number of calls that may be posted since the start.
    pub(crate) post_credit: u64,
    /// The latest answer, until the guest copies it.
    pub(crate) answer: Vec<u8>,
}

impl RequestState {
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            submitted: 0,
            emitted: 0,
            emit_credit: None,
            posted: 0,
            post_credit: POSTS,
            answer: Vec::new(),
        }
    }

    /// Resets the counters for a task that starts.
    pub(crate) fn start(&mut self, emit_credit: Option<u64>) {
        (self.submitted, self.emitted, self.emit_credit) = (0, 0, emit_credit);
        (self.posted, self.post_credit) = (0, POSTS);
        self.answer.clear();
    }
}
