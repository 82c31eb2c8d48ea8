//! [`Manager`]: makes shared objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wpool_abi::object::{Item, Number as Form, ObjectError, Rights};
use wpool_objects::Number;
use wpool_schema::Schema;

use super::handle::Handle;
use crate::lock::Mutex;
use crate::manager::{ObjectInit, SharedRegion, Stored};
use crate::server::{BarrierAction, Closed, ObjectServer};
use wpool_wire::memory::{MemoryFile, SharedMemory};

wpool_objects::aliases!(Handle);

/// The default limit of a manager's shared memory, in bytes.
pub(in crate::pool) const DEFAULT_SHARED_MEMORY: u64 = 1 << 30;

/// Makes the objects that tasks and the host share, as Python's `multiprocessing.Manager` does. An object lives in the
/// host's process as long as there is a handle on it, and can be reached only by a handle. The handles can be given to the
/// tasks of any pool and to any [`Process`](crate::Process) of the program, whichever manager has made them.
///
/// [`Pool::manager`](crate::Pool::manager) is the short form for objects of one pool: when that pool has ended, calls that
/// would wait fail with [`ObjectError::PoolClosed`], as no task of it could answer them.
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
#[derive(Clone)]
pub struct Manager {
    server: Arc<ObjectServer>,
}

/// The directions in which a pipe carries values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeMode {
    /// Both ends send and receive.
    Duplex,
    /// The first end only receives and the second only sends, as in Python.
    OneWay,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl Manager {
    /// Makes a manager that stands alone. Its [shared arrays](crate::SharedArray) may have 1 GiB together.
    ///
    /// ```no_run
    /// use wpool::{Guest, Manager, Process, Sender};
    /// # let guest = Guest::from_file("guest.wasm")?;
    /// let squares = Manager::new().queue::<i64>(100);
    /// let arguments = (3, squares.sender());
    /// let process = Process::builder(guest).start::<(i64, Sender<i64>), ()>("square_into", &arguments)?;
    /// assert!(process.join(None));
    /// assert_eq!(squares.get()?, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::with_shared_memory(DEFAULT_SHARED_MEMORY)
    }

    /// Makes a manager that stands alone, whose [shared arrays](crate::SharedArray) may have `bytes` together. Zero allows
    /// none.
    pub fn with_shared_memory(bytes: u64) -> Self {
        Self { server: ObjectServer::new(bytes) }
    }

    /// Ends the manager, as `shutdown` of Python's managers does: every call of its objects, by the host or by a task, fails
    /// with [`ObjectError::PoolClosed`] from now on, and those that wait fail now. A second call has no effect. Without it a
    /// manager ends when it and all handles on its objects are gone.
    pub fn shutdown(&self) {
        self.server.with(|objects| objects.close(Closed::All));
    }

    pub(in crate::pool) fn of(server: &Arc<ObjectServer>) -> Self {
        Self { server: Arc::clone(server) }
    }

    /// Makes an object, and returns a handle on it.
    pub(super) fn make(&self, init: ObjectInit) -> Handle {
        Handle::new(self.server.make(init))
    }

    /// Makes shared memory of `len` bytes, if the pool's limit allows it.
    fn make_memory(
        &self,
        len: usize,
        create: impl FnOnce() -> rustix::io::Result<(SharedMemory, MemoryFile)>,
    ) -> Result<Handle, ObjectError> {
        self.server.with(|objects| objects.check_memory(len as u64))?;
        // Filling the memory may take long, so it is created without the server's lock.
        let (memory, file) = create()
            .map_err(|error| ObjectError::Quota(format!("the system has no shared memory: {error}")))?;
        Ok(Handle::new(self.server.add_memory(SharedRegion { memory, file })?))
    }

    /// Makes a queue that holds at most `capacity` values, of 64 MiB together. Zero is no limit of their number, as in
    /// Python.
    pub fn queue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity).filter(|most| *most > 0), requeue: false };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue as [`queue`](Self::queue) does, which takes back the values that a failed task had taken and not
    /// reported with `task_done`. So every value is processed at least once by a task that succeeds.
    pub fn requeue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity).filter(|most| *most > 0), requeue: true };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue that holds any number of values, of 64 MiB together.
    pub fn simple_queue<T: Schema>(&self) -> SimpleQueue<T> {
        Queue::from_handle(self.make(ObjectInit::Queue { capacity: None, requeue: false }))
    }

    /// Makes the two ends of a pipe.
    pub fn pipe<T: Schema>(&self, mode: PipeMode) -> (Connection<T>, Connection<T>) {
        let [a, b] = self.server.make_pipe(mode == PipeMode::Duplex).map(Handle::new);
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
    /// them passes. It runs on a thread of the manager, so an action must not wait at another such barrier of it. If it panics,
    /// the barrier is broken. Zero `parties` count as one.
    pub fn barrier_with(&self, parties: u32, action: impl FnMut() + Send + 'static) -> Barrier {
        self.make_barrier(parties, None, Some(Arc::new(Mutex::new(action))))
    }

    fn make_barrier(
        &self,
        parties: u32,
        timeout: Option<Duration>,
        action: Option<BarrierAction>,
    ) -> Barrier {
        Barrier::from_handle(Handle::new(self.server.make_barrier(parties.max(1), timeout, action)))
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
