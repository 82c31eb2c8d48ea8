//! The host's handles on shared objects, and how its own threads and `.await`s use them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, ObjectError, Patience, Reply, Rights, Verb};
use wpool_objects::Luggage;

use super::core::Shared;
use crate::manager::{Answer, Called, Grant, ObjectId, Owner, Region, Stored, Ticket};

/// A handle on an object of a pool. The typed objects are made of these; by itself it can do nothing.
#[derive(Clone)]
pub struct Handle {
    /// None only while it is dropped.
    grant: Option<Grant>,
    shared: Weak<Shared>,
    /// As whom it is used; none is whichever thread does.
    owner: Option<u64>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.grant.as_ref().map(Grant::id)).finish()
    }
}

impl Handle {
    pub(super) fn new(grant: Grant, shared: &Weak<Shared>) -> Self {
        Self { grant: Some(grant), shared: Weak::clone(shared), owner: None }
    }

    fn used_as(&self, owner: u64) -> Self {
        Self { grant: self.grant.clone(), shared: Weak::clone(&self.shared), owner: Some(owner) }
    }

    fn grant(&self) -> &Grant {
        self.grant.as_ref().expect("it is there until it is dropped")
    }

    /// The grant, to travel with a value.
    pub(super) fn to_grant(&self) -> Grant {
        self.grant().clone()
    }

    fn region(&self) -> Result<&Region, ObjectError> {
        self.grant().region().ok_or(ObjectError::WrongKind)
    }

    fn region_to_change(&self) -> Result<&Region, ObjectError> {
        if self.grant().rights.contain(Rights::WRITE) { self.region() } else { Err(ObjectError::NoRight) }
    }

    fn to_reply(&self, answer: Answer) -> Result<Reply<Item<Self>>, ObjectError> {
        let shared = &self.shared;
        let handles = |item: Stored| Item {
            bytes: item.bytes,
            handles: item.handles.into_iter().map(|grant| Self::new(grant, shared)).collect(),
        };
        answer.map(|reply| reply.map(handles))
    }
}

fn stored(item: Item<Handle>) -> Stored {
    Item { bytes: item.bytes, handles: item.handles.iter().map(Handle::to_grant).collect() }
}

fn to_stored(call: Call<Item<Handle>>) -> Call<Stored> {
    call.try_map(|item| Ok::<_, std::convert::Infallible>(stored(item)))
        .unwrap_or_else(|never| match never {})
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.grant = None;
        if let Some(shared) = self.shared.upgrade() {
            shared.clear_abandoned();
        }
    }
}

/// Where an answer comes for somebody in the host.
#[derive(Debug)]
pub(super) struct HostWait {
    /// What was asked, and as whom.
    owner: Owner,
    object: ObjectId,
    verb: Verb,
    inner: Mutex<HostWaitState>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct HostWaitState {
    answer: Option<Answer>,
    waker: Option<Waker>,
    /// Nobody wants the answer any more.
    gone: bool,
}

impl HostWait {
    fn new(owner: Owner, object: ObjectId, verb: Verb) -> Self {
        Self { owner, object, verb, inner: Mutex::default(), answered: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HostWaitState> {
        // Nothing that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an answer over. It comes back if nobody wants it any more.
    pub(super) fn answer(&self, answer: Answer) -> Option<Answer> {
        let mut inner = self.lock();
        if inner.gone {
            return Some(answer);
        }
        inner.answer = Some(answer);
        let waker = inner.waker.take();
        drop(inner);
        self.answered.notify_all();
        waker.into_iter().for_each(Waker::wake);
        None
    }

    /// Nobody wants the answer. It is returned if it is there.
    fn leave(&self) -> Option<Answer> {
        let mut inner = self.lock();
        inner.gone = true;
        inner.answer.take()
    }

    /// Waits for the answer, at most until then.
    fn wait(&self, deadline: Option<Instant>) -> Option<Answer> {
        let mut inner = self.lock();
        loop {
            if let Some(answer) = inner.answer.take() {
                return Some(answer);
            }
            inner = match deadline {
                None => self.answered.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                    self.answered.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Whether who waits would not have got this error.
fn is_wait(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Full | ObjectError::Empty | ObjectError::Held | ObjectError::TimedOut)
}

/// A number for the next thread or `.await`.
fn next_owner() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn thread_owner() -> u64 {
    OWNER.with(|owner| *owner)
}

thread_local! {
    static OWNER: u64 = next_owner();
    static LUGGAGE: Luggage<Handle> = const { Luggage::new() };
}

impl wpool_objects::Handle for Handle {
    fn call(&self, call: Call<Item<Self>>, patience: Patience) -> Result<Reply<Item<Self>>, ObjectError> {
        let shared = self.shared.upgrade().ok_or(ObjectError::PoolClosed)?;
        let deadline = match patience {
            Patience::For(nanos) => Some(Duration::from_nanos(nanos)),
            Patience::Ever => self.grant().patience(),
            Patience::Never => None,
        };
        let deadline = deadline.and_then(|time| Instant::now().checked_add(time));
        let owner = Owner::Host(self.owner.unwrap_or_else(thread_owner));
        let may_wait = (patience != Patience::Never).then_some(deadline);
        // A thread keeps its own time.
        let (ticket, wait) = match shared.call_object(owner, self.grant(), to_stored(call), may_wait, false) {
            Ok(answer) => return self.to_reply(answer),
            Err(waits) => waits,
        };
        shared.lead.call_driver();
        let answer = wait.wait(deadline).or_else(|| {
            shared.time_is_over(ticket);
            wait.wait(None)
        });
        self.to_reply(answer.unwrap_or(Err(ObjectError::PoolClosed)))
    }

    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError> {
        self.call(call, Patience::Ever).map(drop)
    }

    async fn call_async(
        &self,
        call: Call<Item<Self>>,
        patience: Patience,
    ) -> Result<Reply<Item<Self>>, ObjectError> {
        let shared = self.shared.upgrade().ok_or(ObjectError::PoolClosed)?;
        let deadline = match patience {
            Patience::Never => None,
            Patience::Ever => Some(self.grant().patience()),
            Patience::For(nanos) => Some(Some(Duration::from_nanos(nanos))),
        };
        let deadline = deadline.map(|time| time.and_then(|time| Instant::now().checked_add(time)));
        let owner = Owner::Host(self.owner.unwrap_or_else(next_owner));
        match shared.call_object(owner, self.grant(), to_stored(call), deadline, true) {
            Ok(answer) => self.to_reply(answer),
            Err((ticket, wait)) => {
                shared.lead.call_driver();
                let answer = Awaited { shared: Weak::clone(&self.shared), ticket, wait }.await;
                self.to_reply(answer)
            }
        }
    }

    fn shared_size(&self) -> Result<u64, ObjectError> {
        Ok(self.region()?.memory.len() as u64)
    }

    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        self.region()?.memory.read(at, into)
    }

    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        self.region_to_change()?.memory.write(at, bytes)
    }

    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        self.region_to_change()?.memory.add(at, number)
    }

    fn now() -> Option<Duration> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Some(START.elapsed())
    }

    fn bound(&self) -> Self {
        self.used_as(self.owner.unwrap_or_else(thread_owner))
    }

    fn detached(&self) -> Self {
        self.used_as(next_owner())
    }

    fn narrowed(&self, rights: Rights) -> Self {
        Self::new(self.grant().narrowed(rights), &self.shared)
    }

    fn luggage<T>(act: impl FnOnce(&Luggage<Self>) -> T) -> T {
        LUGGAGE.with(act)
    }
}

/// A call that somebody awaits. Given up, it waits no more, and what it was given already is given back.
struct Awaited {
    shared: Weak<Shared>,
    ticket: Ticket,
    wait: Arc<HostWait>,
}

impl Future for Awaited {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut inner = self.wait.lock();
        match inner.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                inner.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.abandon_call(self.ticket);
        let answer = self.wait.leave();
        shared.give_back(&self.wait, answer);
    }
}

impl Shared {
    /// Asks something of an object on behalf of somebody in the host. With `wake` the driver sees to it that the time is
    /// kept.
    fn call_object(
        &self,
        owner: Owner,
        grant: &Grant,
        call: Call<Stored>,
        may_wait: Option<Option<Instant>>,
        wake: bool,
    ) -> Result<Answer, (Ticket, Arc<HostWait>)> {
        self.with(|core| {
            // When everything has ended nobody waits any more; what is there can still be had.
            let finished = core.is_finished() && may_wait.is_some();
            let may_wait = may_wait.filter(|_| !finished);
            if !grant.rights.contain(call.verb().needs()) {
                return Ok(Err(ObjectError::NoRight));
            }
            let verb = call.verb();
            match core.objects.store.call(owner, grant.id(), call, may_wait) {
                Called::Answered(Err(error)) if finished && is_wait(&error) => {
                    Ok(Err(ObjectError::PoolClosed))
                }
                Called::Answered(answer) => Ok(answer),
                Called::Waits(ticket) => {
                    let wait = Arc::new(HostWait::new(owner, grant.id(), verb));
                    core.objects.waits.insert(ticket, Arc::clone(&wait));
                    core.hurry(may_wait.flatten().filter(|_| wake));
                    Err((ticket, wait))
                }
            }
        })
    }

    /// An answer that nobody heard.
    pub(super) fn give_back(&self, wait: &HostWait, answer: Option<Answer>) {
        if let Some(Ok(reply)) = answer {
            self.with(|core| core.objects.store.give_back(wait.owner, wait.object, wait.verb, reply));
        }
    }

    fn time_is_over(&self, ticket: Ticket) {
        self.with(|core| core.objects.store.time_is_over(ticket));
    }

    fn abandon_call(&self, ticket: Ticket) {
        self.with(|core| {
            if core.objects.waits.remove(&ticket).is_some() {
                core.objects.store.abandon(ticket);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{Shape, Store};

    #[test]
    fn an_answer_that_crosses_with_who_leaves_comes_back() {
        let object = Store::default().make(Shape::Event);
        let wait = || HostWait::new(Owner::Host(1), object, Verb::Get);
        let (early, late) = (wait(), wait());
        assert_eq!(early.answer(Ok(Reply::Done)), None);
        assert_eq!(early.leave(), Some(Ok(Reply::Done)));
        assert_eq!(late.leave(), None);
        assert_eq!(late.answer(Ok(Reply::Done)), Some(Ok(Reply::Done)));
    }
}
