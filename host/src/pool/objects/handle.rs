//! [`Handle`]: the host's handle on a shared object, and the calls that its threads and `.await`s make with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_objects::HandleScope;

use crate::manager::{Answer, Grant, Owner, SharedRegion, Stored, Ticket};
use crate::server::{HostCalled, ObjectCall, ObjectServer, until};

/// A handle on a shared object of a manager. The typed objects are made of handles; a handle itself has no public methods.
#[derive(Clone)]
pub struct Handle {
    /// `None` only during the drop.
    grant: Option<Grant>,
    server: Arc<ObjectServer>,
    /// The owner of calls with this handle; `None` is the calling thread.
    owner: Option<u64>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.grant.as_ref().map(Grant::id)).finish()
    }
}

impl Handle {
    pub(in crate::pool) fn new(grant: Grant) -> Self {
        let server = ObjectServer::of(&grant).expect("a grant outside of its server keeps it");
        Self { grant: Some(grant), server, owner: None }
    }

    fn with_owner(&self, owner: u64) -> Self {
        Self { grant: self.grant.clone(), server: Arc::clone(&self.server), owner: Some(owner) }
    }

    fn grant(&self) -> &Grant {
        self.grant.as_ref().expect("the grant is there until the drop")
    }

    /// Returns the grant, to be sent with a value.
    pub(in crate::pool) fn to_grant(&self) -> Grant {
        self.grant().clone()
    }

    fn region(&self) -> Result<&SharedRegion, ObjectError> {
        self.grant().region().ok_or(ObjectError::WrongKind)
    }

    fn writable_region(&self) -> Result<&SharedRegion, ObjectError> {
        if self.grant().rights.contain(Rights::WRITE) { self.region() } else { Err(ObjectError::NoRight) }
    }
}

fn stored(item: Item<Handle>) -> Stored {
    Item { bytes: item.bytes, handles: item.handles.iter().map(Handle::to_grant).collect() }
}

fn to_reply(answer: Answer) -> Result<Reply<Item<Handle>>, ObjectError> {
    let handles = |item: Stored| Item {
        bytes: item.bytes,
        handles: item.handles.into_iter().map(Handle::new).collect(),
    };
    answer.map(|reply| reply.map(handles))
}

fn to_stored(call: Call<Item<Handle>>) -> Call<Stored> {
    call.try_map(|item| Ok::<_, std::convert::Infallible>(stored(item)))
        .unwrap_or_else(|never| match never {})
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.grant = None;
        self.server.remove_released();
    }
}

/// Returns a new owner id, for a thread or an `.await`.
fn next_owner() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn thread_owner() -> u64 {
    OWNER.with(|owner| *owner)
}

thread_local! {
    static OWNER: u64 = next_owner();
    static HANDLE_SCOPE: HandleScope<Handle> = const { HandleScope::new() };
}

impl wpool_objects::Handle for Handle {
    const READS_UNTRUSTED: bool = true;

    fn call(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        let wait = until(wait, self.grant().timeout(), Instant::now());
        let owner = Owner::Host(self.owner.unwrap_or_else(thread_owner));
        let (ticket, call) = match self.server.host_call(owner, self.grant(), to_stored(call), wait, false) {
            HostCalled::Answered(answer) => return to_reply(answer),
            HostCalled::Waits(ticket, call) => (ticket, call),
        };
        // A thread ends its wait at the deadline itself, so the timer does not watch that.
        let deadline = match wait {
            Wait::Timeout(at) => Some(at),
            Wait::NonBlocking | Wait::Forever => None,
        };
        let answer = call.wait(deadline).or_else(|| {
            self.server.with(|objects| objects.time_out(ticket));
            call.wait(None)
        });
        to_reply(answer.unwrap_or(Err(ObjectError::PoolClosed)))
    }

    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError> {
        self.call(call, Wait::Forever).map(drop)
    }

    async fn call_async(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        let wait = until(wait, self.grant().timeout(), Instant::now());
        let owner = Owner::Host(self.owner.unwrap_or_else(next_owner));
        match self.server.host_call(owner, self.grant(), to_stored(call), wait, true) {
            HostCalled::Answered(answer) => to_reply(answer),
            HostCalled::Waits(ticket, call) => {
                to_reply(Awaited { server: Arc::clone(&self.server), ticket, call }.await)
            }
        }
    }

    fn shared_size(&self) -> Result<u64, ObjectError> {
        Ok(self.region()?.memory.size() as u64)
    }

    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        self.region()?.memory.read(at, into)
    }

    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        self.writable_region()?.memory.write(at, bytes)
    }

    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        self.writable_region()?.memory.add(at, number)
    }

    fn now() -> Option<Duration> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Some(START.elapsed())
    }

    fn bound(&self) -> Self {
        self.with_owner(self.owner.unwrap_or_else(thread_owner))
    }

    fn detached(&self) -> Self {
        self.with_owner(next_owner())
    }

    fn narrowed(&self, rights: Rights) -> Self {
        Self::new(self.grant().narrowed(rights))
    }

    fn handle_scope<T>(act: impl FnOnce(&HandleScope<Self>) -> T) -> T {
        HANDLE_SCOPE.with(act)
    }
}

/// A call that is awaited. Dropping it early ends the wait, and gives back what an answer has brought already.
struct Awaited {
    server: Arc<ObjectServer>,
    ticket: Ticket,
    call: Arc<ObjectCall>,
}

impl Future for Awaited {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.call.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.server.with(|objects| objects.abandon(self.ticket));
        let answer = self.call.abandon();
        self.server.give_back_to(&self.call, answer);
    }
}
