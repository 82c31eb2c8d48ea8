//! The effects of one turn under the pool's lock: collected in the turn, carried out when the lock is free. Events that
//! follow from actions are handled before that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::cell::future::FutureCell;
use super::cell::map::MapCell;
use super::completed::Completed;
use crate::dispatch::Event;
use crate::ids::{GuestKey, WorkerId};
use crate::server::Outbox;

/// A result, an answer or a wake-up. It is delivered without the lock, as the code that it runs may take the lock.
pub(super) enum Delivery {
    Future(Arc<FutureCell>, Completed),
    Map(Arc<MapCell>, u64, Completed),
    /// A map gets no more inputs.
    EndMap(Arc<MapCell>),
    /// No more results of a map will come.
    AbortMap(Arc<MapCell>),
    /// The `.await` of an emitted value.
    Wake(Waker),
    /// The consequences of a turn of a server of shared objects.
    Outbox(Outbox),
}

/// The effects of one turn.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) deliveries: Vec<Delivery>,
    /// Workers that the driver is to start, and their guests.
    pub(super) spawns: Vec<(WorkerId, GuestKey)>,
    /// Events that follow from actions; the dispatcher handles them within the same turn.
    pub(super) follow_ups: VecDeque<Event>,
    /// The driver has to look at the state: something ended, or is due earlier than it knows.
    pub(super) wake_driver: bool,
    /// A worker was answered, and will most likely ask for more.
    pub(super) answered: bool,
}

impl Effects {
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        self.deliveries.push(delivery);
    }

    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.deliveries.extend(waker.map(Delivery::Wake));
    }

    /// Delivers what came of a server's turn, if anything did.
    pub(super) fn send(&mut self, outbox: Outbox) {
        if !outbox.is_empty() {
            self.deliveries.push(Delivery::Outbox(outbox));
        }
    }

    pub(super) fn follow_up(&mut self, event: Event) {
        self.follow_ups.push_back(event);
    }
}
