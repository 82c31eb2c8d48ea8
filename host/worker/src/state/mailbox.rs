//! The mailbox: answers and credit that the parent has sent, until the suspended tasks take them.

use std::collections::HashMap;

use parking_lot::Mutex;
use wpool_wire::ids::TaskId;
use wpool_wire::message::Flow;

use super::handle_table::HandleEntry;

/// The mail of all tasks of a worker. The worker's loop puts it in, and wakes the task.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<HashMap<TaskId, Mail>>);

/// The mail of one task.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// An answer, with the handles that are granted with it.
    pub(crate) answer: Option<(Vec<u8>, Vec<HandleEntry>)>,
    pub(crate) emit_credit: Option<u64>,
    pub(crate) post_credit: Option<u64>,
}

impl Mailbox {
    pub(crate) fn put_answer(&self, task: TaskId, bytes: Vec<u8>, handles: Vec<HandleEntry>) {
        self.0.lock().entry(task).or_default().answer = Some((bytes, handles));
    }

    pub(crate) fn put_credit(&self, task: TaskId, flow: Flow, total: u64) {
        let mut mails = self.0.lock();
        let mail = mails.entry(task).or_default();
        match flow {
            Flow::Emits => mail.emit_credit = Some(total),
            Flow::Posts => mail.post_credit = Some(total),
        }
    }

    /// Takes the part of a task's mail that `part` selects; `None` if it has not come.
    pub(crate) fn take<T>(&self, task: TaskId, part: impl FnOnce(&mut Mail) -> Option<T>) -> Option<T> {
        self.0.lock().get_mut(&task).and_then(part)
    }

    /// Removes the mail of a task that has ended.
    pub(crate) fn remove(&self, task: TaskId) {
        self.0.lock().remove(&task);
    }
}
