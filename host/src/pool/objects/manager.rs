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
    ///
    /// ```
    /// let queue = wpool::Manager::new().queue::<String>(2);
    /// queue.put(&"first".to_owned())?;
    /// queue.put(&"second".to_owned())?;
    /// assert_eq!(queue.put_nowait(&"third".to_owned()), Err(wpool::ObjectError::Full));
    /// assert_eq!((queue.get()?, queue.qsize()?), ("first".to_owned(), 1));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn queue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity).filter(|most| *most > 0), requeue: false };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue as [`queue`](Self::queue) does, which takes back the values that a failed task had taken and not
    /// reported with `task_done`. So every value is processed at least once by a task that succeeds.
    ///
    /// ```
    /// let jobs = wpool::Manager::new().requeue::<u32>(0);
    /// jobs.put(&7)?;
    /// let job = jobs.get_marked()?;
    /// assert_eq!((job.value, job.again), (7, false));
    /// jobs.task_done()?;
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn requeue<T: Schema>(&self, capacity: u64) -> Queue<T> {
        let init = ObjectInit::Queue { capacity: Some(capacity).filter(|most| *most > 0), requeue: true };
        Queue::from_handle(self.make(init))
    }

    /// Makes a queue that holds any number of values, of 64 MiB together.
    ///
    /// ```
    /// let queue = wpool::Manager::new().simple_queue::<u32>();
    /// let (sender, receiver) = (queue.sender(), queue.receiver());
    /// sender.put_many(&[1, 2, 3])?;
    /// sender.close()?;
    /// assert_eq!(receiver.get_many(10)?, [1, 2, 3]);
    /// assert_eq!(receiver.get(), Err(wpool::ObjectError::Closed));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn simple_queue<T: Schema>(&self) -> SimpleQueue<T> {
        Queue::from_handle(self.make(ObjectInit::Queue { capacity: None, requeue: false }))
    }

    /// Makes the two ends of a pipe.
    ///
    /// ```
    /// use wpool::{Manager, PipeMode};
    /// let (here, there) = Manager::new().pipe::<String>(PipeMode::Duplex);
    /// here.send(&"ping".to_owned())?;
    /// assert_eq!(there.recv()?, "ping");
    /// there.send(&"pong".to_owned())?;
    /// assert_eq!(here.recv()?, "pong");
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn pipe<T: Schema>(&self, mode: PipeMode) -> (Connection<T>, Connection<T>) {
        let [a, b] = self.make_pipe(mode);
        (Connection::from_handle(a), Connection::from_handle(b))
    }

    pub(super) fn make_pipe(&self, mode: PipeMode) -> [Handle; 2] {
        self.server.make_pipe(mode == PipeMode::Duplex).map(Handle::new)
    }

    /// Makes a lock.
    ///
    /// ```
    /// let lock = wpool::Manager::new().lock();
    /// let guard = lock.acquire()?;
    /// assert!(lock.locked()?);
    /// drop(guard);
    /// assert!(!lock.locked()?);
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn lock(&self) -> Lock {
        Lock::from_handle(self.make(ObjectInit::Lock { reentrant: false }))
    }

    /// Makes a reentrant lock, which its holder can acquire again.
    ///
    /// ```
    /// let lock = wpool::Manager::new().rlock();
    /// let (_once, _twice) = (lock.acquire()?, lock.acquire()?);
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn rlock(&self) -> RLock {
        RLock::from_handle(self.make(ObjectInit::Lock { reentrant: true }))
    }

    /// Makes a semaphore with `count` permits. A release without an acquire adds a permit.
    ///
    /// ```
    /// let permits = wpool::Manager::new().semaphore(2);
    /// let _one = permits.acquire()?;
    /// assert_eq!(permits.get_value()?, 1);
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn semaphore(&self, count: u64) -> Semaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: false }))
    }

    /// Makes a semaphore that never has more than `count` permits. A release beyond that fails with
    /// [`ObjectError::TooOften`].
    ///
    /// ```
    /// let permits = wpool::Manager::new().bounded_semaphore(1);
    /// assert_eq!(permits.release(1), Err(wpool::ObjectError::TooOften));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn bounded_semaphore(&self, count: u64) -> BoundedSemaphore {
        Semaphore::from_handle(self.make(ObjectInit::Semaphore { count, bounded: true }))
    }

    /// Makes a condition with a lock of its own.
    ///
    /// ```
    /// let manager = wpool::Manager::new();
    /// let (ready, value) = (manager.condition(), manager.value(&0)?);
    /// let (tell, set) = (ready.clone(), value.clone());
    /// let other = std::thread::spawn(move || {
    ///     let guard = tell.acquire()?;
    ///     set.set(&42)?;
    ///     guard.notify_all()
    /// });
    /// ready.acquire()?.wait_for(|| value.get() == Ok(42))?;
    /// other.join().unwrap()?;
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn condition(&self) -> Condition {
        Condition::from_handle(self.make(ObjectInit::Condition))
    }

    /// Makes an event that is not set.
    ///
    /// ```
    /// let event = wpool::Manager::new().event();
    /// assert!(!event.is_set()?);
    /// event.set()?;
    /// event.wait()?;
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn event(&self) -> Event {
        Event::from_handle(self.make(ObjectInit::Event))
    }

    /// Makes a barrier that `parties` parties pass together. Zero counts as one.
    ///
    /// ```
    /// let barrier = wpool::Manager::new().barrier(2);
    /// let other = barrier.clone();
    /// let party = std::thread::spawn(move || other.wait());
    /// barrier.wait()?;
    /// party.join().unwrap()?;
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn barrier(&self, parties: u32) -> Barrier {
        self.make_barrier(parties, None, None)
    }

    /// Makes a barrier that breaks if a party waits longer than `timeout`; a call with a timeout of its own uses that
    /// instead. Zero `parties` count as one.
    ///
    /// ```
    /// use std::time::Duration;
    /// let barrier = wpool::Manager::new().barrier_timeout(2, Duration::from_millis(1));
    /// assert_eq!(barrier.wait(), Err(wpool::ObjectError::Broken));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn barrier_timeout(&self, parties: u32, timeout: Duration) -> Barrier {
        self.make_barrier(parties, Some(timeout), None)
    }

    /// Makes a barrier with an action: each time when all `parties` have come, the host calls `action` before any of
    /// them passes. It runs on a thread of the manager, so an action must not wait at another such barrier of it. If it panics,
    /// the barrier is broken. Zero `parties` count as one.
    ///
    /// ```
    /// let (sender, rounds) = std::sync::mpsc::channel();
    /// let barrier = wpool::Manager::new().barrier_with(1, move || sender.send("all are here").unwrap());
    /// barrier.wait()?;
    /// assert_eq!(rounds.recv(), Ok("all are here"));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
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
    ///
    /// ```
    /// let ages = wpool::Manager::new().dict::<String, u32>();
    /// ages.set(&"Sam".to_owned(), &10)?;
    /// assert_eq!(ages.get(&"Sam".to_owned())?, Some(10));
    /// assert_eq!(ages.popitem()?, Some(("Sam".to_owned(), 10)));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn dict<K: Schema, V: Schema>(&self) -> Dict<K, V> {
        Dict::from_handle(self.make(ObjectInit::Dict))
    }

    /// Makes an empty namespace.
    ///
    /// ```
    /// let names = wpool::Manager::new().namespace();
    /// names.set("limit", &10u32)?;
    /// assert_eq!(names.get::<u32>("limit")?, 10);
    /// assert_eq!(names.get::<String>("limit"), Err(wpool::ObjectError::WrongType));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn namespace(&self) -> Namespace {
        Namespace::from_handle(self.make(ObjectInit::Namespace))
    }

    /// Makes an empty list, which holds at most 64 MiB of values.
    ///
    /// ```
    /// let list = wpool::Manager::new().list::<u32>();
    /// list.extend(&[3, 1, 2])?;
    /// list.sort()?;
    /// assert_eq!((list.slice(0, 2)?, list.pop(-1)?), (vec![1, 2], 3));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
    pub fn list<T: Schema>(&self) -> List<T> {
        List::from_handle(self.make(ObjectInit::List))
    }

    /// Makes an array of `values`. Its length is fixed.
    ///
    /// ```
    /// let array = wpool::Manager::new().array(&[1.5, 2.5])?;
    /// array.set(-1, &3.5)?;
    /// assert_eq!((array.to_vec()?, array.len()?), (vec![1.5, 3.5], 2));
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
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
    /// ```
    /// let count = wpool::Manager::new().value(&1)?;
    /// assert_eq!(count.update(|count| count + 1)?, 1);
    /// assert_eq!(count.get()?, 2);
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
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
    /// ```
    /// let squares = wpool::Manager::new().shared_array::<u64>(10)?;
    /// squares.write(7, &[49, 64])?;
    /// assert_eq!(squares.fetch_add(9, 81)?, 0);
    /// assert_eq!(squares.to_vec()?[7..], [49, 64, 81]);
    /// # Ok::<(), wpool::ObjectError>(())
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
    /// ```
    /// let table = wpool::Manager::new().broadcast(&[1.0, 0.5, 0.25])?;
    /// assert_eq!(table.get(2)?, 0.25);
    /// # Ok::<(), wpool::ObjectError>(())
    /// ```
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
