//! The fingerprint of a type: a hash of its form, by which the two ends of a wire compare their types.

use wpool_abi::{Field, Type, TypeIndex, VariantData};

/// The limits of what is hashed, as a table may come from an untrusted guest. Types that differ only beyond this depth
/// or this number of parts have one fingerprint.
const MAX_DEPTH: usize = 64;
const MAX_PARTS: usize = 10_000;

/// Returns the fingerprint of one type of a table, or of the tuple of several. An index beyond the table's end is
/// hashed like a type that is too deep.
pub fn of(types: &[Type], roots: &[TypeIndex]) -> u64 {
    let mut walk = Walk { types, path: Vec::new(), seen: 0, hash: Fnv::default() };
    match roots {
        [only] => walk.visit(*only),
        several => walk.tuple(several),
    }
    walk.hash.0
}

/// The FNV-1a hash of 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }
}

/// A depth-first walk over a type and its parts.
struct Walk<'t> {
    types: &'t [Type],
    /// The types from the root to the present one. A type that contains itself is hashed as the distance back to it.
    path: Vec<TypeIndex>,
    seen: usize,
    hash: Fnv,
}

impl Walk<'_> {
    fn visit(&mut self, index: TypeIndex) {
        if let Some(back) = self.path.iter().rev().position(|above| *above == index) {
            self.hash.bytes(&[tag::BACK]);
            self.hash.number(back);
            return;
        }
        self.seen += 1;
        let types = self.types;
        let ty = types.get(index as usize).filter(|_| self.path.len() < MAX_DEPTH && self.seen < MAX_PARTS);
        let Some(ty) = ty else { return self.hash.bytes(&[tag::TOO_MUCH]) };
        self.path.push(index);
        self.parts(ty);
        self.path.pop();
    }

    fn parts(&mut self, ty: &Type) {
        match ty {
            Type::Option(item) => self.one(tag::OPTION, *item),
            Type::Seq(item) => self.one(tag::SEQ, *item),
            Type::Array(item, len) => {
                self.one(tag::ARRAY, *item);
                self.hash.number(*len as usize);
            }
            Type::Tuple(items) => self.tuple(items),
            Type::Map(key, value) => {
                self.one(tag::MAP, *key);
                self.visit(*value);
            }
            Type::Struct { fields, .. } => self.fields(fields),
            Type::Enum { variants, .. } => {
                self.hash.bytes(&[tag::ENUM]);
                self.hash.number(variants.len());
                for variant in variants {
                    if !self.name(&variant.name) {
                        return;
                    }
                    self.data(&variant.data);
                }
            }
            Type::Handle(handle) => {
                self.hash.bytes(&[tag::HANDLE, handle.rights.0]);
                self.hash.text(handle.kind.name());
                self.tuple(&handle.items);
            }
            leaf => self.hash.bytes(&[tag::of_leaf(leaf)]),
        }
    }

    /// Hashes the name of a field or a variant. Returns whether there was not too much before it.
    fn name(&mut self, name: &str) -> bool {
        self.seen += 1;
        let few = self.seen < MAX_PARTS;
        match few {
            true => self.hash.text(name),
            false => self.hash.bytes(&[tag::TOO_MUCH]),
        }
        few
    }

    fn one(&mut self, tag: u8, item: TypeIndex) {
        self.hash.bytes(&[tag]);
        self.visit(item);
    }

    fn tuple(&mut self, items: &[TypeIndex]) {
        if items.is_empty() {
            return self.hash.bytes(&[tag::of_leaf(&Type::Unit)]);
        }
        self.hash.bytes(&[tag::TUPLE]);
        self.hash.number(items.len());
        items.iter().for_each(|item| self.visit(*item));
    }

    fn fields(&mut self, fields: &[Field]) {
        self.hash.bytes(&[tag::STRUCT]);
        self.hash.number(fields.len());
        for field in fields {
            if !self.name(&field.name) {
                return;
            }
            self.visit(field.ty);
        }
    }

    fn data(&mut self, data: &VariantData) {
        match data {
            VariantData::Unit => self.hash.bytes(&[tag::of_leaf(&Type::Unit)]),
            VariantData::Newtype(item) => self.visit(*item),
            VariantData::Tuple(items) => self.tuple(items),
            VariantData::Struct(fields) => self.fields(fields),
        }
    }
}

/// The tags that are hashed before a type's parts. They are part of the interface between host and guest.
mod tag {
    use wpool_abi::Type;

    pub(super) const BACK: u8 = 100;
    pub(super) const TOO_MUCH: u8 = 101;
    pub(super) const OPTION: u8 = 50;
    pub(super) const SEQ: u8 = 51;
    pub(super) const ARRAY: u8 = 52;
    pub(super) const TUPLE: u8 = 53;
    pub(super) const MAP: u8 = 54;
    pub(super) const STRUCT: u8 = 55;
    pub(super) const ENUM: u8 = 56;
    pub(super) const HANDLE: u8 = 57;

    pub(super) fn of_leaf(ty: &Type) -> u8 {
        match ty {
            Type::Unit => 1,
            Type::Bool => 2,
            Type::U8 => 3,
            Type::U16 => 4,
            Type::U32 => 5,
            Type::U64 => 6,
            Type::U128 => 7,
            Type::I8 => 8,
            Type::I16 => 9,
            Type::I32 => 10,
            Type::I64 => 11,
            Type::I128 => 12,
            Type::F32 => 13,
            Type::F64 => 14,
            Type::Char => 15,
            Type::String => 16,
            Type::Bytes => 17,
            Type::Json => 18,
            Type::Handle(_)
            | Type::Option(_)
            | Type::Seq(_)
            | Type::Tuple(_)
            | Type::Array(..)
            | Type::Map(..)
            | Type::Struct { .. }
            | Type::Enum { .. } => TOO_MUCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Schema, TypeTable, field, fingerprint, variant};

    struct Tree;

    impl Schema for Tree {
        fn describe(types: &mut TypeTable) -> TypeIndex {
            types.named::<Self>(|types| Type::Struct {
                name: "Tree".to_owned(),
                fields: vec![field::<u32>(types, "value", ""), field::<Vec<Tree>>(types, "children", "")],
            })
        }
    }

    struct Renamed;

    impl Schema for Renamed {
        fn describe(types: &mut TypeTable) -> TypeIndex {
            types.named::<Self>(|types| Type::Struct {
                name: "Other".to_owned(),
                fields: vec![field::<u32>(types, "number", "what it is")],
            })
        }
    }

    struct Number;

    impl Schema for Number {
        fn describe(types: &mut TypeTable) -> TypeIndex {
            types.named::<Self>(|types| Type::Struct {
                name: "Number".to_owned(),
                fields: vec![field::<u32>(types, "number", "")],
            })
        }
    }

    #[test]
    fn types_of_one_form_have_one_fingerprint_and_others_have_others() {
        assert_eq!(fingerprint::<Number>(), fingerprint::<Renamed>(), "neither names nor docs count");
        let all = [
            fingerprint::<()>(),
            fingerprint::<u32>(),
            fingerprint::<(u32,)>(),
            fingerprint::<(u32, u32)>(),
            fingerprint::<Vec<u32>>(),
            fingerprint::<Option<u32>>(),
            fingerprint::<[u32; 2]>(),
            fingerprint::<[u32; 3]>(),
            fingerprint::<Result<u32, ()>>(),
            fingerprint::<Result<(), u32>>(),
            fingerprint::<Vec<u8>>(),
            fingerprint::<Number>(),
            fingerprint::<Tree>(),
            fingerprint::<Vec<Tree>>(),
        ];
        for (index, fingerprint) in all.iter().enumerate() {
            assert!(!all[..index].contains(fingerprint), "the fingerprint {index} is one of those before");
        }
    }

    #[test]
    fn a_tuple_is_its_parts_and_a_table_may_be_in_any_order() {
        let mut types = TypeTable::default();
        let (text, number) = (String::describe(&mut types), u64::describe(&mut types));
        assert_eq!(of(&types.into_types(), &[number, text]), fingerprint::<(u64, String)>());
        assert_eq!(of(&[], &[]), fingerprint::<()>());
    }

    #[test]
    fn a_malicious_table_has_a_fingerprint_in_bounded_time() {
        // Each type is a pair of the next one: without a limit the walk takes 2^200 steps.
        let doubled = (1..200).map(|next| Type::Tuple(vec![next, next])).chain([Type::Unit]);
        let _fingerprint = of(&doubled.collect::<Vec<_>>(), &[0]);
        let chain = (1..100_000).map(Type::Option).chain([Type::Option(7), Type::Option(1 << 31)]);
        let _fingerprint = of(&chain.collect::<Vec<_>>(), &[0]);
        let enums =
            Type::Enum { name: String::new(), variants: vec![variant("A", "", VariantData::Newtype(0))] };
        let _fingerprint = of(&[enums], &[0]);
        // Many units of long names: the names count, not only the parts with a type.
        let names = (0..1000).map(|n| variant(&format!("{n:01000}"), "", VariantData::Unit)).collect();
        let long = Type::Enum { name: String::new(), variants: names };
        let many = Type::Tuple(vec![1; 9_999]);
        let mut walk = Walk { types: &[many, long], path: Vec::new(), seen: 0, hash: Fnv::default() };
        walk.visit(0);
        assert!(walk.seen < MAX_PARTS + 10_000, "{}", walk.seen);
    }
}
