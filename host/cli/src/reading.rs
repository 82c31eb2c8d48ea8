//! The terms under which inputs are read.

use wpool::{NamedObjects, Signature};

/// The terms under which inputs are read: the task's types, and the objects that inputs can name.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) signature: Signature,
    pub(crate) objects: NamedObjects,
}
