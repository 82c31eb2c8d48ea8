//! The servers of shared objects that the tasks of a pool have handles of: the pool's own, and those of other managers.

use std::sync::{Arc, Weak};

use super::effects::Effects;
use crate::manager::Grant;
use crate::server::{Mailbox, ObjectServer, Outbox};

pub(super) struct Servers {
    pub(super) own: Arc<ObjectServer>,
    others: Vec<Weak<ObjectServer>>,
    /// The messages of the servers to this pool.
    pub(super) mailbox: Arc<Mailbox>,
}

impl Servers {
    pub(super) fn new(own: Arc<ObjectServer>, mailbox: Arc<Mailbox>) -> Self {
        own.with(|objects| objects.attach(&mailbox));
        Self { own, others: Vec::new(), mailbox }
    }

    /// Tasks of the pool are about to have these grants.
    pub(super) fn attach(&mut self, grants: &[Grant], effects: &mut Effects) {
        for grant in grants {
            let Some(server) = ObjectServer::of(grant) else { continue };
            let known = |other: &Weak<ObjectServer>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(&server));
            if Arc::ptr_eq(&server, &self.own) || self.others.iter().any(known) {
                continue;
            }
            let ((), outbox) = server.turn(|objects| objects.attach(&self.mailbox));
            effects.send(outbox);
            self.others.retain(|other| other.strong_count() > 0);
            self.others.push(Arc::downgrade(&server));
        }
    }

    /// Has the servers remove objects that no grant is left on. Returns what came of it.
    pub(super) fn remove_released(&self) -> Vec<Outbox> {
        let others =
            self.others.iter().filter_map(Weak::upgrade).filter_map(|server| server.turn_if_released());
        self.own.turn_if_released().into_iter().chain(others).collect()
    }

    /// All servers that are left.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<ObjectServer>> + use<> {
        let others: Vec<_> = self.others.iter().filter_map(Weak::upgrade).collect();
        std::iter::once(Arc::clone(&self.own)).chain(others)
    }
}
