//! The store under a clock of the test's own: cases by kind of object, and random ones beside a reference in `models`.

mod barriers;
mod containers;
mod deadlocks;
mod locks;
mod models;
mod queues;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, Kind, ObjectError, Reply, Rights, Verb, Wait};

use crate::ids::TaskId;

use super::*;

/// A store, its clock, and the answers of calls that have waited.
struct Bench {
    store: Store,
    now: Instant,
    answers: HashMap<Ticket, Answer>,
}

fn host(n: u64) -> Owner {
    Owner::Host(n)
}

fn task(n: u64) -> Owner {
    Owner::Task(TaskId(n))
}

fn value(text: &str) -> Stored {
    Item { bytes: text.as_bytes().to_vec(), handles: Vec::new() }
}

fn put(text: &str) -> Call<Stored> {
    Call::Put(vec![value(text)])
}

fn items(answer: &Answer) -> Vec<String> {
    let Ok(Reply::Items(items, _)) = answer else { panic!("{answer:?}") };
    items.iter().map(|item| String::from_utf8(item.bytes.clone()).unwrap()).collect()
}

impl Bench {
    fn new() -> Self {
        Self { store: Store::default(), now: Instant::now(), answers: HashMap::new() }
    }

    fn queue(&mut self, capacity: Option<u64>, requeue: bool) -> ObjectId {
        self.store.make(ObjectInit::Queue { capacity, requeue })
    }

    fn gather(&mut self) {
        for (ticket, _, answer) in self.store.take_answered() {
            assert!(self.answers.insert(ticket, answer).is_none(), "a ticket is answered once");
        }
    }

    /// Makes a call that may not wait, and returns its answer.
    fn now(&mut self, owner: Owner, id: ObjectId, call: Call<Stored>) -> Answer {
        let called = self.store.call(owner, id, call, Wait::NonBlocking);
        self.gather();
        match called {
            Called::Answered(answer) => answer,
            Called::Waits(_) => panic!("it was not to wait"),
        }
    }

    /// Makes a call that must wait. `time` is its timeout in milliseconds.
    fn waits(&mut self, owner: Owner, id: ObjectId, call: Call<Stored>, time: Option<u64>) -> Ticket {
        let deadline = time.map(|time| self.now + Duration::from_millis(time));
        let wait = deadline.map_or(Wait::Forever, Wait::Timeout);
        let called = self.store.call(owner, id, call, wait);
        self.gather();
        match called {
            Called::Waits(ticket) => ticket,
            Called::Answered(answer) => panic!("it need not wait: {answer:?}"),
        }
    }

    fn end(&mut self, owner: Owner, success: bool) {
        self.store.end_owner(owner, success);
        self.gather();
    }

    fn later(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.store.expire(self.now);
        self.gather();
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }
}
