//! Snapshots: the pages of memory and the globals that an initializer has changed.
//!
//! A worker that has run the guest makes a snapshot, and other workers of the same guest apply it, or a compiler
//! embeds it. They trust it as
//! little as the guest: every length is checked, and the content goes nowhere but into the guest's own memory and
//! globals.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use serde::{Deserialize, Serialize};
use wasmtime::{Global, Memory, Store, Val};
use wpool_wire::message::encode;

use crate::guest_error::BadGuest;
use crate::guest_mem::{GuestSlice, changed_pages};

/// The unit in which memory is compared, in bytes.
const PAGE: usize = 4096;

/// The value of a global.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

/// Consecutive pages: the index of the first, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    page: u32,
    count: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Header {
    /// The size of the memory in bytes.
    memory: u64,
    globals: Vec<Value>,
    runs: Vec<Run>,
}

/// A snapshot whose lengths are consistent.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    header: Header,
    /// The pages of all runs, one after the other.
    pages: Vec<u8>,
}

impl Snapshot {
    /// Makes the snapshot of a used instance: the pages that differ between the memory of a new instance and its own,
    /// and the values of its mutable globals.
    pub(crate) fn capture(initial: &[u8], used: &[u8], globals: &[Val]) -> Result<Self, BadGuest> {
        let mut snapshot = Self::default();
        snapshot.header.memory = used.len() as u64;
        for (index, page) in changed_pages::<PAGE>(initial, used) {
            let index = u32::try_from(index).map_err(|_| BadGuest("its memory is too large".to_owned()))?;
            match snapshot.header.runs.last_mut() {
                Some(run) if run.page + run.count == index => run.count += 1,
                _ => snapshot.header.runs.push(Run { page: index, count: 1 }),
            }
            snapshot.pages.extend_from_slice(page);
        }
        snapshot.header.globals = globals.iter().map(value_of).collect::<Result<_, _>>()?;
        Ok(snapshot)
    }

    /// Encodes the snapshot: the length of the header, the header, the pages.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        encode(&self.header, &mut header);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut header);
        bytes.extend_from_slice(&self.pages);
        bytes
    }

    /// Reads a snapshot from the beginning of a file.
    pub(crate) fn read_from(mut file: File) -> wasmtime::Result<Self> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(Self::from_bytes(&bytes)?)
    }

    /// Decodes a snapshot from untrusted bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, BadGuest> {
        let bad = || BadGuest("its snapshot is damaged".to_owned());
        let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| bad())?;
        let (header, pages) = rest.split_at_checked(len).ok_or_else(bad)?;
        let header: Header = postcard::from_bytes(header).map_err(|_| bad())?;
        let sum: u128 = header.runs.iter().map(|run| u128::from(run.count) * PAGE as u128).sum();
        let end =
            header.runs.iter().map(|run| (u64::from(run.page) + u64::from(run.count)) * PAGE as u64).max();
        if sum != pages.len() as u128 || end.unwrap_or(0) > header.memory {
            return Err(bad());
        }
        Ok(Self { header, pages: pages.to_vec() })
    }

    /// Returns the size of the memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.header.memory
    }

    /// Returns the values of the mutable globals, in the order of the module.
    pub(crate) fn globals(&self) -> impl Iterator<Item = Value> {
        self.header.globals.iter().copied()
    }

    /// Returns the runs of changed pages, each with its address.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut at = 0;
        self.header.runs.iter().map(move |run| {
            let pages = &self.pages[at..at + run.count as usize * PAGE];
            at += pages.len();
            (run.page as usize * PAGE, pages)
        })
    }

    /// Writes the snapshot into a new instance.
    pub(crate) fn apply<T>(
        &self,
        store: &mut Store<T>,
        memory: Memory,
        globals: &[Global],
    ) -> wasmtime::Result<()> {
        const WASM_PAGE: u64 = 64 << 10;
        let missing = self.header.memory.saturating_sub(memory.data_size(&*store) as u64);
        if missing > 0 {
            memory.grow(&mut *store, missing.div_ceil(WASM_PAGE))?;
        }
        let data = memory.data_mut(&mut *store);
        for (start, pages) in self.runs() {
            GuestSlice::from_offset(start, pages.len())?
                .write(data)
                .map_err(|_| BadGuest("its snapshot is larger than its memory".to_owned()))?
                .copy_from_slice(pages);
        }
        if globals.len() != self.header.globals.len() {
            return Err(BadGuest("its snapshot has other globals".to_owned()).into());
        }
        for (global, value) in globals.iter().zip(&self.header.globals) {
            global.set(&mut *store, Val::from(*value))?;
        }
        Ok(())
    }
}

fn value_of(value: &Val) -> Result<Value, BadGuest> {
    match value {
        Val::I32(value) => Ok(Value::I32(*value)),
        Val::I64(value) => Ok(Value::I64(*value)),
        Val::F32(bits) => Ok(Value::F32(*bits)),
        Val::F64(bits) => Ok(Value::F64(*bits)),
        Val::V128(value) => Ok(Value::V128(value.as_u128())),
        _ => Err(BadGuest("a global of it refers to something".to_owned())),
    }
}

impl From<Value> for Val {
    fn from(value: Value) -> Self {
        match value {
            Value::I32(value) => Val::I32(value),
            Value::I64(value) => Val::I64(value),
            Value::F32(bits) => Val::F32(bits),
            Value::F64(bits) => Val::F64(bits),
            Value::V128(value) => Val::V128(value.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn only_changed_pages_are_kept() {
        let fresh = vec![1; 4 * PAGE];
        let mut now = fresh.clone();
        now.resize(6 * PAGE, 0);
        (now[PAGE], now[2 * PAGE], now[5 * PAGE + 7]) = (9, 9, 9);
        let snapshot = Snapshot::capture(&fresh, &now, &[Val::I32(-1), Val::F64(3)]).unwrap();
        assert_eq!(snapshot.header.runs, [Run { page: 1, count: 2 }, Run { page: 5, count: 1 }]);
        let again = Snapshot::from_bytes(&snapshot.to_bytes()).unwrap();
        assert_eq!((again.header, again.pages), (snapshot.header, snapshot.pages));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_snapshot_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = Snapshot::from_bytes(&bytes);
        }

        #[test]
        fn a_snapshot_that_is_cut_is_an_error(cut in 0usize..PAGE) {
            let bytes = Snapshot::capture(&[], &[1; PAGE], &[]).unwrap().to_bytes();
            assert!(Snapshot::from_bytes(&bytes[..bytes.len() - 1 - cut % (bytes.len() - 1)]).is_err());
        }
    }
}
