//! Shared objects, as a guest reaches them.

use std::cell::{Cell, RefCell};

use wpool_abi::object::{Call, Item, ObjectError, Patience, Reply, Rights};

use crate::glue;

/// A queue of values of type `T`.
pub type Queue<T> = wpool_objects::Queue<T, Handle>;
/// A queue whose values are worked off: every [`Queue`] is one.
pub type JoinableQueue<T> = Queue<T>;
/// A queue without an end.
pub type SimpleQueue<T> = Queue<T>;
/// The end of a queue that values are put in.
pub type Sender<T> = wpool_objects::Sender<T, Handle>;
/// The end of a queue that values are taken from.
pub type Receiver<T> = wpool_objects::Receiver<T, Handle>;
/// One end of a pipe.
pub type Connection<T> = wpool_objects::Connection<T, Handle>;
/// Held by one at a time.
pub type Lock = wpool_objects::Lock<Handle>;
/// Held by one at a time, several times over.
pub type RLock = wpool_objects::RLock<Handle>;
/// A lock that is held.
pub type LockGuard = wpool_objects::Guard<Handle>;
/// Held by so many at a time.
pub type Semaphore = wpool_objects::Semaphore<Handle>;
/// A semaphore that is never released more often than it was acquired.
pub type BoundedSemaphore = Semaphore;
/// A lock, and waiting for news.
pub type Condition = wpool_objects::Condition<Handle>;
/// A flag that can be waited for.
pub type Event = wpool_objects::Event<Handle>;
/// Passed by so many together.
pub type Barrier = wpool_objects::Barrier<Handle>;
/// Values by keys.
pub type Dict<K, V> = wpool_objects::Dict<K, V, Handle>;
/// Values of any types by names.
pub type Namespace = wpool_objects::Namespace<Handle>;
/// Values by their places; it grows and shrinks.
pub type List<T> = wpool_objects::List<T, Handle>;
/// Values by their places, always as many.
pub type Array<T> = wpool_objects::Array<T, Handle>;
/// One value.
pub type Value<T> = wpool_objects::Value<T, Handle>;

/// A handle that this task was granted. The typed objects are made of these; by itself it can do nothing.
#[derive(Debug, Clone)]
pub struct Handle {
    number: u32,
    rights: Rights,
}

/// What needs no answer is not longer than this.
const POST_SIZE: usize = 64 << 10;

thread_local! {
    /// Handles that travel with what is being written.
    static SENT: RefCell<Option<Vec<Handle>>> = const { RefCell::new(None) };
    /// Handles that came with what is being read.
    static RECEIVED: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    /// Whether anything was asked for that needs no answer, since the last answer.
    static POSTED: Cell<bool> = const { Cell::new(false) };
}

/// Waits until everything that needs no answer is done: values put, locks released, keys set. A task does so when it
/// returns; one whose calls have failed then fails, too.
///
/// # Errors
/// What went wrong first.
pub fn flush() -> Result<(), ObjectError> {
    if !POSTED.replace(false) {
        return Ok(());
    }
    read_answer(&glue::host_flush()).map(drop)
}

fn read_answer(answer: &[u8]) -> Result<Reply, ObjectError> {
    postcard::from_bytes(answer).unwrap_or_else(|error| Err(ObjectError::BadValue(error.to_string())))
}

impl Handle {
    pub(crate) fn from_number(number: u32) -> Self {
        Self { number, rights: Rights::ALL }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The call in postcard, with the numbers of the handles in it.
    fn encode(&self, call: Call<Item<Self>>) -> Result<Vec<u8>, ObjectError> {
        if !self.rights.contain(call.needs()) {
            return Err(ObjectError::NoRight);
        }
        let numbers = |item: Item<Self>| {
            let handles = item.handles.iter().map(Self::number).collect();
            Ok::<_, ObjectError>(Item { bytes: item.bytes, handles })
        };
        let call: Call = call.try_map(numbers)?;
        postcard::to_allocvec(&call).map_err(|error| ObjectError::BadValue(error.to_string()))
    }

    fn ask(&self, call: &[u8], patience: i64) -> Result<Reply<Item<Self>>, ObjectError> {
        let answer = read_answer(&glue::host_call(self.number, patience, call));
        POSTED.set(false);
        let handles = |item: Item| Item {
            bytes: item.bytes,
            handles: item.handles.into_iter().map(Self::from_number).collect(),
        };
        answer.map(|reply| reply.map(handles))
    }
}

impl wpool_objects::Handle for Handle {
    fn call(&self, call: Call<Item<Self>>, patience: Patience) -> Result<Reply<Item<Self>>, ObjectError> {
        let patience = match patience {
            Patience::Never => 0,
            Patience::For(nanos) => i64::try_from(nanos.max(1)).unwrap_or(i64::MAX),
            Patience::Ever => -1,
        };
        self.ask(&self.encode(call)?, patience)
    }

    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError> {
        let call = self.encode(call)?;
        if call.len() > POST_SIZE {
            return self.ask(&call, -1).map(drop);
        }
        POSTED.set(true);
        glue::host_post(self.number, &call);
        Ok(())
    }

    async fn call_async(
        &self,
        call: Call<Item<Self>>,
        patience: Patience,
    ) -> Result<Reply<Item<Self>>, ObjectError> {
        // A task that waits is suspended as a whole.
        self.call(call, patience)
    }

    fn narrowed(&self, rights: Rights) -> Self {
        Self { number: self.number, rights: self.rights.and(rights) }
    }

    fn send(&self) -> Result<u32, String> {
        SENT.with_borrow_mut(|sent| {
            let sent = sent.as_mut().ok_or("a shared object cannot be passed on here")?;
            sent.push(self.clone());
            u32::try_from(sent.len() - 1).map_err(|error| error.to_string())
        })
    }

    fn receive(place: u32) -> Result<Self, String> {
        RECEIVED.with_borrow(|received| {
            received.get(place as usize).cloned().ok_or_else(|| format!("no handle came for place {place}"))
        })
    }

    fn sending<T>(act: impl FnOnce() -> T) -> (T, Vec<Self>) {
        let before = SENT.replace(Some(Vec::new()));
        let value = act();
        (value, SENT.replace(before).unwrap_or_default())
    }

    fn receiving<T>(handles: Vec<Self>, act: impl FnOnce() -> T) -> T {
        let before = RECEIVED.replace(handles);
        let value = act();
        RECEIVED.replace(before);
        value
    }
}
