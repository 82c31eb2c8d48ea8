//! One signature's types as Rust: how a type is written where it is used, and what Rust cannot write.

use std::collections::{HashMap, HashSet};

use wpool_abi::object::{Kind, Rights};
use wpool_abi::{HandleType, Type, TypeIndex};

use crate::guest::outline::{MAX_TUPLE, Outline, is_named, parts};
use crate::guest::types::Types;

/// The longest array that serde has traits for.
const MAX_ARRAY: u32 = 32;
/// The types that are looked at to find out whether one contains itself. Beyond it each is put into a box.
const MAX_LOOKS: usize = 1_000_000;

/// The types of one signature, and the Rust names of those that are defined.
pub(super) struct RustTypes<'t> {
    pub(super) types: &'t Types,
    pub(super) names: HashMap<TypeIndex, String>,
    looks: usize,
}

impl<'t> RustTypes<'t> {
    pub(super) fn new(types: &'t Types) -> Self {
        Self { types, names: HashMap::new(), looks: 0 }
    }

    /// Returns a type as it is written inside the definition of `inside`, or outside of every definition.
    pub(super) fn written(&mut self, index: TypeIndex, inside: Option<TypeIndex>) -> String {
        let Some(name) = self.names.get(&index).cloned() else { return self.written_in_place(index, inside) };
        // A type that contains itself needs a box on the way, which a list or a map is.
        match inside {
            Some(inside) if self.contains(index, inside) => format!("Box<{name}>"),
            _ => name,
        }
    }

    /// Returns the form of a type that has no name of its own.
    pub(super) fn written_in_place(&mut self, index: TypeIndex, inside: Option<TypeIndex>) -> String {
        let types = self.types;
        let simple = match types.get(index) {
            Type::Unit => "()",
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::U128 => "u128",
            Type::I8 => "i8",
            Type::I16 => "i16",
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::I128 => "i128",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::Char => "char",
            Type::String => "String",
            Type::Bytes => "Vec<u8>",
            Type::Json => "wpool::Json",
            Type::Option(inner) => return format!("Option<{}>", self.written(*inner, inside)),
            Type::Seq(item) => return format!("Vec<{}>", self.written(*item, None)),
            Type::Array(item, len) => return format!("[{}; {len}]", self.written(*item, inside)),
            Type::Map(key, value) => {
                let (key, value) = (self.written(*key, None), self.written(*value, None));
                return format!("std::collections::BTreeMap<{key}, {value}>");
            }
            Type::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.written(*part, inside)).collect();
                let comma = if parts.len() == 1 { "," } else { "" };
                return format!("({}{comma})", parts.join(", "));
            }
            Type::Handle(handle) => {
                let items: Vec<String> = handle.items.iter().map(|item| self.written(*item, None)).collect();
                let name = handle_name(handle).unwrap_or_default();
                return if items.is_empty() {
                    name.to_owned()
                } else {
                    format!("{name}<{}>", items.join(", "))
                };
            }
            Type::Struct { .. } | Type::Enum { .. } => unreachable!("every struct and enum has a name"),
        };
        simple.to_owned()
    }

    /// Returns whether a type contains another one directly: not by a list, a map or a shared object.
    fn contains(&mut self, outer: TypeIndex, wanted: TypeIndex) -> bool {
        let (mut seen, mut left) = (HashSet::new(), vec![outer]);
        while let Some(index) = left.pop() {
            self.looks += 1;
            if index == wanted || self.looks > MAX_LOOKS {
                return true;
            }
            let ty = self.types.get(index);
            if seen.insert(index) && !matches!(ty, Type::Seq(_) | Type::Map(..) | Type::Handle(_)) {
                left.extend(parts(ty));
            }
        }
        false
    }
}

/// Returns the name of a handle's type in the library; `None` if it has none with these rights.
fn handle_name(handle: &HandleType) -> Option<&'static str> {
    Some(match (handle.kind, handle.rights) {
        (Kind::Queue, Rights::WRITE) => "wpool::Sender",
        (Kind::Queue, Rights::READ) => "wpool::Receiver",
        (Kind::SharedArray, Rights::READ) => "wpool::SharedSlice",
        (_, rights) if rights != Rights::ALL => return None,
        (Kind::Queue, _) => "wpool::Queue",
        (Kind::Pipe, _) => "wpool::Connection",
        (Kind::Lock, _) => "wpool::Lock",
        (Kind::RLock, _) => "wpool::RLock",
        (Kind::Semaphore, _) => "wpool::Semaphore",
        (Kind::Condition, _) => "wpool::Condition",
        (Kind::Event, _) => "wpool::Event",
        (Kind::Barrier, _) => "wpool::Barrier",
        (Kind::Dict, _) => "wpool::Dict",
        (Kind::Namespace, _) => "wpool::Namespace",
        (Kind::List, _) => "wpool::List",
        (Kind::Array, _) => "wpool::Array",
        (Kind::Value, _) => "wpool::Value",
        (Kind::SharedArray, _) => "wpool::SharedArray",
    })
}

/// Returns why Rust has no type for one of an outline; `None` if it has one for each.
pub(super) fn unsupported(types: &Types, outline: &Outline) -> Option<&'static str> {
    outline.types().find_map(|index| match types.get(index) {
        Type::Array(_, len) if *len > MAX_ARRAY => Some("it has an array of more than 32 elements"),
        Type::Map(key, _) if !has_order(types, *key) => Some("it has a map whose keys have no order"),
        Type::Handle(handle) if handle_name(handle).is_none() => Some("it has a handle of unusual rights"),
        Type::Handle(HandleType { kind: Kind::SharedArray, items, .. })
            if !items.iter().all(|item| is_number(types.get(*item))) =>
        {
            Some("it has a shared array of something else than numbers")
        }
        _ => None,
    })
}

fn is_number(ty: &Type) -> bool {
    let is_integer = matches!(
        ty,
        Type::U8 | Type::I8 | Type::U16 | Type::I16 | Type::U32 | Type::I32 | Type::U64 | Type::I64
    );
    is_integer || matches!(ty, Type::F32 | Type::F64)
}

/// Returns whether the values of a type have a total order in Rust.
pub(super) fn has_order(types: &Types, key: TypeIndex) -> bool {
    !any_part(types, key, |ty| matches!(ty, Type::F32 | Type::F64 | Type::Json | Type::Handle(_)))
}

/// Returns whether a type has a shared object in it, which cannot be compared.
pub(super) fn has_handle(types: &Types, index: TypeIndex) -> bool {
    any_part(types, index, |ty| matches!(ty, Type::Handle(_)))
}

/// Returns whether the type or one of its parts, on whatever level, is wanted.
fn any_part(types: &Types, index: TypeIndex, wanted: impl Fn(&Type) -> bool) -> bool {
    let (mut seen, mut left) = (HashSet::new(), vec![index]);
    while let Some(index) = left.pop() {
        if !seen.insert(index) {
            continue;
        }
        let ty = types.get(index);
        if wanted(ty) {
            return true;
        }
        left.extend(parts(ty));
    }
    false
}

/// Returns the parts of a tuple that is too long, or too short, for one of Rust's.
pub(super) fn tuple_struct(ty: &Type) -> Option<&[TypeIndex]> {
    match ty {
        Type::Tuple(parts) if parts.is_empty() || parts.len() > MAX_TUPLE => Some(parts),
        _ => None,
    }
}

/// Returns the name that a definition starts from.
pub(super) fn base_name(ty: &Type) -> &str {
    match ty {
        Type::Struct { name, .. } | Type::Enum { name, .. } => name,
        other => {
            debug_assert!(!is_named(other));
            "Type"
        }
    }
}
