//! The types of a description: a table with indices into itself, the names of types, and their comparison.

use std::collections::HashSet;

use wpool_abi::object::{Kind, Rights};
use wpool_abi::{Field, HandleType, Type, TypeIndex, VariantData};
use wpool_schema::{Schema, TypeTable};

/// A table of types. Every index in it is within the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Types(Vec<Type>);

impl Types {
    /// Makes a table of types whose indices were checked.
    pub(super) fn new(types: Vec<Type>) -> Self {
        Self(types)
    }

    /// Makes a table of the types of this program, whose derive macro has made the indices.
    pub(crate) fn from_table(table: TypeTable) -> Self {
        Self(table.into_types())
    }

    /// Returns all types in the order of their indices.
    pub(super) fn all(&self) -> &[Type] {
        &self.0
    }

    /// Returns the type at an index, which must be of this table.
    pub(crate) fn get(&self, index: TypeIndex) -> &Type {
        &self.0[index as usize]
    }

    /// Returns the table with one more type, and that type's index.
    pub(crate) fn with(&self, ty: Type) -> (Self, TypeIndex) {
        let mut types = self.0.clone();
        types.push(ty);
        let index = TypeIndex::try_from(types.len() - 1).expect("a guest has few types");
        (Self(types), index)
    }

    /// Returns whether a type in the table is a handle on a shared object.
    pub(super) fn has_handles(&self) -> bool {
        self.0.iter().any(|ty| matches!(ty, Type::Handle(_)))
    }

    /// Returns the name of a type for people, such as `list<(string, u64)>`.
    pub(crate) fn name(&self, ty: &Type) -> String {
        let mut name = String::new();
        self.write_name(ty, 0, &mut name);
        name
    }

    fn write_name(&self, ty: &Type, depth: usize, out: &mut String) {
        /// The depth below which a name is cut off: a type that contains itself has no end.
        const MAX_DEPTH: usize = 6;
        /// The length from which a name is cut off: a type of many parts, each of many parts, is named by its first.
        const MAX_NAME: usize = 1000;
        if depth > MAX_DEPTH || out.len() > MAX_NAME {
            out.push('…');
            return;
        }
        let simple = match ty {
            Type::Unit => "null",
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
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Json => "json",
            Type::Handle(handle) if handle.items.is_empty() => handle_name(handle),
            Type::Handle(handle) => {
                return self.write_generic(handle_name(handle), &handle.items, depth, out);
            }
            Type::Struct { name, .. } | Type::Enum { name, .. } => name,
            Type::Option(inner) => return self.write_generic("option", &[*inner], depth, out),
            Type::Seq(item) => return self.write_generic("list", &[*item], depth, out),
            Type::Map(key, value) => return self.write_generic("map", &[*key, *value], depth, out),
            Type::Array(item, len) => {
                out.push('[');
                self.write_name(self.get(*item), depth + 1, out);
                out.push_str(&format!("; {len}]"));
                return;
            }
            Type::Tuple(parts) => {
                out.push('(');
                self.write_list(parts, depth, out);
                out.push(')');
                return;
            }
        };
        out.push_str(simple);
    }

    fn write_generic(&self, name: &str, parts: &[TypeIndex], depth: usize, out: &mut String) {
        out.push_str(name);
        out.push('<');
        self.write_list(parts, depth, out);
        out.push('>');
    }

    fn write_list(&self, parts: &[TypeIndex], depth: usize, out: &mut String) {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.write_name(self.get(*part), depth + 1, out);
            if out.ends_with('…') {
                return;
            }
        }
    }
}

/// Returns the name of a handle's kind. Each end of a queue has a name of its own.
fn handle_name(handle: &HandleType) -> &'static str {
    match (handle.kind, handle.rights) {
        (Kind::Queue, Rights::WRITE) => "sender",
        (Kind::Queue, Rights::READ) => "receiver",
        (Kind::SharedArray, Rights::READ) => "shared_slice",
        (kind, _) => kind.name(),
    }
}

/// Returns whether two types have the same encoding and the same JSON: the same parts under the same names. The names
/// of the types themselves do not matter.
pub(crate) fn same_type(a_types: &Types, a: TypeIndex, b_types: &Types, b: TypeIndex) -> bool {
    let (assumed, left) = (HashSet::new(), vec![(a, b)]);
    Comparison { a: a_types, b: b_types, assumed, left }.are_same()
}

/// Describes a Rust type as a guest does: the table, and the index of the type in it.
pub(crate) fn described<T: Schema>() -> (Types, TypeIndex) {
    let mut table = TypeTable::default();
    let root = T::describe(&mut table);
    (Types::from_table(table), root)
}

struct Comparison<'t> {
    a: &'t Types,
    b: &'t Types,
    /// The pairs that were compared or are being compared. They count as equal, so types that contain themselves end.
    assumed: HashSet<(TypeIndex, TypeIndex)>,
    /// The pairs that are still to be compared. A guest chooses the depth of its types, so they are not on the stack.
    left: Vec<(TypeIndex, TypeIndex)>,
}

impl Comparison<'_> {
    fn are_same(mut self) -> bool {
        /// A guest chooses its types: two cycles of many types have the product of their lengths as pairs.
        const MAX_PAIRS: usize = 1_000_000;
        while let Some((a, b)) = self.left.pop() {
            if self.assumed.len() > MAX_PAIRS {
                return false;
            }
            if self.assumed.insert((a, b)) && !self.same_kind(a, b) {
                return false;
            }
        }
        true
    }

    /// Puts a pair of parts off. Returns true, as they count as equal until they are compared.
    fn later(&mut self, a: TypeIndex, b: TypeIndex) -> bool {
        self.left.push((a, b));
        true
    }

    /// Compares two types but for their parts, which are put off.
    fn same_kind(&mut self, a: TypeIndex, b: TypeIndex) -> bool {
        match (self.a.get(a), self.b.get(b)) {
            (Type::Option(a), Type::Option(b)) | (Type::Seq(a), Type::Seq(b)) => self.later(*a, *b),
            (Type::Array(a, n), Type::Array(b, m)) => n == m && self.later(*a, *b),
            (Type::Handle(a), Type::Handle(b)) => {
                (a.kind, a.rights) == (b.kind, b.rights) && self.all(&a.items, &b.items)
            }
            (Type::Map(a, v), Type::Map(b, w)) => self.later(*a, *b) && self.later(*v, *w),
            (Type::Tuple(a), Type::Tuple(b)) => self.all(a, b),
            (Type::Struct { fields: a, .. }, Type::Struct { fields: b, .. }) => self.fields(a, b),
            (Type::Enum { variants: a, .. }, Type::Enum { variants: b, .. }) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.name == b.name && self.variant(&a.data, &b.data))
            }
            (a, b) => a == b,
        }
    }

    fn all(&mut self, a: &[TypeIndex], b: &[TypeIndex]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.later(*a, *b))
    }

    fn fields(&mut self, a: &[Field], b: &[Field]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && self.later(a.ty, b.ty))
    }

    fn variant(&mut self, a: &VariantData, b: &VariantData) -> bool {
        match (a, b) {
            (VariantData::Newtype(a), VariantData::Newtype(b)) => self.later(*a, *b),
            (VariantData::Tuple(a), VariantData::Tuple(b)) => self.all(a, b),
            (VariantData::Struct(a), VariantData::Struct(b)) => self.fields(a, b),
            (a, b) => *a == VariantData::Unit && *b == VariantData::Unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_even_without_an_end() {
        let endless = Types::new(vec![Type::Seq(0)]);
        assert!(endless.name(endless.get(0)).starts_with("list<list<"));
        let wide = Types::new(vec![Type::Tuple(vec![0; 1000])]);
        assert!(wide.name(wide.get(0)).len() < 2000, "and with parts of parts without number");
        let types = Types::new(vec![Type::Map(1, 2), Type::String, Type::Option(3), Type::Array(1, 4)]);
        assert_eq!(types.name(types.get(0)), "map<string, option<[string; 4]>>");
    }

    #[test]
    fn types_of_any_depth_are_compared() {
        // Two circles of coprime lengths agree only after all pairs of their types.
        let circle = |length: u32| Types::new((1..length).chain([0]).map(Type::Seq).collect());
        assert!(same_type(&circle(999), 0, &circle(998), 0));
        let chain = |end| Types::new((1..100_000).map(Type::Option).chain([end]).collect());
        assert!(same_type(&chain(Type::U8), 0, &chain(Type::U8), 0));
        assert!(!same_type(&chain(Type::U8), 0, &chain(Type::I8), 0));
        let pair = |first, second| Types::new(vec![Type::Tuple(vec![1, 2]), first, second]);
        assert!(!same_type(&pair(Type::U8, Type::Bool), 0, &pair(Type::Bool, Type::U8), 0));
    }
}
