//! `aliases!`: the names of the typed objects on one side, the host's or the guest's.

/// Defines the typed objects of one side, over its type of handle.
#[macro_export]
#[doc(hidden)]
macro_rules! aliases {
    ($handle:ty) => {
        /// A queue of values of type `T`.
        pub type Queue<T> = $crate::Queue<T, $handle>;
        /// A queue whose values can be marked as processed, as Python names it: every [`Queue`] is one.
        pub type JoinableQueue<T> = Queue<T>;
        /// A queue without a capacity, as Python names it.
        pub type SimpleQueue<T> = Queue<T>;
        /// The end of a [`Queue`] that values are put into.
        pub type Sender<T> = $crate::Sender<T, $handle>;
        /// The end of a [`Queue`] that values are taken from.
        pub type Receiver<T> = $crate::Receiver<T, $handle>;
        /// One end of a pipe.
        pub type Connection<T> = $crate::Connection<T, $handle>;
        /// A mutual exclusion lock.
        pub type Lock = $crate::Lock<$handle>;
        /// A reentrant lock: its holder may acquire it again.
        pub type RLock = $crate::RLock<$handle>;
        /// A held [`Lock`] or [`RLock`]. Dropping it releases the lock.
        pub type LockGuard = $crate::Guard<$handle>;
        /// A permit of a [`Semaphore`]. Dropping it releases the permit.
        pub type SemaphoreGuard = $crate::SemaphoreGuard<$handle>;
        /// The held lock of a [`Condition`]. Dropping it releases the lock.
        pub type ConditionGuard = $crate::ConditionGuard<$handle>;
        /// A semaphore: a number of permits.
        pub type Semaphore = $crate::Semaphore<$handle>;
        /// A semaphore that never has more permits than at the start, as Python names it.
        pub type BoundedSemaphore = Semaphore;
        /// A condition variable with its lock.
        pub type Condition = $crate::Condition<$handle>;
        /// A flag that parties wait for.
        pub type Event = $crate::Event<$handle>;
        /// A barrier: it releases a fixed number of waiting parties together.
        pub type Barrier = $crate::Barrier<$handle>;
        /// A dictionary: values of type `V` by keys of type `K`.
        pub type Dict<K, V> = $crate::Dict<K, V, $handle>;
        /// Values of any types by name.
        pub type Namespace = $crate::Namespace<$handle>;
        /// Values by index, of variable length.
        pub type List<T> = $crate::List<T, $handle>;
        /// Values by index, of fixed length.
        pub type Array<T> = $crate::Array<T, $handle>;
        /// One value.
        pub type Value<T> = $crate::Value<T, $handle>;
        /// Plain numbers in memory that all holders of a handle share.
        pub type SharedArray<T> = $crate::SharedArray<T, $handle>;
        /// A read-only [`SharedArray`].
        pub type SharedSlice<T> = $crate::SharedSlice<T, $handle>;
    };
}
