//! The walk over a value's bytes by the description of its type, before serde builds the value: it bounds the depth and
//! the number of parts, which serde does not.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use wpool_abi::{Type, TypeIndex, VariantData};

use crate::{Describe, Schema, TypeTable};

/// The depth to which values may be nested. serde_json has the same limit for texts.
pub const MAX_DEPTH: usize = 128;

/// The parts that a value may have for each of its bytes, and beside them. Without a limit a few bytes could become any
/// number of parts that need no bytes, such as `()`.
const PARTS_PER_BYTE: usize = 16;
const FREE_PARTS: usize = 100_000;

/// Returns the number of parts that a value of `len` bytes may have.
pub fn max_parts(len: usize) -> usize {
    len.saturating_mul(PARTS_PER_BYTE).saturating_add(FREE_PARTS)
}

/// Why a value is not decoded, though its type may allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Excess {
    /// It is nested deeper than [`MAX_DEPTH`].
    Depth,
    /// It has more than [`max_parts`].
    Parts,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Depth => write!(f, "nested deeper than {MAX_DEPTH}"),
            Excess::Parts => f.write_str("more values than its bytes can hold"),
        }
    }
}

/// Checks that the bytes of a `T` in postcard are neither nested too deep nor of too many parts. Most types cannot be:
/// then it looks at no byte. Bytes that are no `T` at all are left to the decoder.
///
/// # Errors
/// The first excess.
///
/// ```
/// use wpool_schema::{Excess, check_bounds};
/// let two_to_the_60 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
/// assert_eq!(check_bounds::<Vec<()>>(&two_to_the_60), Err(Excess::Parts));
/// assert_eq!(check_bounds::<Vec<u8>>(&[2, 7, 7]), Ok(()));
/// ```
pub fn check_bounds<T: Schema + ?Sized>(bytes: &[u8]) -> Result<(), Excess> {
    match unbounded_form(T::describe) {
        None => Ok(()),
        Some(form) => form.check(bytes),
    }
}

/// The description of a type whose values may be nested to any depth, or have any number of parts.
#[derive(Debug)]
struct Form {
    types: Vec<Type>,
    root: TypeIndex,
}

/// A type, by the address of the function that describes it, and its form if its values have no bounds of their own.
type Known = (usize, Option<Rc<Form>>);

thread_local! {
    /// The types that were checked last.
    static KNOWN: RefCell<[Known; 16]> = const { RefCell::new([const { (0, None) }; 16]) };
}

/// Returns the form of a type whose values have no bounds of their own, `None` for all others.
fn unbounded_form(describe: Describe) -> Option<Rc<Form>> {
    // Types that share a function have one description, so its address identifies the form. It is never zero.
    let address = describe as usize;
    let slot = (address ^ (address >> 4)) % 16;
    if let Some(known) = KNOWN.with_borrow(|known| (known[slot].0 == address).then(|| known[slot].1.clone()))
    {
        return known;
    }
    let mut types = TypeTable::default();
    let root = describe(&mut types);
    let form = Form { types: types.into_types(), root };
    let form = (!form.is_bounded()).then(|| Rc::new(form));
    KNOWN.with_borrow_mut(|known| known[slot] = (address, form.clone()));
    form
}

/// The state of a type while the graph of types is searched.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Unseen,
    /// It is on the path from the root.
    Open,
    /// Its values have bounds; whether they need no bytes.
    Closed {
        is_empty: bool,
    },
}

impl Form {
    /// Whether no value is nested deeper than the type, nor has parts that need no bytes.
    fn is_bounded(&self) -> bool {
        self.close(self.root, &mut vec![Mark::Unseen; self.types.len()]).is_some()
    }

    /// Returns whether the values of a type need no bytes, `None` if they have no bounds.
    fn close(&self, index: TypeIndex, marks: &mut [Mark]) -> Option<bool> {
        match marks.get(index as usize)? {
            Mark::Open => return None,
            Mark::Closed { is_empty } => return Some(*is_empty),
            Mark::Unseen => marks[index as usize] = Mark::Open,
        }
        let is_empty = match &self.types[index as usize] {
            Type::Unit => true,
            Type::Option(item) => self.close(*item, marks).map(|_| false)?,
            Type::Seq(item) => (!self.close(*item, marks)?).then_some(false)?,
            Type::Map(key, value) => {
                let (key, value) = (self.close(*key, marks)?, self.close(*value, marks)?);
                (!key || !value).then_some(false)?
            }
            Type::Array(item, len) => self.close(*item, marks)? || *len == 0,
            Type::Tuple(items) => self.close_all(items.iter().copied(), marks)?,
            Type::Struct { fields, .. } => self.close_all(fields.iter().map(|field| field.ty), marks)?,
            Type::Enum { variants, .. } => {
                for variant in variants {
                    match &variant.data {
                        VariantData::Unit => {}
                        VariantData::Newtype(item) => {
                            self.close(*item, marks)?;
                        }
                        VariantData::Tuple(items) => {
                            self.close_all(items.iter().copied(), marks)?;
                        }
                        VariantData::Struct(fields) => {
                            self.close_all(fields.iter().map(|field| field.ty), marks)?;
                        }
                    }
                }
                false
            }
            _ => false,
        };
        marks[index as usize] = Mark::Closed { is_empty };
        Some(is_empty)
    }

    fn close_all(&self, items: impl Iterator<Item = TypeIndex>, marks: &mut [Mark]) -> Option<bool> {
        let mut are_empty = true;
        for item in items {
            are_empty &= self.close(item, marks)?;
        }
        Some(are_empty)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Excess> {
        let mut walk = Walk { types: &self.types, rest: bytes, parts: max_parts(bytes.len()) };
        match walk.value(self.root, 0) {
            Err(Stop::Excess(excess)) => Err(excess),
            Ok(()) | Err(Stop::NoValue) => Ok(()),
        }
    }
}

/// The end of a walk before the end of the value.
enum Stop {
    Excess(Excess),
    /// The bytes are no value of the type: the decoder says why.
    NoValue,
}

struct Walk<'a> {
    types: &'a [Type],
    rest: &'a [u8],
    /// The number of parts that the value may still have.
    parts: usize,
}

impl Walk<'_> {
    fn value(&mut self, index: TypeIndex, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Excess(Excess::Depth));
        }
        self.parts = self.parts.checked_sub(1).ok_or(Stop::Excess(Excess::Parts))?;
        let types = self.types;
        let ty = types.get(index as usize).ok_or(Stop::NoValue)?;
        match ty {
            Type::Unit => Ok(()),
            Type::Bool | Type::U8 | Type::I8 => self.skip(1),
            Type::F32 => self.skip(4),
            Type::F64 => self.skip(8),
            Type::Char | Type::String | Type::Bytes | Type::Json => {
                let len = self.len()?;
                self.skip(len)
            }
            Type::Option(item) => match self.number()? {
                0 => Ok(()),
                _ => self.value(*item, depth + 1),
            },
            Type::Seq(item) => {
                let count = self.len()?;
                self.values(std::iter::repeat_n(*item, count), depth)
            }
            Type::Map(key, value) => {
                for _ in 0..self.len()? {
                    self.values([*key, *value].into_iter(), depth)?;
                }
                Ok(())
            }
            Type::Array(item, len) => self.values(std::iter::repeat_n(*item, *len as usize), depth),
            Type::Tuple(items) => self.values(items.iter().copied(), depth),
            Type::Struct { fields, .. } => self.values(fields.iter().map(|field| field.ty), depth),
            Type::Enum { variants, .. } => {
                let number = usize::try_from(self.number()?).map_err(|_| Stop::NoValue)?;
                match &variants.get(number).ok_or(Stop::NoValue)?.data {
                    VariantData::Unit => Ok(()),
                    VariantData::Newtype(item) => self.value(*item, depth + 1),
                    VariantData::Tuple(items) => self.values(items.iter().copied(), depth),
                    VariantData::Struct(fields) => self.values(fields.iter().map(|field| field.ty), depth),
                }
            }
            _ => self.number().map(drop),
        }
    }

    fn values(&mut self, mut items: impl Iterator<Item = TypeIndex>, depth: usize) -> Result<(), Stop> {
        items.try_for_each(|item| self.value(item, depth + 1))
    }

    fn skip(&mut self, len: usize) -> Result<(), Stop> {
        self.rest = self.rest.get(len..).ok_or(Stop::NoValue)?;
        Ok(())
    }

    fn len(&mut self) -> Result<usize, Stop> {
        usize::try_from(self.number()?).map_err(|_| Stop::NoValue)
    }

    /// Reads an unsigned integer of variable length.
    fn number(&mut self) -> Result<u128, Stop> {
        let mut value = 0;
        for shift in (0..128).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Stop::NoValue)?;
            self.rest = rest;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::NoValue)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A tree, whose type contains itself.
    struct Tree;

    impl Schema for Tree {
        fn describe(types: &mut TypeTable) -> TypeIndex {
            types.named::<Self>(|types| {
                let children = Vec::<Tree>::describe(types);
                Type::Tuple(vec![children])
            })
        }
    }

    #[test]
    fn most_types_have_bounds_of_their_own() {
        assert!(unbounded_form(Vec::<(u8, Option<String>, BTreeMap<u32, [u8; 4]>)>::describe).is_none());
        assert!(unbounded_form(<((), [(); 3], Option<()>)>::describe).is_none());
        assert!(unbounded_form(Vec::<Option<()>>::describe).is_none(), "an option has a byte");
        assert!(unbounded_form(Vec::<((), [u8; 0])>::describe).is_some());
        assert!(unbounded_form(BTreeMap::<(), ()>::describe).is_some());
        assert!(unbounded_form(<(u8, Vec<Tree>)>::describe).is_some());
        // The answer is kept, and belongs to its type.
        assert!(
            unbounded_form(Vec::<()>::describe).is_some() && unbounded_form(Vec::<u8>::describe).is_none()
        );
    }

    #[test]
    fn a_value_has_a_greatest_depth() {
        // A tree is a sequence in a tuple: two levels.
        let line = |levels: usize| [vec![1; levels - 1], vec![0]].concat();
        assert_eq!(check_bounds::<Tree>(&line(MAX_DEPTH / 2)), Ok(()));
        assert_eq!(check_bounds::<Tree>(&line(MAX_DEPTH / 2 + 2)), Err(Excess::Depth));
        assert_eq!(check_bounds::<Tree>(&line(1_000_000)), Err(Excess::Depth));
    }

    #[test]
    fn a_value_has_a_greatest_number_of_parts() {
        let count = |count: usize| {
            let mut bytes = Vec::new();
            let mut rest = count;
            while rest > 0x7f {
                bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
                rest >>= 7;
            }
            bytes.push(u8::try_from(rest).unwrap());
            bytes
        };
        assert_eq!(check_bounds::<Vec<()>>(&count(FREE_PARTS)), Ok(()));
        assert_eq!(check_bounds::<Vec<()>>(&count(2 * FREE_PARTS)), Err(Excess::Parts));
        assert_eq!(check_bounds::<Vec<[(); 32]>>(&count(FREE_PARTS / 16)), Err(Excess::Parts));
    }

    #[test]
    fn bytes_of_another_type_are_left_to_the_decoder() {
        for bytes in [&[][..], &[0x80], &[200, 1], &[0xff; 40]] {
            assert_eq!(check_bounds::<Vec<Tree>>(bytes), Ok(()), "{bytes:?}");
        }
    }
}
