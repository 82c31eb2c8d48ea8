// Bindings of a wpool guest, printed by `wpool inspect --rust`: its types, and a typed handle per task.
//
// They need the crates `wpool-host` and `serde`, the latter with its feature `derive`.

/// The guest's tasks.
#[derive(Debug, Clone)]
#[allow(clippy::type_complexity, reason = "the types are the guest's")]
pub struct Tasks {
    /// Answers each question into the queue that came with it.
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub answer: wpool::Task<wpool::Receiver<(String, wpool::Sender<String>)>, u32>,
    /// Returns the number of values of each producer. Fails if the values of one were not in order.
    ///
    /// Takes (producers, from).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub check_order: wpool::Task<(u32, wpool::Receiver<(u32, u32)>), Vec<u32>>,
    /// Takes numbers until the queue is closed, and returns them.
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub consume: wpool::Task<wpool::Receiver<u32>, Vec<u32>>,
    /// Adds `amount` to a balance `times` times, with a lock or without.
    ///
    /// Takes (times, amount, balance, lock).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub deposit: wpool::Task<(u32, i64, wpool::Value<i64>, Option<wpool::Lock>), ()>,
    /// Sends back each message in upper case, until END.
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub echo: wpool::Task<wpool::Connection<String>, u32>,
    /// Returns the errors of a queue of capacity one and of a lock.
    ///
    /// Takes (to, from, lock).
    pub errors: wpool::Task<(wpool::Sender<u32>, wpool::Receiver<u32>, wpool::Lock), Vec<String>>,
    /// Does one thing with each object, and returns the results.
    ///
    /// Takes (queue, dict, list, array, namespace, rlock, semaphore).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub everything: wpool::Task<(wpool::Queue<String>, wpool::Dict<String, u32>, wpool::List<u32>, wpool::Array<u32>, wpool::Namespace, wpool::RLock, wpool::Semaphore), Vec<String>>,
    /// Acquires a lock, sets the event, and keeps the lock without end.
    ///
    /// Takes (lock, held).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub hold: wpool::Task<(wpool::Lock, wpool::Event), ()>,
    /// Acquires a lock, sets `held`, and releases the lock when `go` is set.
    ///
    /// Takes (lock, held, go).
    pub hold_until: wpool::Task<(wpool::Lock, wpool::Event, wpool::Event), ()>,
    /// Puts the numbers below `below` into a queue.
    ///
    /// Takes (below, into).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub produce: wpool::Task<(u32, wpool::Sender<u32>), ()>,
    /// Puts the numbers from `first` up to `end` into a queue, many at a time.
    ///
    /// Takes (first, end, into).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub produce_many: wpool::Task<(u32, u32, wpool::Sender<u32>), ()>,
    /// Puts the numbers below `count`, each with the producer's number.
    ///
    /// Takes (own, count, into).
    pub produce_marked: wpool::Task<(u32, u32, wpool::Sender<(u32, u32)>), ()>,
    /// Puts a number and gets it back, `times` times.
    ///
    /// Takes (times, queue).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub put_and_get: wpool::Task<(u32, wpool::Queue<u32>), ()>,
    /// Puts a text of `bytes` bytes.
    ///
    /// Takes (bytes, into).
    pub put_large: wpool::Task<(u32, wpool::Sender<String>), ()>,
    /// Waits at a barrier `count` times, and returns its position in the order of arrival of each round.
    ///
    /// Takes (barrier, count).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub rounds: wpool::Task<(wpool::Barrier, u32), Vec<u64>>,
    /// Returns whether a lock is held.
    pub sees_locked: wpool::Task<wpool::Lock, bool>,
    /// Sends one message, and ends.
    pub send_and_go: wpool::Task<wpool::Connection<String>, u32>,
    /// Sets `times` keys.
    ///
    /// Takes (times, dict).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub set_keys: wpool::Task<(u32, wpool::Dict<u32, u32>), ()>,
    /// Sends a message, and returns the one from the other end.
    ///
    /// Takes (pipe, message).
    pub swap: wpool::Task<(wpool::Connection<String>, String), String>,
    /// Takes one number, and fails afterwards if `fails` is true.
    ///
    /// Takes (from, fails).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub take: wpool::Task<(wpool::Receiver<u32>, bool), (u32, bool)>,
    /// Puts a thousand numbers together and gets them together, `times` times.
    ///
    /// Takes (times, queue).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub thousands: wpool::Task<(u32, wpool::Queue<u32>), ()>,
    /// Acquires two locks one after the other, the second when the event is set.
    ///
    /// Takes (first, second, held, go).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub two_locks: wpool::Task<(wpool::Lock, wpool::Lock, wpool::Semaphore, wpool::Event), bool>,
    /// Adds one `times` times, each time atomically.
    ///
    /// Takes (times, value).
    pub update: wpool::Task<(u32, wpool::Value<i64>), ()>,
    /// Releases the semaphore to signal that it runs, and waits for an event.
    ///
    /// Takes (event, there).
    pub wait_for_event: wpool::Task<(wpool::Event, wpool::Semaphore), ()>,
    /// Takes one number.
    pub wait_for_one: wpool::Task<wpool::Receiver<u32>, u32>,
    /// Releases the semaphore to signal that it runs, and waits without end for the given object.
    ///
    /// Takes (how, queue, lock, event, barrier, condition, pipe, there).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub wait_in: wpool::Task<(String, wpool::Queue<u32>, wpool::Lock, wpool::Event, wpool::Barrier, wpool::Condition, wpool::Connection<String>, wpool::Semaphore), ()>,
    /// Posts a wrong call, and takes a number twice: the first time it gets the error of the posted call, then the number.
    ///
    /// Takes (array, from).
    ///
    /// Its error is `String`: see `wpool::GuestError::decode`.
    pub wrong_before_taking: wpool::Task<(wpool::Array<u32>, wpool::Receiver<u32>), (String, u32)>,
}

impl Tasks {
    /// Returns the tasks of the guest that a pool was built with.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of(tasks: &wpool::Pool) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            answer: tasks.task("answer")?,
            check_order: tasks.task("check_order")?,
            consume: tasks.task("consume")?,
            deposit: tasks.task("deposit")?,
            echo: tasks.task("echo")?,
            errors: tasks.task("errors")?,
            everything: tasks.task("everything")?,
            hold: tasks.task("hold")?,
            hold_until: tasks.task("hold_until")?,
            produce: tasks.task("produce")?,
            produce_many: tasks.task("produce_many")?,
            produce_marked: tasks.task("produce_marked")?,
            put_and_get: tasks.task("put_and_get")?,
            put_large: tasks.task("put_large")?,
            rounds: tasks.task("rounds")?,
            sees_locked: tasks.task("sees_locked")?,
            send_and_go: tasks.task("send_and_go")?,
            set_keys: tasks.task("set_keys")?,
            swap: tasks.task("swap")?,
            take: tasks.task("take")?,
            thousands: tasks.task("thousands")?,
            two_locks: tasks.task("two_locks")?,
            update: tasks.task("update")?,
            wait_for_event: tasks.task("wait_for_event")?,
            wait_for_one: tasks.task("wait_for_one")?,
            wait_in: tasks.task("wait_in")?,
            wrong_before_taking: tasks.task("wrong_before_taking")?,
        })
    }

    /// Returns the tasks of a guest that was loaded into a pool.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of_loaded(tasks: &wpool::LoadedGuest) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            answer: tasks.task("answer")?,
            check_order: tasks.task("check_order")?,
            consume: tasks.task("consume")?,
            deposit: tasks.task("deposit")?,
            echo: tasks.task("echo")?,
            errors: tasks.task("errors")?,
            everything: tasks.task("everything")?,
            hold: tasks.task("hold")?,
            hold_until: tasks.task("hold_until")?,
            produce: tasks.task("produce")?,
            produce_many: tasks.task("produce_many")?,
            produce_marked: tasks.task("produce_marked")?,
            put_and_get: tasks.task("put_and_get")?,
            put_large: tasks.task("put_large")?,
            rounds: tasks.task("rounds")?,
            sees_locked: tasks.task("sees_locked")?,
            send_and_go: tasks.task("send_and_go")?,
            set_keys: tasks.task("set_keys")?,
            swap: tasks.task("swap")?,
            take: tasks.task("take")?,
            thousands: tasks.task("thousands")?,
            two_locks: tasks.task("two_locks")?,
            update: tasks.task("update")?,
            wait_for_event: tasks.task("wait_for_event")?,
            wait_for_one: tasks.task("wait_for_one")?,
            wait_in: tasks.task("wait_in")?,
            wrong_before_taking: tasks.task("wrong_before_taking")?,
        })
    }
}
