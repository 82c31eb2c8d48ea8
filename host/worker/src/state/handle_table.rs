//! The handles of a task, which its worker looks up before it sends a call.
//!
//! The parent checks each call again. Shared memory alone is used without the parent, and the kernel protects it.

use std::sync::Arc;

use wpool_abi::object::{Kind, MAX_HANDLES, ObjectError, Rights, Verb, without_rights};
use wpool_wire::memory::SharedMemory;
use wpool_wire::message::handle_indices;

use crate::guest_error::BadGuest;
use crate::guest_mem::GuestSlice;

/// One handle.
#[derive(Debug, Clone)]
pub(crate) struct HandleEntry {
    pub(crate) kind: Kind,
    pub(crate) rights: Rights,
    /// The memory, if the handle is to shared memory.
    pub(crate) memory: Option<Arc<SharedMemory>>,
}

/// The handles that a task was granted. A handle's index is its position.
#[derive(Debug, Default)]
pub(crate) struct HandleTable(Vec<HandleEntry>);

impl HandleTable {
    pub(crate) fn new(handles: Vec<HandleEntry>) -> Self {
        Self(handles)
    }

    pub(crate) fn add(&mut self, handles: Vec<HandleEntry>) {
        self.0.extend(handles);
    }

    fn get(&self, index: u32) -> Result<&HandleEntry, ObjectError> {
        self.0.get(index as usize).ok_or(ObjectError::BadHandle)
    }

    /// Checks that the task has a handle at `index` which allows `call`, a call in postcard.
    pub(crate) fn check(&self, index: u32, call: &[u8]) -> Result<(), ObjectError> {
        let handle = self.get(index)?;
        let (verb, _) = postcard::take_from_bytes::<Verb>(call)
            .map_err(|error| ObjectError::BadValue(error.to_string()))?;
        if !verb.suits(handle.kind) {
            return Err(ObjectError::WrongKind);
        }
        if handle.rights.contain(verb.needs()) { Ok(()) } else { Err(ObjectError::NoRight) }
    }

    /// Reads `count` handle indices at `ptr`, by which the guest passes its handles on.
    ///
    /// # Errors
    /// If they are too many, do not lie in `memory`, or if the task does not have one of the handles.
    pub(crate) fn read_indices<'m>(
        &self,
        memory: &'m [u8],
        ptr: u32,
        count: u32,
    ) -> Result<&'m [u8], BadGuest> {
        if count as usize > MAX_HANDLES {
            return Err(BadGuest(format!("it hands out {count} handles, {MAX_HANDLES} are allowed")));
        }
        let indices = GuestSlice::new(ptr, count * 4).read(memory)?;
        if handle_indices(indices).all(|index| self.get(without_rights(index).0).is_ok()) {
            return Ok(indices);
        }
        Err(BadGuest("it hands out a handle that it does not have".to_owned()))
    }

    /// Returns the shared memory of the handle at `index`, if the handle has the rights `needed`.
    pub(crate) fn memory(&self, index: u32, needed: Rights) -> Result<&SharedMemory, ObjectError> {
        let handle = self.get(index)?;
        let memory = handle.memory.as_deref().ok_or(ObjectError::WrongKind)?;
        if handle.rights.contain(needed) { Ok(memory) } else { Err(ObjectError::NoRight) }
    }
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::{Call, Item};

    use super::*;

    /// The worker decodes the verb of a call, and leaves the rest to the parent.
    #[test]
    fn a_call_begins_with_its_verb() {
        let (item, key) = (Item::<u32>::default, Vec::new);
        let calls: Vec<Call> = vec![
            Call::Put(vec![item()]),
            Call::Get(1),
            Call::Poll,
            Call::TaskDone(1),
            Call::Join,
            Call::Close,
            Call::Size,
            Call::Acquire,
            Call::Release(1),
            Call::State,
            Call::ClearPoison,
            Call::Disown,
            Call::Wait,
            Call::Notify(1),
            Call::Flag(true),
            Call::Abort,
            Call::Reset,
            Call::Look(key()),
            Call::Insert { key: key(), value: item(), replace: true },
            Call::Remove(key()),
            Call::All,
            Call::Keys,
            Call::Clear,
            Call::At(1),
            Call::SetAt(1, item()),
            Call::Swap { at: 1, expected: key(), value: item() },
            Call::Extend(vec![item()]),
            Call::InsertAt(1, item()),
            Call::RemoveAt(1),
            Call::Has(key()),
            Call::PopLast,
            Call::Slice { from: 0, to: 1 },
            Call::Splice { from: 0, to: 1, values: vec![item()] },
            Call::Find { value: key(), from: 0 },
            Call::Count(key()),
            Call::Revision,
            Call::Reorder { revision: 0, order: vec![0] },
        ];
        for call in calls {
            let bytes = postcard::to_allocvec(&call).unwrap();
            let (verb, _) = postcard::take_from_bytes::<Verb>(&bytes).unwrap();
            assert_eq!(verb, call.verb());
        }
    }
}
