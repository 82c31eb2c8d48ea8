//! Embeds a snapshot in a module: a new module, whose instances start in the state that the initializer has left.
//!
//! The initial memory has the snapshot's size, the changed pages become data segments, mutable globals start with the
//! snapshot's values, and nothing runs at the start. The snapshot of an initializer without a parameter is the same for
//! every pool, so this is done once and the image is cached.

use wasmparser::{Global, Parser, Payload};
use wpool_abi::export;

use super::binary::{
    DATA, DATA_COUNT, EXPORTS, GLOBALS, MEMORIES, START, read_u32, write_i64, write_section, write_u32,
};
use crate::snapshot::{Snapshot, Value as SnapshotValue};

/// The size of a page of WebAssembly, in bytes.
const WASM_PAGE: u64 = 64 << 10;

/// Returns `module` with `snapshot` embedded.
pub(super) fn embed(module: &[u8], snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let mut out = module.get(..8).ok_or("no header")?.to_vec();
    let mut has_data = false;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(error_text)?;
        let Some((id, range)) = payload.as_section() else { continue };
        let section = &module[range];
        match (id, &payload) {
            (MEMORIES, Payload::MemorySection(memories)) => {
                write_section(&mut out, id, &memory(memories.clone(), snapshot)?);
            }
            (GLOBALS, Payload::GlobalSection(globals)) => {
                write_section(&mut out, id, &with_values(module, globals.clone(), snapshot)?);
            }
            (EXPORTS, Payload::ExportSection(exports)) => {
                write_section(&mut out, id, &without_start(module, exports.clone())?);
            }
            (START, _) => {}
            (DATA_COUNT, _) => {
                let (count, _) = read_u32(section).ok_or("no number of data segments")?;
                let mut counted = Vec::new();
                write_u32(&mut counted, segment_count(count, snapshot)?);
                write_section(&mut out, id, &counted);
            }
            (DATA, _) => {
                has_data = true;
                write_section(&mut out, id, &with_pages(section, snapshot)?);
            }
            _ => write_section(&mut out, id, section),
        }
    }
    if !has_data {
        write_section(&mut out, DATA, &with_pages(&[0], snapshot)?);
    }
    Ok(out)
}

fn error_text(error: wasmparser::BinaryReaderError) -> String {
    error.to_string()
}

/// Returns the memory section, which has one memory.
fn memory(memories: wasmparser::MemorySectionReader<'_>, snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let memory = memories.into_iter().next().ok_or("no memory")?.map_err(error_text)?;
    let pages = |count: u64| u32::try_from(count).map_err(|error| error.to_string());
    let mut out = vec![1, u8::from(memory.maximum.is_some())];
    write_u32(&mut out, pages(memory.initial.max(snapshot.memory().div_ceil(WASM_PAGE)))?);
    if let Some(maximum) = memory.maximum {
        write_u32(&mut out, pages(maximum)?);
    }
    Ok(out)
}

/// Returns the global section, in which the mutable globals have the snapshot's values.
fn with_values(
    module: &[u8],
    globals: wasmparser::SectionLimited<'_, Global<'_>>,
    snapshot: &Snapshot,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write_u32(&mut out, globals.count());
    let end = globals.range().end;
    let globals = globals.into_iter_with_offsets().collect::<Result<Vec<_>, _>>().map_err(error_text)?;
    let mut values = snapshot.globals();
    for (index, (start, global)) in globals.iter().enumerate() {
        let end = globals.get(index + 1).map_or(end, |(next, _)| *next);
        if global.ty.mutable {
            write_value(&mut out, values.next().ok_or("the snapshot has fewer globals")?);
        } else {
            out.extend_from_slice(module.get(*start..end).ok_or("a global outside of the module")?);
        }
    }
    Ok(out)
}

/// Writes a mutable global: its type, and a constant.
fn write_value(out: &mut Vec<u8>, value: SnapshotValue) {
    const MUTABLE: u8 = 1;
    const END: u8 = 0x0b;
    match value {
        SnapshotValue::I32(value) => {
            out.extend([0x7f, MUTABLE, 0x41]);
            write_i64(out, value.into());
        }
        SnapshotValue::I64(value) => {
            out.extend([0x7e, MUTABLE, 0x42]);
            write_i64(out, value);
        }
        SnapshotValue::F32(bits) => {
            out.extend([0x7d, MUTABLE, 0x43]);
            out.extend(bits.to_le_bytes());
        }
        SnapshotValue::F64(bits) => {
            out.extend([0x7c, MUTABLE, 0x44]);
            out.extend(bits.to_le_bytes());
        }
        SnapshotValue::V128(value) => {
            out.extend([0x7b, MUTABLE, 0xfd, 0x0c]);
            out.extend(value.to_le_bytes());
        }
    }
    out.push(END);
}

/// Returns the export section without the functions that run before the first task.
fn without_start(module: &[u8], exports: wasmparser::ExportSectionReader<'_>) -> Result<Vec<u8>, String> {
    let end = exports.range().end;
    let exports = exports.into_iter_with_offsets().collect::<Result<Vec<_>, _>>().map_err(error_text)?;
    let (mut count, mut entries) = (0, Vec::new());
    for (index, (start, found)) in exports.iter().enumerate() {
        let end = exports.get(index + 1).map_or(end, |(next, _)| *next);
        if [export::INITIALIZE, export::INIT, export::DESCRIBE_INIT].contains(&found.name) {
            continue;
        }
        count += 1;
        entries.extend_from_slice(module.get(*start..end).ok_or("an export outside of the module")?);
    }
    let mut out = Vec::new();
    write_u32(&mut out, count);
    out.append(&mut entries);
    Ok(out)
}

/// Returns the number of data segments after the snapshot's are added to `count`.
fn segment_count(count: u32, snapshot: &Snapshot) -> Result<u32, String> {
    let more = u32::try_from(snapshot.runs().count()).map_err(|error| error.to_string())?;
    count.checked_add(more).ok_or_else(|| "too many data segments".to_owned())
}

/// Returns the data section, with one more segment for each run of pages.
fn with_pages(section: &[u8], snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let (count, rest) = read_u32(section).ok_or("no number of data segments")?;
    let mut out = Vec::new();
    write_u32(&mut out, segment_count(count, snapshot)?);
    out.extend_from_slice(rest);
    for (address, pages) in snapshot.runs() {
        // An active segment, in the only memory, at a constant address.
        out.extend([0, 0x41]);
        let address = u32::try_from(address).map_err(|error| error.to_string())?;
        write_i64(&mut out, i64::from(address.cast_signed()));
        out.push(0x0b);
        write_u32(&mut out, u32::try_from(pages.len()).map_err(|error| error.to_string())?);
        out.extend_from_slice(pages);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store, Val};

    use super::*;

    /// A module whose initializer changes everything that a snapshot holds.
    const CHANGES: &str = r#"(module
        (memory (export "memory") 1)
        (global (export "fixed") i32 (i32.const 5))
        (global $a (export "a") (mut i32) (i32.const 1))
        (global $b (export "b") (mut i64) (i64.const 2))
        (global $c (export "c") (mut f32) (f32.const 3))
        (global $d (export "d") (mut f64) (f64.const 4))
        (global $e (export "e") (mut v128) (v128.const i64x2 0 0))
        (data (i32.const 100) "before")
        (func $start (global.set $a (i32.add (global.get $a) (i32.const 1000))))
        (start $start)
        (func (export "_initialize") (unreachable))
        (func (export "wpool_init")
            (drop (memory.grow (i32.const 2)))
            (i32.store8 (i32.const 100) (i32.const 0x41))
            (i32.store (i32.const 196604) (i32.const -7))
            (global.set $a (i32.const -2147483648))
            (global.set $b (i64.const -99999999999))
            (global.set $c (f32.const nan:0x200000))
            (global.set $d (f64.const -0.5))
            (global.set $e (v128.const i64x2 7 -7))))"#;

    #[test]
    fn the_new_module_starts_in_the_state_that_the_initializer_has_left() {
        let engine = Engine::default();
        let original = wat::parse_str(CHANGES).unwrap();
        let module = Module::new(&engine, &original).unwrap();
        let state_after = |run: bool| {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            if run {
                instance
                    .get_typed_func::<(), ()>(&mut store, "wpool_init")
                    .unwrap()
                    .call(&mut store, ())
                    .unwrap();
            }
            state_of(&mut store, instance)
        };
        let ((fresh, _), (memory, globals)) = (state_after(false), state_after(true));
        let snapshot = Snapshot::capture(&fresh, &memory, &globals[1..]).unwrap();
        let embedded = Module::new(&engine, embed(&original, &snapshot).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &embedded, &[]).unwrap();
        let (again, values) = state_of(&mut store, instance);
        assert!(again == memory, "its memory");
        assert_eq!(format!("{values:?}"), format!("{globals:?}"), "its globals");
        let names: Vec<_> = embedded.exports().map(|export| export.name().to_owned()).collect();
        assert_eq!(names, ["memory", "fixed", "a", "b", "c", "d", "e"], "and nothing that would run");
    }

    fn state_of(store: &mut Store<()>, instance: Instance) -> (Vec<u8>, Vec<Val>) {
        let memory = instance.get_memory(&mut *store, "memory").unwrap().data(&*store).to_vec();
        let values = ["fixed", "a", "b", "c", "d", "e"].map(|name| {
            let global = instance.get_global(&mut *store, name).unwrap();
            global.get(&mut *store)
        });
        (memory, values.to_vec())
    }

    #[test]
    fn a_module_without_data_gets_segments_and_a_count_is_updated() {
        let engine = Engine::default();
        for text in [
            r#"(module (memory (export "memory") 1 9))"#,
            r#"(module (memory (export "memory") 1) (data $passive "kept") (data (i32.const 3) "x")
                (func (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 1))))"#,
        ] {
            let original = wat::parse_str(text).unwrap();
            let mut now = vec![0; 3 << 16];
            now[70_000] = 9;
            let snapshot = Snapshot::capture(&[], &now, &[]).unwrap();
            let embedded = Module::new(&engine, embed(&original, &snapshot).unwrap()).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &embedded, &[]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            assert_eq!((memory.data_size(&store), memory.data(&store)[70_000]), (3 << 16, 9));
        }
    }
}
