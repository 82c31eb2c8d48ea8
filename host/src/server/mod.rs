//! A manager's server: the shared objects under a lock of their own, which all handles, pools and threads of the program
//! share. Python's manager has a server process in its place.
//!
//! A thread that calls an object takes the server's lock for one turn: the state changes, and what came of it for others
//! (answers, actions, news for pools) leaves in an [`Outbox`], which is delivered without the lock. A pool calls within
//! its own turn, so the order of locks is the pool's first, then the server's.

mod call;
mod mailbox;
mod objects;
mod timer;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, ObjectError, Verb, Wait};

pub(crate) use self::call::ObjectCall;
pub(crate) use self::mailbox::{Mail, MailReader, Mailbox};
use self::objects::Outcome;
pub(crate) use self::objects::{BarrierAction, Caller, Closed, SharedObjects};
use self::timer::Timer;
use crate::callbacks::{Callbacks, guarded};
use crate::ids::TaskId;
use crate::lock::Mutex;
use crate::manager::{
    Answer, Called, Grant, ObjectId, ObjectInit, Owner, Reach, Released, SharedRegion, Stored, Ticket,
};

/// The server of one manager.
pub(crate) struct ObjectServer {
    objects: Mutex<SharedObjects>,
    /// Shared objects that no grant is left on.
    released: Arc<Released>,
    /// Runs the actions of barriers.
    callbacks: Callbacks,
    timer: Arc<Timer>,
    this: Weak<Self>,
}

/// The deadline of a call that waits. One that the clock cannot represent is none.
pub(crate) fn until(wait: Wait, default: Option<Duration>, now: Instant) -> Wait<Instant> {
    let timeout = match wait {
        Wait::NonBlocking => return Wait::NonBlocking,
        Wait::Timeout(nanos) => Some(Duration::from_nanos(nanos)),
        Wait::Forever => default,
    };
    timeout.and_then(|timeout| now.checked_add(timeout)).map_or(Wait::Forever, Wait::Timeout)
}

/// The outcome of a call by the host.
pub(crate) enum HostCalled {
    Answered(Answer),
    Waits(Ticket, Arc<ObjectCall>),
}

impl ObjectServer {
    /// A server without objects. `memory_limit` is the number of bytes that all its shared arrays may have together.
    pub(crate) fn new(memory_limit: u64) -> Arc<Self> {
        let released = Arc::<Released>::default();
        Arc::new_cyclic(|this| Self {
            objects: Mutex::new(SharedObjects::new(memory_limit, Arc::clone(&released))),
            released,
            callbacks: Callbacks::default(),
            timer: Timer::new(expire(Weak::clone(this))),
            this: Weak::clone(this),
        })
    }

    /// The server of the object that a grant is on.
    pub(crate) fn of(grant: &Grant) -> Option<Arc<Self>> {
        Arc::clone(grant.home()?).downcast().ok()
    }

    /// One turn: `act` changes the objects under the lock. What came of it for others is to be delivered without any
    /// lock.
    pub(crate) fn turn<T>(&self, act: impl FnOnce(&mut SharedObjects) -> T) -> (T, Outbox) {
        let mut objects = self.objects.lock();
        let value = act(&mut objects);
        let Outcome { answers, actions, removed, mail } = objects.settle();
        drop(objects);
        let server = if answers.is_empty() && actions.is_empty() { None } else { self.this.upgrade() };
        let answers = answers.into_iter().map(|(call, answer)| (call, self.leaving(answer))).collect();
        let mail = mail.into_iter().map(|(mailbox, mail)| self.post(mailbox, mail)).collect();
        (value, Outbox { server, answers, actions, removed, mail, readers: Vec::new() })
    }

    /// A turn of a thread that has no lock: what came of it is delivered at once.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut SharedObjects) -> T) -> T {
        let (value, outbox) = self.turn(act);
        outbox.deliver(Mailbox::read);
        value
    }

    /// Makes an object.
    pub(crate) fn make(&self, init: ObjectInit) -> Grant {
        let init = init.map(|value| self.entering(value));
        self.at_home(self.with(|objects| objects.make(init)))
    }

    /// Makes a barrier. Calls that set no timeout of their own break it after `timeout`; `action` runs in the host each
    /// time before the parties go on.
    pub(crate) fn make_barrier(
        &self,
        parties: u32,
        timeout: Option<Duration>,
        action: Option<BarrierAction>,
    ) -> Grant {
        if action.is_some() {
            self.callbacks.start();
        }
        self.at_home(self.with(|objects| objects.make_barrier(parties, timeout, action)))
    }

    /// Makes the two ends of a pipe.
    pub(crate) fn make_pipe(&self, duplex: bool) -> [Grant; 2] {
        self.with(|objects| objects.make_pipe(duplex)).map(|end| self.at_home(end))
    }

    /// Adds shared memory, if it is within the limit.
    pub(crate) fn add_memory(&self, region: SharedRegion) -> Result<Grant, ObjectError> {
        self.with(|objects| objects.add_memory(region)).map(|grant| self.at_home(grant))
    }

    /// A call by the host. With `timed` the timer ends it at its deadline; else the caller keeps its own time.
    pub(crate) fn host_call(
        &self,
        owner: Owner,
        grant: &Grant,
        call: Call<Stored>,
        wait: Wait<Instant>,
        timed: bool,
    ) -> HostCalled {
        if !grant.rights.contain(call.verb().needs()) {
            return HostCalled::Answered(Err(ObjectError::NoRight));
        }
        let (id, verb, call) = (grant.id(), call.verb(), self.all_entering(call));
        let (called, mut outbox) = self.turn(|objects| {
            let mut waiting = None;
            let called = objects.call(owner, id, call, wait, || {
                Caller::Host(Arc::clone(waiting.insert(Arc::new(ObjectCall::new(owner, id, verb)))))
            });
            match called {
                Called::Waits(ticket) => (Called::Waits(ticket), waiting, objects.readers()),
                answered => (answered, None, Vec::new()),
            }
        });
        let (called, waiting, readers) = called;
        outbox.readers = readers;
        outbox.deliver(Mailbox::read);
        match (called, waiting) {
            (Called::Answered(answer), _) => HostCalled::Answered(self.leaving(answer)),
            (Called::Waits(ticket), Some(call)) => {
                if timed {
                    self.watch(wait);
                }
                HostCalled::Waits(ticket, call)
            }
            (Called::Waits(_), None) => unreachable!("a call that waits has its caller"),
        }
    }

    /// A call by a task of the pool of `mailbox`, where the answer goes if the call waits.
    pub(crate) fn task_call(
        &self,
        (task, mailbox): (TaskId, &Arc<Mailbox>),
        id: ObjectId,
        call: Call<Stored>,
        wait: Wait<Instant>,
    ) -> (Called, Outbox) {
        let call = self.all_entering(call);
        let caller = || Caller::Task(task, Arc::clone(mailbox));
        let (called, outbox) = self.turn(|objects| objects.call(Owner::Task(task), id, call, wait, caller));
        match called {
            Called::Answered(answer) => (Called::Answered(self.leaving(answer)), outbox),
            Called::Waits(ticket) => {
                self.watch(wait);
                (Called::Waits(ticket), outbox)
            }
        }
    }

    /// About how long a call that goes over these values takes.
    pub(crate) fn cost(&self, id: ObjectId, reach: Reach) -> Duration {
        self.objects.lock().store.cost(id, reach)
    }

    /// Takes back a reply that did not reach its owner.
    pub(crate) fn give_back(&self, owner: Owner, id: ObjectId, verb: Verb, answer: Answer) -> ((), Outbox) {
        let Ok(reply) = answer else { return ((), Outbox::default()) };
        let reply = reply.map(|item| self.entering(item));
        self.turn(|objects| objects.store.give_back(owner, id, verb, reply))
    }

    /// Gives back the values or the lock in an answer to the host that no caller took.
    pub(crate) fn give_back_to(&self, call: &ObjectCall, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.give_back(call.owner, call.object, call.verb, answer).1.deliver(Mailbox::read);
        }
    }

    /// Removes the objects that no grant is left on.
    pub(crate) fn remove_released(&self) {
        if self.released.any() {
            self.with(|_| ());
        }
    }

    /// As [`remove_released`](Self::remove_released), within the turn of a pool.
    pub(crate) fn turn_if_released(&self) -> Option<Outbox> {
        self.released.any().then(|| self.turn(|_| ()).1)
    }

    /// As [`remove_released`](Self::remove_released), but on the timer's thread: the caller may have any lock.
    pub(crate) fn remove_released_later(&self) {
        if self.released.any() {
            self.timer.watch(Instant::now());
        }
    }

    /// Has the timer end a call at its deadline.
    fn watch(&self, wait: Wait<Instant>) {
        if let Wait::Timeout(at) = wait {
            self.timer.watch(at);
        }
    }

    /// Puts mail into the mailbox of a pool, which is to be notified of it.
    fn post(&self, mailbox: Arc<Mailbox>, mail: Mail) -> Arc<Mailbox> {
        mailbox.push(match mail {
            Mail::Answered(task, ticket, answer) => Mail::Answered(task, ticket, self.leaving(answer)),
            Mail::Removed(memory) => Mail::Removed(memory),
        });
        mailbox
    }

    /// A grant outside of the server keeps the server.
    fn at_home(&self, grant: Grant) -> Grant {
        match self.this.upgrade() {
            Some(this) => grant.kept_by(this),
            None => grant,
        }
    }

    /// A value on its way into the server: its own grants do not keep it, else it would keep itself.
    fn entering(&self, mut item: Stored) -> Stored {
        item.handles.iter_mut().for_each(|grant| grant.enter(&self.released));
        item
    }

    fn all_entering(&self, call: Call<Stored>) -> Call<Stored> {
        call.try_map(|item| Ok::<_, std::convert::Infallible>(self.entering(item)))
            .unwrap_or_else(|never| match never {})
    }

    /// An answer on its way out of the server.
    pub(crate) fn leaving(&self, answer: Answer) -> Answer {
        answer.map(|reply| {
            reply.map(|Item { bytes, handles }| {
                let handles = handles.into_iter().map(|grant| self.at_home(grant)).collect();
                Item { bytes, handles }
            })
        })
    }
}

/// Ends the calls whose time is over, and returns the next deadline.
fn expire(server: Weak<ObjectServer>) -> Box<dyn Fn() -> Option<Instant> + Send + Sync> {
    Box::new(move || {
        server.upgrade()?.with(|objects| {
            objects.store.expire(Instant::now());
            objects.store.next_deadline()
        })
    })
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.timer.stop();
        // The last grant may go under any lock, and an action may hold handles.
        let actions = self.objects.lock().take_actions();
        if !actions.is_empty() {
            self.callbacks.call(Box::new(move || drop(actions)));
        }
    }
}

/// The consequences of a turn for others. They are delivered without the server's lock, as it runs code of users.
#[derive(Default)]
#[must_use = "others wait for it"]
pub(crate) struct Outbox {
    /// The server, if there is something that needs it.
    server: Option<Arc<ObjectServer>>,
    /// Answers to calls of the host.
    answers: Vec<(Arc<ObjectCall>, Answer)>,
    /// Barriers to which all parties have come, each with its round.
    actions: Vec<(BarrierAction, ObjectId, u64)>,
    /// The actions of barriers that are gone. They may hold handles.
    removed: Vec<BarrierAction>,
    /// Mailboxes of pools that got mail.
    mail: Vec<Arc<Mailbox>>,
    /// Pools that must read from their workers now, as a thread waits for what their tasks may do.
    readers: Vec<Arc<dyn MailReader>>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.actions.is_empty() && self.removed.is_empty() && self.mail.is_empty()
    }

    /// Delivers everything; `notify` tells a pool of its mail.
    pub(crate) fn deliver(self, notify: fn(&Mailbox)) {
        let Self { server, answers, actions, removed, mail, readers } = self;
        if let Some(server) = server {
            for (call, answer) in answers {
                guarded(|| {
                    let unheard = call.answer(answer);
                    server.give_back_to(&call, unheard);
                });
            }
            for (action, barrier, round) in actions {
                server.run_action(action, barrier, round);
            }
        }
        removed.into_iter().for_each(|action| guarded(|| drop(action)));
        mail.iter().for_each(|mailbox| notify(mailbox));
        readers.iter().for_each(|reader| reader.read_from_workers());
    }
}

impl ObjectServer {
    /// Runs the action of a barrier on the server's thread for that, then lets the parties go. If it panics the barrier
    /// is broken.
    fn run_action(&self, action: BarrierAction, barrier: ObjectId, round: u64) {
        let this = Weak::clone(&self.this);
        self.callbacks.call(Box::new(move || {
            let mut act = action.lock();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut *act));
            drop(act);
            if let Some(server) = this.upgrade() {
                server.with(|objects| objects.store.end_action(barrier, round, done.is_ok()));
            }
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
        }));
    }
}

#[cfg(test)]
mod tests;
