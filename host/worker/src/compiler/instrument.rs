//! Exports a module's mutable globals, so that a snapshot can hold them.
//!
//! Only the export section is changed. A module that could change state which a snapshot does not hold (tables, and
//! segments that can be dropped) is refused.

use wasmparser::{Operator, Parser, Payload, TypeRef};
use wpool_abi::export;

use super::binary::{EXPORTS, read_u32, write_section, write_u32};

/// Returns `module` with its mutable globals exported.
pub(super) fn export_globals(module: &[u8]) -> Result<Vec<u8>, String> {
    let text = |error: wasmparser::BinaryReaderError| error.to_string();
    let mut out = module.get(..8).ok_or("no header")?.to_vec();
    let (mut imported, mut globals) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(text)?;
        match &payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    imported += u32::from(matches!(import.map_err(text)?.ty, TypeRef::Global(_)));
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in (imported..).zip(section.clone()) {
                    let ty = global.map_err(text)?.ty;
                    if ty.mutable && ty.content_type.is_reference_type() {
                        return Err(cannot("a global that refers to something"));
                    }
                    globals.extend(ty.mutable.then_some(index));
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader().map_err(text)? {
                    check_operator(&operator.map_err(text)?)?;
                }
            }
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let section = &module[range];
        if id == EXPORTS {
            write_section(&mut out, id, &with_globals(section, &globals)?);
        } else {
            write_section(&mut out, id, section);
        }
    }
    Ok(out)
}

fn cannot(what: &str) -> String {
    format!("the guest has an initializer and {what}, which a snapshot cannot hold")
}

fn check_operator(operator: &Operator<'_>) -> Result<(), String> {
    match operator {
        Operator::TableSet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. }
        | Operator::ElemDrop { .. } => Err(cannot("changes a table")),
        Operator::MemoryInit { .. } | Operator::DataDrop { .. } => {
            Err(cannot("has data that can be dropped"))
        }
        _ => Ok(()),
    }
}

/// Returns the export section with one more export per global.
fn with_globals(section: &[u8], globals: &[u32]) -> Result<Vec<u8>, String> {
    const GLOBAL: u8 = 3;
    let (count, rest) = read_u32(section).ok_or("no number of exports")?;
    let added = u32::try_from(globals.len()).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    write_u32(&mut out, count.checked_add(added).ok_or("too many exports")?);
    out.extend_from_slice(rest);
    for global in globals {
        let name = format!("{}{global}", export::GLOBAL_PREFIX);
        write_u32(&mut out, u32::try_from(name.len()).map_err(|error| error.to_string())?);
        out.extend_from_slice(name.as_bytes());
        out.push(GLOBAL);
        write_u32(&mut out, *global);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrumented(text: &str) -> Result<Vec<String>, String> {
        let module = export_globals(&wat::parse_str(text).unwrap())?;
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, module).unwrap();
        Ok(module.exports().map(|export| export.name().to_owned()).collect())
    }

    #[test]
    fn mutable_globals_are_exported_and_nothing_else_changes() {
        let exports = instrumented(
            r#"(module
                (import "a" "b" (global i32))
                (global (mut i32) (i32.const 1))
                (global i64 (i64.const 2))
                (global (mut f64) (f64.const 3))
                (func (export "f"))
                (data "not used"))"#,
        );
        assert_eq!(exports.unwrap(), ["f", "wpool_global:1", "wpool_global:3"]);
    }

    #[test]
    fn a_module_with_state_outside_a_snapshot_is_refused() {
        let changes = instrumented(
            r#"(module (table 1 funcref) (func (export "f") (table.set (i32.const 0) (ref.null func))))"#,
        );
        assert!(changes.unwrap_err().contains("changes a table"));
        let drops = instrumented(r#"(module (memory 1) (data $d "x") (func (export "f") (data.drop $d)))"#);
        assert!(drops.unwrap_err().contains("data that can be dropped"));
        let refers = instrumented(r#"(module (global (mut funcref) (ref.null func)) (func (export "f")))"#);
        assert!(refers.unwrap_err().contains("refers to something"));
    }
}
