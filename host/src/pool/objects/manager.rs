//! `pool.manager()`: makes shared objects.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use wpool_abi::object::{Item, Number as Form, ObjectError, Rights};
use wpool_objects::Number;
use wpool_schema::Schema;

use super::handle::Handle;
use crate::manager::{ObjectInit, SharedRegion, Stored};
use crate::runtime::{BarrierAction, Runtime, SharedObjects};
use wpool_wire::memory::{MemoryFile, SharedMemory};

wpool_objects::aliases!(Handle);

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
    runtime: Weak<Runtime>,
}

impl Manager {
    pub(in crate::pool) fn new(runtime: &Arc<Runtime>) -> Self {
        Self { runtime: Arc::downgrade(runtime) }
    }

    /// A handle on an object that is made now. Of a pool that is gone it is one on nothing.
    pub(super) fn make(&self, init: ObjectInit) -> Handle {
        let [grant] = self.with_objects(|objects| [objects.make(init)]);
        Handle::new(grant, &self.runtime)
    }

    fn with_objects<T>(&self, act: impl FnOnce(&mut SharedObjects) -> T) -> T {
        match self.runtime.upgrade() {
            Some(runtime) => runtime.with(|state| act(state.objects())),
            None => act(&mut SharedObjects::new(0, Arc::default())),
        }
    }

    /// Shared memory of so many bytes, if there may be so much more.
    fn make_memory(
        &self,
        len: usize,
        create: impl FnOnce() -> rustix::io::Result<(SharedMemory, MemoryFile)>,
    ) -> Result<Handle, ObjectError> {
        self.with_objects(|objects| objects.check_memory(len as u64))?;
        // Filling it may take its time, so nobody has to wait for that.
        let (memory, file) = create()
            .map_err(|error| ObjectError::Quota(format!("the system has no shared memory: {error}")))?;
        let grant = self.with_objects(|objects| objects.add_memory(SharedRegion { memory, file }))?;
        Ok(Handle::new(grant, &self.runtime))
    }

    /// A queue in which so many values can wait, of 64 MiB together. Zero counts as one.
    pub fn queue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity.max(1)), requeue: false };
        Queue::from_handle(self.make(init))
    }

    /// A queue in which so many values can wait, and which takes back what a task had taken that failed: each value
    /// is worked off by a task that succeeds, at least once. Zero counts as one.
    pub fn requeue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity.max(1)), requeue: true };
        Queue::from_handle(self.make(init))
    }

    /// A queue in which any number of values can wait, up to 64 MiB.
    pub fn simple_queue<T: Schema>(&self) -> SimpleQueue<T> {
        Queue::from_handle(self.make(ObjectInit::Queue { capacity: None, requeue: false }))
    }

    /// The two ends of a pipe. With `duplex` both send and receive; else the first receives and the second sends, as
    /// Python has it.
    pub fn pipe<T: Schema>(&self, duplex: bool) -> (Connection<T>, Connection<T>) {
        let [a, b] =
            self.with_objects(|objects| objects.make_pipe(duplex)).map(|end| Handle::new(end, &self.runtime));
        (Connection::from_handle(a), Connection::from_handle(b))
    }

    /// A lock.
    pub fn lock(&self) -> Lock {
        Lock::from_handle(self.make(ObjectInit::Lock { reentrant: false }))
    }

    /// A lock that its holder may take again.
    pub fn rlock(&self) -> RLock {
        RLock::from_handle(self.make(ObjectInit::Lock { reentrant: true }))
    }

    /// A semaphore that so many can hold, and more when it is released more often.
    pub fn semaphore(&self, count: u64) -> Semaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: false }))
    }

    /// A semaphore that so many can hold, and never more.
    pub fn bounded_semaphore(&self, count: u64) -> BoundedSemaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: true }))
    }

    /// A condition, with a lock of its own.
    pub fn condition(&self) -> Condition {
        Condition::from_handle(self.make(ObjectInit::Condition))
    }

    /// An event that is not set.
    pub fn event(&self) -> Event {
        Event::from_handle(self.make(ObjectInit::Event))
    }

    /// A barrier that so many pass together. Zero counts as one.
    pub fn barrier(&self, parties: u32) -> Barrier {
        self.make_barrier(parties, None, None)
    }

    /// A barrier that breaks if somebody who sets no timeout of its own waits so long. No parties count as one.
    pub fn barrier_timeout(&self, parties: u32, timeout: Duration) -> Barrier {
        self.make_barrier(parties, Some(timeout), None)
    }

    /// A barrier that so many pass together, and at which the host does something each time when all have come and
    /// before any of them goes on. It is called on the thread of the pool's callbacks, so a callback must not wait at
    /// such a barrier; if it panics, the barrier is broken. No parties count as one.
    pub fn barrier_with(&self, parties: u32, action: impl FnMut() + Send + 'static) -> Barrier {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.start_callbacks();
        }
        self.make_barrier(parties, None, Some(Arc::new(Mutex::new(action))))
    }

    fn make_barrier(
        &self,
        parties: u32,
        timeout: Option<Duration>,
        action: Option<BarrierAction>,
    ) -> Barrier {
        let make = |objects: &mut SharedObjects| objects.make_barrier(parties.max(1), timeout, action);
        Barrier::from_handle(Handle::new(self.with_objects(make), &self.runtime))
    }

    /// An empty dictionary, for 64 MiB of keys and values.
    pub fn dict<K: Schema, V: Schema>(&self) -> Dict<K, V> {
        Dict::from_handle(self.make(ObjectInit::Dict))
    }

    /// An empty namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_handle(self.make(ObjectInit::Namespace))
    }

    /// An empty list, for 64 MiB of values.
    pub fn list<T: Schema>(&self) -> List<T> {
        List::from_handle(self.make(ObjectInit::List))
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
        Ok(Array::from_handle(self.make(ObjectInit::Array { values })))
    }

    /// One value.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn value<T: Serialize + Schema>(&self, value: &T) -> Result<Value<T>, ObjectError> {
        let value = stored(value)?;
        Ok(Value::from_handle(self.make(ObjectInit::Value { value })))
    }

    /// So many zeros in memory that the host and all workers map: to read or change them takes no message.
    ///
    /// ```no_run
    /// use wpool::{Guest, Pool, SharedArray};
    /// # let pool = Pool::builder(Guest::from_file("guest.wasm")?).build()?;
    /// let squares = pool.manager().shared_array::<u64>(10)?;
    /// let square = pool.task::<(u64, SharedArray<u64>), ()>("square_to")?;
    /// for done in square.map((0..10).map(|n| (n, squares.clone()))) {
    ///     done?;
    /// }
    /// assert_eq!(squares.get(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ObjectError::Quota`] if that is more than the pool may have, or than the system has.
    pub fn shared_array<T: Number>(&self, len: usize) -> Result<SharedArray<T>, ObjectError> {
        self.make_array(T::FORM, len).map(SharedArray::from_handle)
    }

    pub(super) fn make_array(&self, form: Form, len: usize) -> Result<Handle, ObjectError> {
        let bytes = len.saturating_mul(form.width());
        self.make_memory(bytes, || SharedMemory::create(form, len))
    }

    pub(super) fn make_constant(&self, form: Form, bytes: &[u8]) -> Result<Handle, ObjectError> {
        let handle = self.make_memory(bytes.len(), || SharedMemory::constant(form, bytes))?;
        Ok(wpool_objects::Handle::narrowed(&handle, Rights::READ))
    }

    /// These numbers in memory that nobody can change: what is large, and many tasks read, is put there once instead
    /// of being sent with each of them. Of bytes `T` is `u8`.
    ///
    /// # Errors
    /// As [`shared_array`](Self::shared_array).
    pub fn broadcast<T: Number>(&self, numbers: &[T]) -> Result<SharedSlice<T>, ObjectError> {
        self.make_constant(T::FORM, bytemuck::cast_slice(numbers)).map(SharedSlice::from_handle)
    }
}

fn stored<T: Serialize>(value: &T) -> Result<Stored, ObjectError> {
    let (bytes, handles) = <Handle as wpool_objects::Handle>::attaching(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|error| ObjectError::BadValue(error.to_string()))?;
    Ok(Item { bytes, handles: handles.iter().map(Handle::to_grant).collect() })
}
