//! The mailbox of one pool: the answers to its tasks' calls, and the memory that its workers must unmap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::ids::{MemoryId, TaskId};
use crate::lock::Mutex;
use crate::manager::{Answer, Ticket};

/// The pool behind a mailbox.
pub(crate) trait MailReader: Send + Sync {
    /// Reads the mail on this thread, in a turn of the pool.
    fn read_mail(&self);

    /// Has another thread read the mail. The caller may be in a turn of another pool.
    fn wake(&self);

    /// Has the pool's driver read from the workers, as a thread waits that does not read for itself.
    fn read_from_workers(&self);
}

/// A message to a pool.
#[derive(Debug)]
pub(crate) enum Mail {
    /// The call of a task that has waited under this ticket is answered.
    Answered(TaskId, Ticket, Answer),
    /// No grant on this shared memory is left.
    Removed(MemoryId),
}

/// Mail for one pool that it has not read yet.
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    any: AtomicBool,
    reader: Weak<dyn MailReader>,
}

impl Mailbox {
    pub(crate) fn new(reader: Weak<dyn MailReader>) -> Self {
        Self { mail: Mutex::default(), any: AtomicBool::new(false), reader }
    }

    pub(super) fn push(&self, mail: Mail) {
        let mut all = self.mail.lock();
        all.push(mail);
        self.any.store(true, Ordering::Release);
    }

    /// Takes all mail.
    pub(crate) fn take(&self) -> Vec<Mail> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut all = self.mail.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut all)
    }

    /// Has the pool read its mail on this thread. The thread must have no lock.
    pub(crate) fn read(&self) {
        self.notify(|reader| reader.read_mail());
    }

    /// Has another thread of the pool read its mail.
    pub(crate) fn wake(&self) {
        self.notify(|reader| reader.wake());
    }

    fn notify(&self, tell: impl FnOnce(&dyn MailReader)) {
        // The owner of the mail may have read it in the same turn.
        if self.any.load(Ordering::Acquire)
            && let Some(reader) = self.reader.upgrade()
        {
            tell(&*reader);
        }
    }

    /// The pool, if it is not gone.
    pub(super) fn reader(&self) -> Option<Arc<dyn MailReader>> {
        self.reader.upgrade()
    }
}
