//! JSON into postcard: serde_json reads the text, and the types say what it has to be.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use wpool_abi::{Field, TypeIndex};
use wpool_wire::limits::Limits;

use super::context::{Context, Objects, Step, describe_error, no_objects};
use super::error::JsonError;
use super::value::{Value, read_fields};
use crate::guest::types::Types;

/// Reads the arguments of one call, which are the whole text, and appends them to `out`.
pub(crate) fn arguments_from_json(
    types: &Types,
    params: &[Field],
    text: &[u8],
    out: &mut Vec<u8>,
    objects: Objects<'_>,
) -> Result<(), JsonError> {
    read_whole(types, text, out, objects, |context, out, deserializer| match params {
        [only] => Value { context, ty: context.types.get(only.ty), out }.deserialize(deserializer),
        params => Arguments { context, params, out }.deserialize(deserializer),
    })
}

/// Reads one value, which is the whole text, and appends it to `out`.
pub(crate) fn value_from_json(
    types: &Types,
    ty: TypeIndex,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    read_whole(types, text, out, &no_objects, |context, out, deserializer| {
        Value { context, ty: types.get(ty), out }.deserialize(deserializer)
    })
}

type JsonText<'t> = serde_json::Deserializer<serde_json::de::SliceRead<'t>>;

/// Reads a text to its end. After an error `out` has its old length.
fn read_whole<'t>(
    types: &Types,
    text: &'t [u8],
    out: &mut Vec<u8>,
    objects: Objects<'_>,
    read: impl FnOnce(Context<'_>, &mut Vec<u8>, &mut JsonText<'t>) -> Result<(), serde_json::Error>,
) -> Result<(), JsonError> {
    let path = RefCell::new(Vec::new());
    let most = out.len() + Limits::MAX_PAYLOAD as usize;
    let context = Context { types, path: &path, objects, most };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let before = out.len();
    let whole = read(context, out, &mut deserializer).and_then(|()| {
        path.borrow_mut().clear();
        deserializer.end()
    });
    whole.map_err(|error| {
        out.truncate(before);
        describe_error(&error, &path.borrow())
    })
}

/// The arguments of a task without parameters or with several.
struct Arguments<'a, 'o> {
    context: Context<'a>,
    params: &'a [Field],
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Arguments<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Arguments<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.params.len() {
            0 => f.write_str("null or []"),
            count => write!(f, "an array of {count} arguments or an object with their names"),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.params.is_empty() { Ok(()) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (context, count) = (self.context, self.params.len());
        for (index, param) in self.params.iter().enumerate() {
            let read = context.within(Step::Param(param.name.clone()), || {
                seq.next_element_seed(Value { context, ty: context.types.get(param.ty), out: &mut *self.out })
            })?;
            if read.is_none() {
                return Err(A::Error::custom(format!("expected {count} arguments, got {index}")));
            }
        }
        match seq.next_element::<de::IgnoredAny>()? {
            None => Ok(()),
            Some(_) if count == 0 => Err(A::Error::custom("expected no arguments, got some")),
            Some(_) => Err(A::Error::custom(format!("expected {count} arguments, got more"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        read_fields(self.context, self.params, self.out, Step::Param, map)
    }
}
