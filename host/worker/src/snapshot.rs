//! What an initializer has left behind: the pages of memory that it changed, and the values of all globals.
//!
//! A snapshot is made by one worker, which has run the guest, and read by others, which run the same guest. They take
//! it as they take anything of a guest's: every length is checked, and what it says goes into the guest's own memory.

use serde::{Deserialize, Serialize};
use wasmtime::{Global, Memory, Store, Val};

use super::faults::BadGuest;
use super::state::TaskState;
use wpool_wire::message::encode;

/// The grain in which memory is compared.
const PAGE: usize = 4096;

/// A value of a global.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

/// Pages one after the other: the first, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    page: u32,
    count: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Header {
    /// Bytes of memory.
    memory: u64,
    globals: Vec<Value>,
    runs: Vec<Run>,
}

/// A snapshot that fits together.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    header: Header,
    /// The pages of all runs.
    pages: Vec<u8>,
}

impl Snapshot {
    /// What is different from a fresh instance.
    pub(crate) fn capture(fresh: &[u8], now: &[u8], globals: &[Val]) -> Result<Self, BadGuest> {
        let zero = [0; PAGE];
        let mut snapshot = Self::default();
        snapshot.header.memory = now.len() as u64;
        for (number, page) in now.chunks(PAGE).enumerate() {
            let before = fresh.get(number * PAGE..number * PAGE + page.len()).unwrap_or(&zero[..page.len()]);
            if before == page {
                continue;
            }
            let number = u32::try_from(number).map_err(|_| BadGuest("its memory is too large".to_owned()))?;
            match snapshot.header.runs.last_mut() {
                Some(run) if run.page + run.count == number => run.count += 1,
                _ => snapshot.header.runs.push(Run { page: number, count: 1 }),
            }
            snapshot.pages.extend_from_slice(page);
        }
        snapshot.header.globals = globals.iter().map(value_of).collect::<Result<_, _>>()?;
        Ok(snapshot)
    }

    /// The snapshot as bytes: its header behind that one's length, and the pages.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        encode(&self.header, &mut header);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut header);
        bytes.extend_from_slice(&self.pages);
        bytes
    }

    /// A snapshot out of bytes that may be anything.
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

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> u64 {
        self.header.memory
    }

    /// The values of the mutable globals, in their order.
    pub(crate) fn globals(&self) -> impl Iterator<Item = Value> {
        self.header.globals.iter().copied()
    }

    /// The addresses of consecutive pages that are different, and the pages.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut at = 0;
        self.header.runs.iter().map(move |run| {
            let pages = &self.pages[at..at + run.count as usize * PAGE];
            at += pages.len();
            (run.page as usize * PAGE, pages)
        })
    }

    /// Lays the snapshot over an instance in which nothing has run.
    pub(super) fn apply(
        &self,
        store: &mut Store<TaskState>,
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
            let place = data.get_mut(start..start + pages.len());
            place
                .ok_or_else(|| BadGuest("its snapshot is larger than its memory".to_owned()))?
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
    fn only_what_is_different_is_kept() {
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
