//! [`Manager`]: makes shared objects.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use wpool_abi::object::{Item, Number as Form, ObjectError, Rights};
use wpool_objects::Number;
use wpool_schema::Schema;

use super::handle::Handle;
use crate::lock::Mutex;
use crate::manager::{ObjectInit, SharedRegion, Stored};
use crate::runtime::{BarrierAction, Runtime, SharedObjects};
use wpool_wire::memory::{MemoryFile, SharedMemory};

wpool_objects::aliases!(Handle);

/// Makes the objects that a pool's tasks and its host share. An object lives in the host's process as long as there is
/// a handle on it, and can be reached only by a handle. Made by [`Pool::manager`](crate::Pool::manager).
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

    /// Makes an object, and returns a handle on it. If the pool is gone, every call with the handle fails.
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

    /// Makes shared memory of `len` bytes, if the pool's limit allows it.
    fn make_memory(
        &self,
        len: usize,
        create: impl FnOnce() -> rustix::io::Result<(SharedMemory, MemoryFile)>,
    ) -> Result<Handle, ObjectError> {
        self.with_objects(|objects| objects.check_memory(len as u64))?;
        // Filling the memory may take long, so it is created without the pool's lock.
        let (memory, file) = create()
            .map_err(|error| ObjectError::Quota(format!("the system has no shared memory: {error}")))?;
        let grant = self.with_objects(|objects| objects.add_memory(SharedRegion { memory, file }))?;
        Ok(Handle::new(grant, &self.runtime))
    }

    /// Makes a queue that holds at most `capacity` values, of 64 MiB together. Zero counts as one.
    pub fn queue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity.max(1)), requeue: false };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue as [`queue`](Self::queue) does, which takes back the values that a failed task had taken and not
    /// reported with `task_done`. So every value is processed at least once by a task that succeeds.
    pub fn requeue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity.max(1)), requeue: true };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue that holds any number of values, of 64 MiB together.
    pub fn simple_queue<T: Schema>(&self) -> SimpleQueue<T> {
        Queue::from_handle(self.make(ObjectInit::Queue { capacity: None, requeue: false }))
    }

    /// Makes the two ends of a pipe. With `duplex` both ends send and receive; otherwise the first only receives and
    /// the second only sends, as in Python.
    pub fn pipe<T: Schema>(&self, duplex: bool) -> (Connection<T>, Connection<T>) {
        let [a, b] =
            self.with_objects(|objects| objects.make_pipe(duplex)).map(|end| Handle::new(end, &self.runtime));
        (Connection::from_handle(a), Connection::from_handle(b))
    }

    /// Makes a lock.
    pub fn lock(&self) -> Lock {
        Lock::from_handle(self.make(ObjectInit::Lock { reentrant: false }))
    }

    /// Makes a reentrant lock, which its holder can acquire again.
    pub fn rlock(&self) -> RLock {
        RLock::from_handle(self.make(ObjectInit::Lock { reentrant: true }))
    }

    /// Makes a semaphore with `count` permits. A release without an acquire adds a permit.
    pub fn semaphore(&self, count: u64) -> Semaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: false }))
    }

    /// Makes a semaphore that never has more than `count` permits. A release beyond that fails with
    /// [`ObjectError::TooOften`].
    pub fn bounded_semaphore(&self, count: u64) -> BoundedSemaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: true }))
    }

    /// Makes a condition with a lock of its own.
    pub fn condition(&self) -> Condition {
        Condition::from_handle(self.make(ObjectInit::Condition))
    }

    /// Makes an event that is not set.
    pub fn event(&self) -> Event {
        Event::from_handle(self.make(ObjectInit::Event))
    }

    /// Makes a barrier that `parties` parties pass together. Zero counts as one.
    pub fn barrier(&self, parties: u32) -> Barrier {
        self.make_barrier(parties, None, None)
    }

    /// Makes a barrier that breaks if a party waits longer than `timeout`; a call with a timeout of its own uses that
    /// instead. Zero `parties` count as one.
    pub fn barrier_timeout(&self, parties: u32, timeout: Duration) -> Barrier {
        self.make_barrier(parties, Some(timeout), None)
    }

    /// Makes a barrier with an action: each time when all `parties` have come, the host calls `action` before any of
    /// them passes. It runs on the pool's callback thread, so a callback must not wait at such a barrier. If it panics,
    /// the barrier is broken. Zero `parties` count as one.
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

    /// Makes an empty dictionary, which holds at most 64 MiB of keys and values.
    pub fn dict<K: Schema, V: Schema>(&self) -> Dict<K, V> {
        Dict::from_handle(self.make(ObjectInit::Dict))
    }

    /// Makes an empty namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_handle(self.make(ObjectInit::Namespace))
    }

    /// Makes an empty list, which holds at most 64 MiB of values.
    pub fn list<T: Schema>(&self) -> List<T> {
        List::from_handle(self.make(ObjectInit::List))
    }

    /// Makes an array of `values`. Its length is fixed.
    ///
    /// # Errors
    /// If a value cannot be encoded.
    pub fn array<'v, T: Serialize + Schema + 'v>(
        &self,
        values: impl IntoIterator<Item = &'v T>,
    ) -> Result<Array<T>, ObjectError> {
        let values = values.into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Array::from_handle(self.make(ObjectInit::Array { values })))
    }

    /// Makes a shared value, which is at first `value`.
    ///
    /// # Errors
    /// If `value` cannot be encoded.
    pub fn value<T: Serialize + Schema>(&self, value: &T) -> Result<Value<T>, ObjectError> {
        let value = stored(value)?;
        Ok(Value::from_handle(self.make(ObjectInit::Value { value })))
    }

    /// Makes an array of `len` numbers in shared memory, all zero. The host and the workers that use it map the memory,
    /// so that to read or change a number takes no message.
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
    /// [`ObjectError::Quota`] if the array exceeds the pool's [limit](crate::PoolBuilder::shared_memory), or if the
    /// system has no more shared memory.
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

    /// Copies `numbers` to shared memory that cannot be changed any more. Large data that many tasks read is stored
    /// there once instead of being sent with each task. For bytes `T` is `u8`.
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
