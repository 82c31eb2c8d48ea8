//! [`Kind`]: the one table of the kinds of objects and their names.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$docs:meta])* $kind:ident = $name:literal;)*) => {
        /// The kind of an object. The order of the variants is the wire form.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$docs])* $kind,)*
        }

        impl Kind {
            /// Returns a short name in snake case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A first-in-first-out queue of values.
    Queue = "queue";
    /// One end of a pipe.
    Pipe = "pipe";
    /// A mutual exclusion lock.
    Lock = "lock";
    /// A reentrant lock: its holder may acquire it again.
    RLock = "rlock";
    /// A semaphore: a number of permits.
    Semaphore = "semaphore";
    /// A condition variable with its lock.
    Condition = "condition";
    /// A flag that parties wait for.
    Event = "event";
    /// A barrier: it releases a fixed number of waiting parties together.
    Barrier = "barrier";
    /// Values by key.
    Dict = "dict";
    /// Values of any types by name.
    Namespace = "namespace";
    /// Values by index, of variable length.
    List = "list";
    /// Values by index, of fixed length.
    Array = "array";
    /// One value.
    Value = "value";
    /// Plain numbers in memory that all holders of a handle map.
    SharedArray = "shared_array";
}
