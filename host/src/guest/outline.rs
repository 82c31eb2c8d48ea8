//! The outline of a signature's types: which of them are defined once and then named, and which are written in place.
//!
//! A guest chooses its description, in which types may contain themselves and share parts. So that a text made from it
//! is not longer than the description by more than a factor, every type that is used twice has a definition, and so has
//! one in a nest that is too deep to be written in place.

use std::collections::HashMap;

use wpool_abi::{Type, TypeIndex, VariantData};

use super::types::Types;

/// The largest number of types and parts that an outline has. Hand-written code stays far below it.
const MAX_PARTS: usize = 10_000;
/// The largest number of types that are written inside one another.
const MAX_NESTED: u32 = 8;
/// The largest number of types in a type that is written in place wherever it is used.
const MAX_REPEATED: usize = 8;
/// The largest number of parts of a tuple that Rust's own tuples have traits for.
pub(super) const MAX_TUPLE: usize = 8;

/// The types that some roots lead to.
pub(super) struct Outline {
    /// In the order in which they are met.
    order: Vec<TypeIndex>,
    uses: HashMap<TypeIndex, Use>,
}

/// The uses of one type.
struct Use {
    count: usize,
    /// The number of types around it that are written in place, as far as it is known when the type is met.
    nested: u32,
    defined: bool,
}

impl Outline {
    /// Returns the outline of what `roots` lead to; `None` if that is too much.
    pub(super) fn new(types: &Types, roots: &[TypeIndex]) -> Option<Self> {
        let mut outline = Self { order: Vec::new(), uses: HashMap::new() };
        let mut left: Vec<(TypeIndex, u32)> = roots.iter().rev().map(|root| (*root, 0)).collect();
        let mut seen = 0;
        while let Some((index, nested)) = left.pop() {
            seen += 1;
            if seen > MAX_PARTS {
                return None;
            }
            let is_new = outline.meet(index, nested);
            if is_new {
                let ty = types.get(index);
                let nested = if is_named(ty) { 0 } else { nested + 1 };
                left.extend(parts(ty).into_iter().rev().map(|part| (part, nested % MAX_NESTED)));
            }
        }
        outline.define(types);
        Some(outline)
    }

    /// Counts a use of a type, and returns whether it is the first.
    fn meet(&mut self, index: TypeIndex, nested: u32) -> bool {
        let entry = self.uses.entry(index).or_insert(Use { count: 0, nested, defined: false });
        entry.count += 1;
        let is_new = entry.count == 1;
        if is_new {
            self.order.push(index);
        }
        is_new
    }

    fn define(&mut self, types: &Types) {
        for index in &self.order {
            let ty = types.get(*index);
            let shared = |used: &Use| used.count > 1 && !is_small(types, ty);
            if let Some(used) = self.uses.get_mut(index) {
                let too_deep = used.nested == MAX_NESTED - 1 && !is_leaf(ty);
                let no_tuple =
                    matches!(ty, Type::Tuple(parts) if parts.is_empty() || parts.len() > MAX_TUPLE);
                used.defined = is_named(ty) || shared(used) || too_deep || no_tuple;
            }
        }
    }

    /// Returns whether a type is to be named wherever it is used.
    pub(super) fn is_defined(&self, index: TypeIndex) -> bool {
        self.uses.get(&index).is_some_and(|used| used.defined)
    }

    /// Returns all types in the order in which they are met.
    pub(super) fn types(&self) -> impl Iterator<Item = TypeIndex> {
        self.order.iter().copied()
    }

    /// Returns the types that are to be defined, in the order in which they are met.
    pub(super) fn defined(&self) -> impl Iterator<Item = TypeIndex> {
        self.types().filter(|index| self.is_defined(*index))
    }
}

/// Returns the parts of a type in their order.
pub(super) fn parts(ty: &Type) -> Vec<TypeIndex> {
    match ty {
        Type::Option(inner) | Type::Seq(inner) | Type::Array(inner, _) => vec![*inner],
        Type::Map(key, value) => vec![*key, *value],
        Type::Tuple(parts) => parts.clone(),
        Type::Handle(handle) => handle.items.clone(),
        Type::Struct { fields, .. } => fields.iter().map(|field| field.ty).collect(),
        Type::Enum { variants, .. } => {
            variants.iter().flat_map(|variant| variant_parts(&variant.data)).collect()
        }
        _ => Vec::new(),
    }
}

fn variant_parts(data: &VariantData) -> Vec<TypeIndex> {
    match data {
        VariantData::Unit => Vec::new(),
        VariantData::Newtype(inner) => vec![*inner],
        VariantData::Tuple(parts) => parts.clone(),
        VariantData::Struct(fields) => fields.iter().map(|field| field.ty).collect(),
    }
}

/// Returns whether a type has a name of its own.
pub(super) fn is_named(ty: &Type) -> bool {
    matches!(ty, Type::Struct { .. } | Type::Enum { .. })
}

fn is_leaf(ty: &Type) -> bool {
    !is_named(ty) && parts(ty).is_empty() && !matches!(ty, Type::Tuple(_))
}

/// Returns whether a type is short wherever it is written. A type with a name is one word.
fn is_small(types: &Types, ty: &Type) -> bool {
    fn fits(types: &Types, ty: &Type, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        *left > 0 && (is_named(ty) || parts(ty).iter().all(|part| fits(types, types.get(*part), left)))
    }
    fits(types, ty, &mut (MAX_REPEATED + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(types: Vec<Type>) -> Option<Vec<TypeIndex>> {
        let outline = Outline::new(&Types::new(types), &[0])?;
        Some(outline.defined().collect())
    }

    #[test]
    fn a_type_that_is_used_twice_or_contains_itself_is_defined() {
        assert_eq!(
            defined(vec![Type::Tuple(vec![1, 1]), Type::Option(2), Type::U8]),
            Some(vec![]),
            "it is short"
        );
        assert_eq!(defined(vec![Type::Seq(0)]), Some(vec![0]));
        let wide = vec![Type::Tuple(vec![1, 1]), Type::Option(2), Type::Tuple(vec![3; 8]), Type::U8];
        assert_eq!(defined(wide), Some(vec![1]));
        assert_eq!(defined(vec![Type::Option(1), Type::Tuple(vec![])]), Some(vec![1]));
    }

    #[test]
    fn a_deep_nest_is_cut_and_too_much_is_refused() {
        let chain = |count| (1..count).map(Type::Option).chain([Type::U8]).collect();
        let cuts = defined(chain(1000)).unwrap();
        assert!((100..200).contains(&cuts.len()), "{cuts:?}");
        assert_eq!(defined(chain(20_000)), None);
        let doubled = (1..5000).map(|next| Type::Tuple(vec![next, next])).chain([Type::U8]).collect();
        assert!(defined(doubled).is_some_and(|defined| defined.len() > 4000), "or it would be 2^5000 parts");
    }
}
