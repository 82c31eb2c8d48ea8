//! [`Schema`]: how a type is written in postcard, so that a host can read JSON as that type, and compare a
//! guest's types with its own.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod fingerprint;

pub use self::fingerprint::of as fingerprint_of;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, Wrapping,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wpool_abi::{Field, Type, TypeIndex, Variant, VariantData};

/// A type that the guest's description can express.
///
/// Derive it beside serde's traits. The derive reads the `#[serde(…)]` attributes too: it follows
/// `rename` and `rename_all`, and refuses those that would make the JSON differ from the description
/// (`flatten`, `tag`, `untagged`, `skip` …), so that a value is never read as something else.
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
    /// Adds this type, and those that it consists of, to the table, and returns its place there.
    fn describe(types: &mut TypeTable) -> TypeIndex;
}

/// The types of one task, each once.
#[derive(Debug, Default)]
pub struct TypeTable {
    types: Vec<Type>,
    by_name: BTreeMap<&'static str, TypeIndex>,
}

impl TypeTable {
    /// Adds a type that refers to no other.
    pub fn leaf(&mut self, ty: Type) -> TypeIndex {
        match self.types.iter().position(|known| *known == ty) {
            Some(place) => index(place),
            None => self.push(ty),
        }
    }

    /// Adds the type `T` once: `build` describes it, and may refer to `T` itself.
    pub fn named<T: ?Sized>(&mut self, build: impl FnOnce(&mut Self) -> Type) -> TypeIndex {
        let name = std::any::type_name::<T>();
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        // The place is taken before the parts are described, so that a type may contain itself.
        let place = self.push(Type::Unit);
        self.by_name.insert(name, place);
        self.types[place as usize] = build(self);
        place
    }

    /// The type at a place in the table.
    pub fn get(&self, place: TypeIndex) -> Option<&Type> {
        self.types.get(place as usize)
    }

    /// All types, by their places.
    pub fn into_types(self) -> Vec<Type> {
        self.types
    }

    fn push(&mut self, ty: Type) -> TypeIndex {
        self.types.push(ty);
        index(self.types.len() - 1)
    }
}

/// A number that stands for a type's form: two types that are written alike, with the same names of fields and
/// variants, have the same. What the types themselves are called does not count.
///
/// ```
/// use wpool_schema::fingerprint;
/// assert_eq!(fingerprint::<&str>(), fingerprint::<String>());
/// assert_ne!(fingerprint::<u32>(), fingerprint::<i32>());
/// ```
pub fn fingerprint<T: Schema + ?Sized>() -> u64 {
    let mut types = TypeTable::default();
    let root = T::describe(&mut types);
    fingerprint::of(&types.into_types(), &[root])
}

fn index(place: usize) -> TypeIndex {
    TypeIndex::try_from(place).expect("a program has fewer than 2^32 types")
}

/// One field, as the derive macro makes it.
pub fn field<T: Schema>(types: &mut TypeTable, name: &str, docs: &str) -> Field {
    Field { name: name.to_owned(), docs: docs.to_owned(), ty: T::describe(types) }
}

/// One variant, as the derive macro makes it.
pub fn variant(name: &str, docs: &str, data: VariantData) -> Variant {
    Variant { name: name.to_owned(), docs: docs.to_owned(), data }
}

/// One variant that carries nothing.
pub fn unit_variant(name: &str, docs: &str) -> Variant {
    variant(name, docs, VariantData::Unit)
}

/// What describes one type.
type Describe = fn(&mut TypeTable) -> TypeIndex;

/// The parameters of a task, from the functions that describe one each.
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

/// A guest's `usize` has 32 bits, whatever it is where the guest is tested.
impl Schema for usize {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.leaf(Type::U32)
    }
}

/// A guest's `isize` has 32 bits, whatever it is where the guest is tested.
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

/// A sequence. One of `u8` is bytes: postcard writes both alike, and bytes are what is meant.
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
        types.leaf(Type::Array(item, index(N)))
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

/// As serde has it: an enum of `Ok` and `Err`.
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

/// As serde has it: seconds and nanoseconds.
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
    fn a_type_stands_in_the_table_once() {
        let (_, types) = table_of::<(Option<u32>, Vec<Option<u32>>, Option<u32>)>();
        assert_eq!(types.iter().filter(|ty| matches!(ty, Type::Option(_))).count(), 1);
    }
}
