//! `pool.manager()`: makes shared objects.

use std::sync::{Arc, Weak};

use serde::Serialize;
use wpool_abi::object::{Item, ObjectError};
use wpool_schema::Schema;

use super::core::Shared;
use super::handle::Handle;
use crate::manager::{Grant, ObjectId, Shape, Store, Stored};

/// A queue of values of type `T`.
pub type Queue<T> = wpool_objects::Queue<T, Handle>;
/// A queue whose values are worked off: every [`Queue`] is one.
pub type JoinableQueue<T> = Queue<T>;
/// A queue without an end: [`Manager::simple_queue`] makes it.
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
/// A semaphore that is never released more often than it was acquired: [`Manager::bounded_semaphore`] makes it.
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

/// Makes the objects that a pool's tasks and its host share. They live in the host's process, as long as anybody has
/// a handle on them; who has none cannot reach them.
///
/// ```no_run
/// use wpool::{Guest, Pool, Sender};
/// # let pool = Pool::builder(Guest::from_file("guest.wasm")?).build()?;
/// let squares = pool.manager().queue::<i64>(100);
/// let square = pool.task::<(i64, Sender<i64>), ()>("square_into")?;
/// for n in 0..10 {
///     square.submit(&(n, squares.sender()))?;
/// }
/// for _ in 0..10 {
///     println!("{}", squares.get()?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Manager {
    shared: Weak<Shared>,
}

impl Manager {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }

    /// A handle on an object that is made now. Of a pool that is gone it is one on nothing.
    fn make(&self, shape: Shape) -> Handle {
        self.grant(|store| [store.make(shape)])[0].clone()
    }

    fn grant<const N: usize>(&self, make: impl FnOnce(&mut Store) -> [ObjectId; N]) -> [Handle; N] {
        match self.shared.upgrade() {
            Some(shared) => shared.with(|core| {
                let abandoned = &core.objects.abandoned;
                make(&mut core.objects.store).map(|id| Handle::new(Grant::new(id, abandoned), &self.shared))
            }),
            None => {
                let nothing = make(&mut Store::default());
                nothing.map(|id| Handle::new(Grant::new(id, &Arc::default()), &self.shared))
            }
        }
    }

    /// A queue in which so many values can wait. Zero counts as one.
    pub fn queue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let shape = Shape::Queue { capacity: Some(capacity.max(1)), requeue: false };
        Queue::from_handle(self.make(shape))
    }

    /// A queue in which so many values can wait, and which takes back what a task had taken that failed: each value
    /// is worked off by a task that succeeds, at least once. Zero counts as one.
    pub fn requeue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let shape = Shape::Queue { capacity: Some(capacity.max(1)), requeue: true };
        Queue::from_handle(self.make(shape))
    }

    /// A queue in which any number of values can wait, up to 64 MiB.
    pub fn simple_queue<T: Schema>(&self) -> SimpleQueue<T> {
        Queue::from_handle(self.make(Shape::Queue { capacity: None, requeue: false }))
    }

    /// The two ends of a pipe. With `duplex` both send and receive; else the first receives and the second sends, as
    /// Python has it.
    pub fn pipe<T: Schema>(&self, duplex: bool) -> (Connection<T>, Connection<T>) {
        let [a, b] = self.grant(|store| {
            let [a, b] = store.make_pipe(duplex);
            if duplex { [a, b] } else { [b, a] }
        });
        (Connection::from_handle(a), Connection::from_handle(b))
    }

    /// A lock.
    pub fn lock(&self) -> Lock {
        Lock::from_handle(self.make(Shape::Lock { reentrant: false }))
    }

    /// A lock that its holder may take again.
    pub fn rlock(&self) -> RLock {
        RLock::from_handle(self.make(Shape::Lock { reentrant: true }))
    }

    /// A semaphore that so many can hold, and more when it is released more often.
    pub fn semaphore(&self, count: u64) -> Semaphore {
        Semaphore::from_handle(self.make(Shape::Semaphore { count, bounded: false }))
    }

    /// A semaphore that so many can hold, and never more.
    pub fn bounded_semaphore(&self, count: u64) -> BoundedSemaphore {
        Semaphore::from_handle(self.make(Shape::Semaphore { count, bounded: true }))
    }

    /// A condition, with a lock of its own.
    pub fn condition(&self) -> Condition {
        Condition::from_handle(self.make(Shape::Condition))
    }

    /// An event that is not set.
    pub fn event(&self) -> Event {
        Event::from_handle(self.make(Shape::Event))
    }

    /// A barrier that so many pass together. Zero counts as one.
    pub fn barrier(&self, parties: u32) -> Barrier {
        Barrier::from_handle(self.make(Shape::Barrier { parties: parties.max(1) }))
    }

    /// An empty dictionary.
    pub fn dict<K: Schema, V: Schema>(&self) -> Dict<K, V> {
        Dict::from_handle(self.make(Shape::Dict))
    }

    /// An empty namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_handle(self.make(Shape::Dict))
    }

    /// An empty list.
    pub fn list<T: Schema>(&self) -> List<T> {
        List::from_handle(self.make(Shape::List))
    }

    /// An array of these values.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub fn array<'v, T: Serialize + Schema + 'v>(
        &self,
        values: impl IntoIterator<Item = &'v T>,
    ) -> Result<Array<T>, ObjectError> {
        let values = values.into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Array::from_handle(self.make(Shape::Array { values })))
    }

    /// One value.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn value<T: Serialize + Schema>(&self, value: &T) -> Result<Value<T>, ObjectError> {
        let value = stored(value)?;
        Ok(Value::from_handle(self.make(Shape::Value { value })))
    }
}

fn stored<T: Serialize>(value: &T) -> Result<Stored, ObjectError> {
    let (bytes, handles) = <Handle as wpool_objects::Handle>::sending(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|error| ObjectError::BadValue(error.to_string()))?;
    Ok(Item { bytes, handles: handles.iter().map(Handle::to_grant).collect() })
}
