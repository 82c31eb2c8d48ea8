//! The shared memories that this worker has mapped.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use wpool_wire::ids::MemoryId;
use wpool_wire::memory::SharedMemory;
use wpool_wire::message::{BadMessage, Granted, Memory};

use super::handle_table::HandleEntry;

#[derive(Debug, Default)]
pub(crate) struct SharedMemories(HashMap<MemoryId, Arc<SharedMemory>>);

impl SharedMemories {
    /// Maps memory that the parent has created. `file` is the descriptor that came with the frame.
    pub(crate) fn map(&mut self, memory: Memory, file: Option<OwnedFd>) -> io::Result<()> {
        let file = file.ok_or_else(|| io::Error::other("shared memory came without its file"))?;
        let Memory { id, form, len, writable } = memory;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mapped = SharedMemory::open(&File::from(file), form, len, writable)?;
        self.0.insert(id, Arc::new(mapped));
        Ok(())
    }

    /// Removes a memory. It stays mapped while a running task has a handle to it.
    pub(crate) fn unmap(&mut self, memory: MemoryId) {
        self.0.remove(&memory);
    }

    /// Returns the entries of a handle table for the handles that a task was granted.
    ///
    /// # Errors
    /// If one is to a memory that is not mapped: the parent maps it before.
    pub(crate) fn resolve(&self, granted: &[Granted]) -> Result<Vec<HandleEntry>, BadMessage> {
        let entry = |&Granted { kind, rights, memory }: &Granted| {
            let memory = memory.map(|id| self.get(id)).transpose()?;
            Ok(HandleEntry { kind, rights, memory })
        };
        granted.iter().map(entry).collect()
    }

    fn get(&self, id: MemoryId) -> Result<Arc<SharedMemory>, BadMessage> {
        let memory = self.0.get(&id).map(Arc::clone);
        memory.ok_or_else(|| BadMessage("a handle is to shared memory that never came".to_owned()))
    }
}
