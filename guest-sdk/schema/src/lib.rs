//! [`Schema`]: the form of a type in postcard, so that a host can read JSON as that type, and compare a guest's types
//! with its own.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bounds;
mod fingerprint;
#[cfg(feature = "json")]
mod json;

pub use self::bounds::{Excess, MAX_DEPTH, check_bounds, max_parts};
pub use self::fingerprint::of as fingerprint_of;
#[cfg(feature = "json")]
pub use self::json::Json;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, Wrapping,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wpool_abi::{Field, Type, TypeIndex, Variant, VariantData};

/// A type that a guest's description can express.
///
/// Derive it beside serde's traits. The derive reads the `#[serde(…)]` attributes too: it follows `rename` and
/// `rename_all`, and refuses the attributes that would make the JSON differ from the description (`flatten`, `tag`,
/// `untagged`, `skip` …), so that a value is never read as one of another type.
///
/// ```ignore
/// use serde::{Deserialize, Serialize};
///
/// /// A picture to make smaller.
/// #[derive(Serialize, Deserialize, wpool_guest::Schema)]
/// #[serde(rename_all = "camelCase")]
/// struct Request {
///     /// In pixels; the height follows.
///     max_width: u32,
///     title: Option<String>,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "wpool cannot describe the type `{Self}`",
    label = "no `Schema` for this type",
    note = "derive it on a type of your own, beside serde's traits: `#[derive(Serialize, Deserialize, Schema)]`",
    note = "for any JSON value use `wpool_guest::Json`; for bytes use `Vec<u8>` or `&[u8]`"
)]
pub trait Schema {
    /// Adds this type and the types of its parts to the table, and returns its index there. The description depends on
    /// the type alone: each call describes it alike.
    fn describe(types: &mut TypeTable) -> TypeIndex;
}

/// The types of one task, each once.
#[derive(Debug, Default)]
pub struct TypeTable {
    types: Vec<Type>,
    by_name: BTreeMap<&'static str, TypeIndex>,
    /// The entries whose types are being described. They hold a placeholder, which is no type to refer to.
    unfinished: Vec<TypeIndex>,
}

impl TypeTable {
    /// Adds a type that does not contain itself, unless the table has it already, and returns its index.
    pub fn leaf(&mut self, ty: Type) -> TypeIndex {
        let mut known = (0..).zip(&self.types);
        match known.find(|(index, known)| **known == ty && !self.unfinished.contains(index)) {
            Some((index, _)) => index,
            None => self.push(ty),
        }
    }

    /// Adds the type `T`, unless the table has it already, and returns its index. `build` describes the type, and may
    /// describe `T` itself as one of its parts.
    pub fn named<T: ?Sized>(&mut self, build: impl FnOnce(&mut Self) -> Type) -> TypeIndex {
        let name = std::any::type_name::<T>();
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        // The entry is added before the parts are described, so that a type may contain itself.
        let index = self.begin(name);
        self.types[index as usize] = build(self);
        self.unfinished.pop();
        index
    }

    /// Adds the type `T`, which is encoded as its only part, unless the table has it already, and returns its index.
    /// `build` describes the part, which may contain `T` itself.
    pub fn transparent<T: ?Sized>(&mut self, build: impl FnOnce(&mut Self) -> TypeIndex) -> TypeIndex {
        let name = std::any::type_name::<T>();
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        let own = self.begin(name);
        let part = build(self);
        self.unfinished.pop();
        if to_index(self.types.len() - 1) == own && part != own {
            // The table had the part already, perhaps unfinished, and nothing refers to the new entry.
            self.types.pop();
            self.by_name.insert(name, part);
            return part;
        }
        self.types[own as usize] = self.types[part as usize].clone();
        own
    }

    /// Returns the type at an index, or `None` beyond the end of the table.
    pub fn get(&self, index: TypeIndex) -> Option<&Type> {
        self.types.get(index as usize)
    }

    /// Returns all types in the order of their indices.
    pub fn into_types(self) -> Vec<Type> {
        self.types
    }

    /// Adds a placeholder for a type that is to be described.
    fn begin(&mut self, name: &'static str) -> TypeIndex {
        let index = self.push(Type::Unit);
        self.by_name.insert(name, index);
        self.unfinished.push(index);
        index
    }

    fn push(&mut self, ty: Type) -> TypeIndex {
        self.types.push(ty);
        to_index(self.types.len() - 1)
    }
}

/// Returns a hash of a type's form. Types whose descriptions differ only in the types' names and in docs have the same
/// fingerprint. It is computed once per type and thread,
/// unless a thread uses many types.
///
/// ```
/// use wpool_schema::fingerprint;
/// assert_eq!(fingerprint::<&str>(), fingerprint::<String>());
/// assert_ne!(fingerprint::<u32>(), fingerprint::<i32>());
/// ```
pub fn fingerprint<T: Schema + ?Sized>() -> u64 {
    let describe: Describe = T::describe;
    // Types that share a function have one description, so its address identifies the fingerprint. It is never zero.
    let address = describe as usize;
    FINGERPRINTS.with(|entries| {
        // A guest numbers its functions one by one, a native program aligns them to 16.
        let entry = &entries[(address ^ (address >> 4)) % entries.len()];
        let (known, fingerprint) = entry.get();
        if known == address {
            return fingerprint;
        }
        let fingerprint = compute_fingerprint(describe);
        entry.set((address, fingerprint));
        fingerprint
    })
}

thread_local! {
    /// The fingerprints computed last, each with the address of the function that describes its type.
    static FINGERPRINTS: [Cell<(usize, u64)>; 16] = const { [const { Cell::new((0, 0)) }; 16] };
}

fn compute_fingerprint(describe: Describe) -> u64 {
    let mut types = TypeTable::default();
    let root = describe(&mut types);
    fingerprint::of(&types.into_types(), &[root])
}

fn to_index(len: usize) -> TypeIndex {
    TypeIndex::try_from(len).expect("a program has fewer than 2^32 types")
}

/// Returns a field, for the derive macro.
pub fn field<T: Schema>(types: &mut TypeTable, name: &str, docs: &str) -> Field {
    Field { name: name.to_owned(), docs: docs.to_owned(), ty: T::describe(types) }
}

/// Returns a variant, for the derive macro.
pub fn variant(name: &str, docs: &str, data: VariantData) -> Variant {
    Variant { name: name.to_owned(), docs: docs.to_owned(), data }
}

/// Returns a variant without fields, for the derive macro.
pub fn unit_variant(name: &str, docs: &str) -> Variant {
    variant(name, docs, VariantData::Unit)
}

/// A function that describes one type: [`Schema::describe`].
type Describe = fn(&mut TypeTable) -> TypeIndex;

/// Returns the parameters of a task, from the name of each and the function that describes its type.
pub fn describe_params(types: &mut TypeTable, params: &[(&str, Describe)]) -> Vec<Field> {
    params
        .iter()
        .map(|(name, describe)| Field { name: (*name).to_owned(), docs: String::new(), ty: describe(types) })
        .collect()
}

macro_rules! leaves {
    ($($ty:ty => $leaf:ident),* $(,)?) => {
        $(impl Schema for $ty {
            fn describe(types: &mut TypeTable) -> TypeIndex {
                types.leaf(Type::$leaf)
            }
        })*
    };
}

leaves! {
    () => Unit, bool => Bool, char => Char, str => String, String => String,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, u128 => U128,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, i128 => I128,
    f32 => F32, f64 => F64,
    NonZeroU8 => U8, NonZeroU16 => U16, NonZeroU32 => U32, NonZeroU64 => U64,
    NonZeroI8 => I8, NonZeroI16 => I16, NonZeroI32 => I32, NonZeroI64 => I64,
}

/// A guest's `usize` has 32 bits, also where it is tested natively.
impl Schema for usize {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.leaf(Type::U32)
    }
}

/// A guest's `isize` has 32 bits, also where it is tested natively.
impl Schema for isize {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.leaf(Type::I32)
    }
}

macro_rules! transparent {
    ($($ty:ty),* $(,)?) => {
        $(impl<T: Schema + ?Sized> Schema for $ty {
            fn describe(types: &mut TypeTable) -> TypeIndex {
                T::describe(types)
            }
        })*
    };
}

transparent!(&T, Box<T>, Rc<T>, Arc<T>);

impl<T: Schema> Schema for Wrapping<T> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        T::describe(types)
    }
}

impl<T: Schema + ToOwned + ?Sized> Schema for Cow<'_, T> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        T::describe(types)
    }
}

impl<T: Schema> Schema for Option<T> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.named::<Self>(|types| Type::Option(T::describe(types)))
    }
}

/// A sequence; one of `u8` is bytes, as postcard encodes both alike.
fn describe_seq<T: Schema>(types: &mut TypeTable) -> TypeIndex {
    let item = T::describe(types);
    if types.get(item) == Some(&Type::U8) {
        return types.leaf(Type::Bytes);
    }
    types.leaf(Type::Seq(item))
}

macro_rules! sequences {
    ($($ty:ty),* $(,)?) => {
        $(impl<T: Schema> Schema for $ty {
            fn describe(types: &mut TypeTable) -> TypeIndex {
                describe_seq::<T>(types)
            }
        })*
    };
}

sequences!([T], Vec<T>, VecDeque<T>, BTreeSet<T>);

impl<T: Schema, S> Schema for HashSet<T, S> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        describe_seq::<T>(types)
    }
}

impl<T: Schema, const N: usize> Schema for [T; N] {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        let item = T::describe(types);
        types.leaf(Type::Array(item, to_index(N)))
    }
}

fn describe_map<K: Schema, V: Schema>(types: &mut TypeTable) -> TypeIndex {
    let (key, value) = (K::describe(types), V::describe(types));
    types.leaf(Type::Map(key, value))
}

impl<K: Schema, V: Schema> Schema for BTreeMap<K, V> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        describe_map::<K, V>(types)
    }
}

impl<K: Schema, V: Schema, S> Schema for HashMap<K, V, S> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        describe_map::<K, V>(types)
    }
}

/// As serde encodes it: an enum of `Ok` and `Err`.
impl<T: Schema, E: Schema> Schema for Result<T, E> {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.named::<Self>(|types| Type::Enum {
            name: "Result".to_owned(),
            variants: vec![
                variant("Ok", "", VariantData::Newtype(T::describe(types))),
                variant("Err", "", VariantData::Newtype(E::describe(types))),
            ],
        })
    }
}

/// As serde encodes it: seconds and nanoseconds.
impl Schema for Duration {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.named::<Self>(|types| Type::Struct {
            name: "Duration".to_owned(),
            fields: vec![field::<u64>(types, "secs", ""), field::<u32>(types, "nanos", "")],
        })
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {
        $(impl<$($name: Schema),+> Schema for ($($name,)+) {
            fn describe(types: &mut TypeTable) -> TypeIndex {
                let parts = vec![$($name::describe(types)),+];
                types.leaf(Type::Tuple(parts))
            }
        })*
    };
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of<T: Schema>() -> (TypeIndex, Vec<Type>) {
        let mut types = TypeTable::default();
        let root = T::describe(&mut types);
        (root, types.into_types())
    }

    #[test]
    fn a_sequence_of_u8_is_bytes() {
        let (root, types) = table_of::<Vec<u8>>();
        assert_eq!(types[root as usize], Type::Bytes);
        let (root, types) = table_of::<Vec<u16>>();
        assert_eq!(types[root as usize], Type::Seq(0));
    }

    #[test]
    fn a_fingerprint_from_the_cache_is_the_computed_one() {
        // More types than the cache has entries, each asked for twice in a row and again after the others.
        for _ in 0..2 {
            macro_rules! check {
                ($($ty:ty),*) => { $(
                    let computed = compute_fingerprint(<$ty>::describe);
                    assert_eq!((fingerprint::<$ty>(), fingerprint::<$ty>()), (computed, computed));
                )* };
            }
            check!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool, char, String, ());
            check!(Vec<u8>, Vec<u16>, Vec<u32>, [u8; 1], [u8; 2], [u8; 3], Option<u8>, (u8,), (u8, u8));
        }
    }

    #[test]
    fn nothing_is_not_the_type_that_it_is_in() {
        let (root, types) = table_of::<Option<()>>();
        assert_eq!(types, [Type::Option(1), Type::Unit]);
        assert_eq!(root, 0);
        let (root, types) = table_of::<Result<(), u8>>();
        let Type::Enum { variants, .. } = &types[root as usize] else { panic!("{types:?}") };
        assert_eq!(variants[0].data, VariantData::Newtype(1));
        assert_eq!(types[1], Type::Unit);
    }

    #[test]
    fn a_type_is_in_the_table_once() {
        let (_, types) = table_of::<(Option<u32>, Vec<Option<u32>>, Option<u32>)>();
        assert_eq!(types.iter().filter(|ty| matches!(ty, Type::Option(_))).count(), 1);
    }
}
