//! [`ObjectSpec`]: what a named object is made as, and why it cannot be made or read.

use wpool_abi::object::{Kind, ObjectError};

use super::manager::PipeMode;
use crate::guest::json::ValueError;
use crate::manager::ObjectInit;

/// The kind of a named object, and its initial content. The types of its content are those of the first parameter that
/// it is passed to.
///
/// ```
/// use wpool::{NamedObjects, ObjectSpec, PipeMode};
/// let objects = NamedObjects::default();
/// objects.declare("jobs", ObjectSpec::Queue(Some(100)))?;
/// objects.declare("best", ObjectSpec::Value("[0, null]".to_owned()))?;
/// objects.declare("line", ObjectSpec::Pipe(PipeMode::Duplex))?; // `line.a` and `line.b`
/// assert!(objects.declare("line.b", ObjectSpec::Lock).is_err());
/// # Ok::<(), wpool::NamedError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ObjectSpec {
    /// A queue that holds at most this number of values, of 64 MiB together. Zero and `None` are no limit of the number.
    Queue(Option<u64>),
    /// An empty dictionary.
    Dict,
    /// An empty list.
    List,
    /// A value; this JSON is its initial value.
    Value(String),
    /// An event that is not set.
    Event,
    /// A lock.
    Lock,
    /// A reentrant lock.
    RLock,
    /// A semaphore with this number of permits.
    Semaphore(u64),
    /// A semaphore that never has more than this number of permits.
    BoundedSemaphore(u64),
    /// A condition with a lock of its own.
    Condition,
    /// An empty namespace.
    Namespace,
    /// An array; this JSON array has its initial values.
    Array(String),
    /// A barrier that this number of parties pass together. Zero counts as one.
    Barrier(u32),
    /// A pipe. Its ends are named after it, with `.a` and `.b`; of a one-way pipe `.a` receives and `.b` sends.
    Pipe(PipeMode),
    /// An array of this length in shared memory, all zero.
    SharedArray(usize),
    /// These bytes in read-only shared memory.
    Broadcast(Vec<u8>),
}

impl ObjectSpec {
    /// Whether an object and another one with this specification have a name in common.
    pub(super) fn clashes(&self, name: &str, other: &str, spec: &ObjectSpec) -> bool {
        let is_end = |spec: &ObjectSpec, pipe: &str, name: &str| {
            matches!(spec, ObjectSpec::Pipe(_)) && pipe_end(name).is_some_and(|(base, _)| base == pipe)
        };
        name == other || is_end(self, name, other) || is_end(spec, other, name)
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            ObjectSpec::Queue(_) => Kind::Queue,
            ObjectSpec::Dict => Kind::Dict,
            ObjectSpec::List => Kind::List,
            ObjectSpec::Value(_) => Kind::Value,
            ObjectSpec::Event => Kind::Event,
            ObjectSpec::Lock => Kind::Lock,
            ObjectSpec::RLock => Kind::RLock,
            ObjectSpec::Semaphore(_) | ObjectSpec::BoundedSemaphore(_) => Kind::Semaphore,
            ObjectSpec::Condition => Kind::Condition,
            ObjectSpec::Namespace => Kind::Namespace,
            ObjectSpec::Array(_) => Kind::Array,
            ObjectSpec::Barrier(_) => Kind::Barrier,
            ObjectSpec::Pipe(_) => Kind::Pipe,
            ObjectSpec::SharedArray(_) | ObjectSpec::Broadcast(_) => Kind::SharedArray,
        }
    }

    /// The object's initial state; `None` if that depends on the types of its content, or there are two objects.
    pub(super) fn init(&self) -> Option<ObjectInit> {
        match *self {
            ObjectSpec::Queue(capacity) => {
                Some(ObjectInit::Queue { capacity: capacity.filter(|most| *most > 0), requeue: false })
            }
            ObjectSpec::Dict => Some(ObjectInit::Dict),
            ObjectSpec::List => Some(ObjectInit::List),
            ObjectSpec::Event => Some(ObjectInit::Event),
            ObjectSpec::Lock => Some(ObjectInit::Lock { reentrant: false }),
            ObjectSpec::RLock => Some(ObjectInit::Lock { reentrant: true }),
            ObjectSpec::Semaphore(count) => Some(ObjectInit::Semaphore { count, bounded: false }),
            ObjectSpec::BoundedSemaphore(count) => Some(ObjectInit::Semaphore { count, bounded: true }),
            ObjectSpec::Condition => Some(ObjectInit::Condition),
            ObjectSpec::Namespace => Some(ObjectInit::Namespace),
            ObjectSpec::Barrier(parties) => {
                Some(ObjectInit::Barrier { parties: parties.max(1), acts: false })
            }
            ObjectSpec::Pipe(_)
            | ObjectSpec::Value(_)
            | ObjectSpec::Array(_)
            | ObjectSpec::SharedArray(_)
            | ObjectSpec::Broadcast(_) => None,
        }
    }
}

/// Splits the name of a pipe's end into the pipe's name and the number of the end.
pub(super) fn pipe_end(name: &str) -> Option<(&str, usize)> {
    let (pipe, end) = name.rsplit_once('.')?;
    Some((pipe, ["a", "b"].iter().position(|name| *name == end)?))
}

/// The reason why an object cannot be declared, or its content not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// An object of that name is declared already.
    #[error("`{0}` is declared twice")]
    Twice(String),
    /// No object of that name is declared.
    #[error("no object is named `{0}`")]
    Unknown(String),
    /// The object is not a queue.
    #[error("`{name}` is no queue, its kind is {kind}")]
    NoQueue {
        /// The object's name.
        name: String,
        /// The object's kind.
        kind: &'static str,
    },
    /// An object of that kind has no content that JSON can represent.
    #[error("`{name}` holds no values, its kind is {kind}")]
    NoValues {
        /// The object's name.
        name: String,
        /// The object's kind.
        kind: &'static str,
    },
    /// The object's content cannot be read.
    #[error("`{name}` cannot be read")]
    Object {
        /// The object's name.
        name: String,
        /// The error of the object.
        #[source]
        error: ObjectError,
    },
    /// The content is not of the type that the object was passed on with.
    #[error("`{name}` holds what is not of its type")]
    Value {
        /// The object's name.
        name: String,
        /// The error of the value.
        #[source]
        error: ValueError,
    },
}
