//! JSON into postcard: serde_json reads the text, the description says what to expect next.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use wpool_wire::message::push_bytes;

use base64::Engine as _;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use wpool_abi::{Field, HandleType, Type, TypeIndex, Variant, VariantData};

use super::{JsonError, Keys, keys_of, push_varint, zigzag};
use crate::guest::description::{Signature, Types};

/// Reads the arguments of one call from a text that holds nothing else, and appends them to `out`.
pub(crate) fn arguments_from_json(
    signature: &Signature,
    text: &[u8],
    out: &mut Vec<u8>,
    objects: Objects<'_>,
) -> Result<(), JsonError> {
    read_whole(signature.types(), text, out, objects, |context, out, deserializer| match signature.params() {
        [only] => Value { context, ty: context.types.get(only.ty), out }.deserialize(deserializer),
        params => Arguments { context, params, out }.deserialize(deserializer),
    })
}

/// Reads one value from a text that holds nothing else, and appends it to `out`.
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

/// Finds the object of a name, which must be of a type, and tells which place its handle has.
pub(crate) type Objects<'o> = &'o dyn Fn(&str, &HandleType) -> Result<u32, String>;

/// There are none.
pub(crate) fn no_objects(name: &str, _: &HandleType) -> Result<u32, String> {
    Err(format!("no shared object is named `{name}`"))
}

type JsonText<'t> = serde_json::Deserializer<serde_json::de::SliceRead<'t>>;

fn read_whole<'t>(
    types: &Types,
    text: &'t [u8],
    out: &mut Vec<u8>,
    objects: Objects<'_>,
    read: impl FnOnce(Context<'_>, &mut Vec<u8>, &mut JsonText<'t>) -> Result<(), serde_json::Error>,
) -> Result<(), JsonError> {
    let place = RefCell::new(Vec::new());
    let context = Context { types, place: &place, objects };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let before = out.len();
    let read = read(context, out, &mut deserializer);
    read.and_then(|()| {
        place.borrow_mut().clear();
        deserializer.end()
    })
    .map_err(|error| {
        out.truncate(before);
        describe_error(&error, &place.borrow())
    })
}

/// Where in the value the reader is.
enum Step {
    Field(String),
    Param(String),
    Index(usize),
}

#[derive(Clone, Copy)]
struct Context<'a> {
    types: &'a Types,
    place: &'a RefCell<Vec<Step>>,
    objects: Objects<'a>,
}

impl Context<'_> {
    /// Does something one step further down. After an error the place stays, so that it can be told.
    fn within<T, E>(&self, step: Step, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.place.borrow_mut().push(step);
        let value = read()?;
        self.place.borrow_mut().pop();
        Ok(value)
    }
}

/// Turns serde_json's message into ours: what was expected first, no position in the text.
fn describe_error(error: &serde_json::Error, place: &[Step]) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let wrong = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    let message = match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((got, expected)) => format!("expected {expected}, got {got}"),
        None => text.to_owned(),
    };
    let mut path = String::new();
    for step in place {
        match step {
            Step::Field(name) => path.push_str(&format!(".{name}")),
            Step::Param(name) => path.push_str(name),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    JsonError {
        message,
        path,
        line,
        column,
        syntax: error.is_syntax() || error.is_eof(),
        unknown_object: false,
    }
}

/// All arguments of a task that takes none or several.
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

/// One value of a type.
struct Value<'a, 'o> {
    context: Context<'a>,
    ty: &'a Type,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.ty {
            // serde_json reads integers of 128 bits only when it is asked for them.
            Type::U128 => deserializer.deserialize_u128(self),
            Type::I128 => deserializer.deserialize_i128(self),
            Type::Option(_) => deserializer.deserialize_option(self),
            Type::Json => {
                let raw = <&serde_json::value::RawValue as de::Deserialize>::deserialize(deserializer)?;
                push_bytes(self.out, raw.get().as_bytes());
                Ok(())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ty {
            Type::Bytes => f.write_str("bytes in base64"),
            Type::Unit => f.write_str("null"),
            Type::String => f.write_str("string"),
            Type::Char => f.write_str("one character"),
            _ => f.write_str(&self.context.types.name(self.ty)),
        }
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        if *self.ty != Type::Bool {
            return Err(E::invalid_type(Unexpected::Bool(value), &self));
        }
        self.out.push(u8::from(value));
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Signed(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<(), E> {
        match (self.ty, i128::try_from(value)) {
            (Type::U128, _) => push_varint(self.out, value),
            (Type::I128, Ok(value)) => push_varint(self.out, zigzag(value)),
            _ => return Err(E::invalid_value(Unexpected::Other("a larger integer"), &self)),
        }
        Ok(())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<(), E> {
        match (self.ty, u128::try_from(value)) {
            (Type::I128, _) => push_varint(self.out, zigzag(value)),
            (Type::U128, Ok(value)) => push_varint(self.out, value),
            _ => return Err(E::invalid_value(Unexpected::Other("a negative integer"), &self)),
        }
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.float(value, Unexpected::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.ty {
            Type::String => push_bytes(self.out, text.as_bytes()),
            Type::Char if text.chars().count() == 1 => push_bytes(self.out, text.as_bytes()),
            Type::Bytes => match base64::prelude::BASE64_STANDARD.decode(text) {
                Ok(bytes) => push_bytes(self.out, &bytes),
                Err(_) => return Err(E::invalid_value(Unexpected::Str(text), &self)),
            },
            Type::F32 | Type::F64 => return self.named_float(text),
            Type::Handle(handle) => {
                let place = (self.context.objects)(text, handle).map_err(E::custom)?;
                push_varint(self.out, place.into());
            }
            Type::Enum { variants, .. } => {
                let (number, variant) = find_variant(variants, text)?;
                if variant.data != VariantData::Unit {
                    return Err(E::custom(format!(
                        "variant `{text}` carries a value: write {{\"{text}\": …}}"
                    )));
                }
                push_varint(self.out, number as u128);
            }
            _ => return Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self.ty {
            Type::Unit => Ok(()),
            _ => Err(E::invalid_type(Unexpected::Other("null"), &self)),
        }
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.out.push(0);
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Type::Option(inner) = self.ty else {
            return Err(D::Error::invalid_type(Unexpected::Option, &self));
        };
        self.out.push(1);
        Value { context: self.context, ty: self.context.types.get(*inner), out: self.out }
            .deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let (context, types) = (self.context, self.context.types);
        match self.ty {
            Type::Seq(item) => read_elements(context, types.get(*item), self.out, seq),
            Type::Bytes => read_elements(context, &Type::U8, self.out, seq),
            Type::Map(key, value) if matches!(keys_of(types, *key), Keys::Pairs) => {
                read_elements(context, &Type::Tuple(vec![*key, *value]), self.out, seq)
            }
            Type::Tuple(parts) => {
                read_parts(context, parts.iter().map(|&part| types.get(part)), self.out, seq)
            }
            Type::Array(item, len) => {
                read_parts(context, std::iter::repeat_n(types.get(*item), *len as usize), self.out, seq)
            }
            _ => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let (context, types) = (self.context, self.context.types);
        match self.ty {
            Type::Struct { fields, .. } => read_fields(context, fields, self.out, Step::Field, map),
            Type::Map(key, value) if !matches!(keys_of(types, *key), Keys::Pairs) => {
                read_map(context, types.get(*key), types.get(*value), self.out, map)
            }
            Type::Enum { variants, .. } => read_variant(context, variants, self.out, map),
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }
}

impl Value<'_, '_> {
    fn integer<E: de::Error>(self, value: i128, got: Unexpected<'_>) -> Result<(), E> {
        if push_integer(self.ty, value, self.out) {
            return Ok(());
        }
        match self.ty {
            // An integer becomes a float only if no digit is lost.
            Type::F64 if exact_in::<53>(value) => self.float(value as f64, got),
            Type::F32 if exact_in::<24>(value) => self.float(value as f64, got),
            _ => Err(E::invalid_value(got, &self)),
        }
    }

    fn float<E: de::Error>(self, value: f64, got: Unexpected<'_>) -> Result<(), E> {
        match self.ty {
            Type::F64 => self.out.extend_from_slice(&value.to_le_bytes()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the nearest float of 32 bits is what is meant"
            )]
            Type::F32 if (value as f32).is_finite() => {
                self.out.extend_from_slice(&(value as f32).to_le_bytes());
            }
            _ => return Err(E::invalid_type(got, &self)),
        }
        Ok(())
    }

    fn named_float<E: de::Error>(self, text: &str) -> Result<(), E> {
        let value = match text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(E::invalid_type(Unexpected::Str(text), &self)),
        };
        match self.ty {
            Type::F64 => self.out.extend_from_slice(&value.to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "these three are the same in both sizes")]
            _ => self.out.extend_from_slice(&(value as f32).to_le_bytes()),
        }
        Ok(())
    }
}

/// Whether an integer has no more than so many binary digits between its first and its last one.
fn exact_in<const DIGITS: u32>(value: i128) -> bool {
    let magnitude = value.unsigned_abs();
    magnitude == 0 || u128::BITS - magnitude.leading_zeros() - magnitude.trailing_zeros() <= DIGITS
}

/// Appends an integer if the type is one that holds it.
fn push_integer(ty: &Type, value: i128, out: &mut Vec<u8>) -> bool {
    fn fits<T: TryFrom<i128>>(value: i128) -> bool {
        T::try_from(value).is_ok()
    }
    match ty {
        // Single bytes are written as they are.
        Type::U8 if fits::<u8>(value) => out.push(value.to_le_bytes()[0]),
        Type::I8 if fits::<i8>(value) => out.push(value.to_le_bytes()[0]),
        Type::U16 if fits::<u16>(value) => push_varint(out, value.cast_unsigned()),
        Type::U32 if fits::<u32>(value) => push_varint(out, value.cast_unsigned()),
        Type::U64 if fits::<u64>(value) => push_varint(out, value.cast_unsigned()),
        Type::U128 if fits::<u128>(value) => push_varint(out, value.cast_unsigned()),
        Type::I16 if fits::<i16>(value) => push_varint(out, zigzag(value)),
        Type::I32 if fits::<i32>(value) => push_varint(out, zigzag(value)),
        Type::I64 if fits::<i64>(value) => push_varint(out, zigzag(value)),
        Type::I128 => push_varint(out, zigzag(value)),
        _ => return false,
    }
    true
}

/// Any number of elements: how many there are is written before them, once it is known.
fn read_elements<'de, A: SeqAccess<'de>>(
    context: Context<'_>,
    ty: &Type,
    out: &mut Vec<u8>,
    mut seq: A,
) -> Result<(), A::Error> {
    let start = out.len();
    let mut count = 0;
    while context
        .within(Step::Index(count), || seq.next_element_seed(Value { context, ty, out: &mut *out }))?
        .is_some()
    {
        count += 1;
    }
    insert_count(out, start, count);
    Ok(())
}

fn insert_count(out: &mut Vec<u8>, start: usize, count: usize) {
    let mut prefix = Vec::with_capacity(5);
    push_varint(&mut prefix, count as u128);
    out.splice(start..start, prefix);
}

/// A fixed number of elements.
fn read_parts<'de, 'a, A: SeqAccess<'de>>(
    context: Context<'a>,
    types: impl ExactSizeIterator<Item = &'a Type>,
    out: &mut Vec<u8>,
    mut seq: A,
) -> Result<(), A::Error> {
    let wanted = types.len();
    for (index, ty) in types.enumerate() {
        let read = context
            .within(Step::Index(index), || seq.next_element_seed(Value { context, ty, out: &mut *out }))?;
        if read.is_none() {
            let elements = if index == 1 { "element" } else { "elements" };
            return Err(A::Error::custom(format!("expected an array of {wanted}, got {index} {elements}")));
        }
    }
    match seq.next_element::<de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom(format!("expected an array of {wanted}, got more"))),
    }
}

/// Named fields in any order. They are written in the order of the description.
fn read_fields<'de, A: MapAccess<'de>>(
    context: Context<'_>,
    fields: &[Field],
    out: &mut Vec<u8>,
    step: fn(String) -> Step,
    mut map: A,
) -> Result<(), A::Error> {
    // Most texts have the fields in order, and then they are written in place. One that comes early
    // waits in `early` for those before it.
    let mut early: Vec<Option<Vec<u8>>> = vec![None; fields.len()];
    let mut next = 0;
    while let Some(name) = map.next_key::<String>()? {
        let Some(index) = fields.iter().position(|field| field.name == name) else {
            return Err(A::Error::custom(format!(
                "unknown field `{name}`, expected {}",
                one_of(fields.iter().map(|field| &field.name))
            )));
        };
        if index < next || early[index].is_some() {
            return Err(A::Error::custom(format!("duplicate field `{name}`")));
        }
        let ty = context.types.get(fields[index].ty);
        let mut aside = Vec::new();
        let target = if index == next { &mut *out } else { &mut aside };
        context.within(step(name), || map.next_value_seed(Value { context, ty, out: target }))?;
        if index != next {
            early[index] = Some(aside);
            continue;
        }
        next += 1;
        while let Some(Some(bytes)) = early.get_mut(next).map(Option::take) {
            out.extend_from_slice(&bytes);
            next += 1;
        }
    }
    for (field, bytes) in fields.iter().zip(early).skip(next) {
        match (bytes, context.types.get(field.ty)) {
            (Some(bytes), _) => out.extend_from_slice(&bytes),
            (None, Type::Option(_)) => out.push(0),
            (None, _) => return Err(A::Error::custom(format!("missing field `{}`", field.name))),
        }
    }
    Ok(())
}

/// `` `a`, `b` or `c` ``.
fn one_of<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// Keys and values of an object, each key once.
fn read_map<'de, A: MapAccess<'de>>(
    context: Context<'_>,
    key: &Type,
    value: &Type,
    out: &mut Vec<u8>,
    mut map: A,
) -> Result<(), A::Error> {
    let start = out.len();
    let mut seen = HashSet::new();
    while let Some(name) = map.next_key::<String>()? {
        if !push_key(key, &name, out) {
            let expected = context.types.name(key);
            return Err(A::Error::custom(format!("expected {expected} as a key, got {name:?}")));
        }
        context.within(Step::Field(name.clone()), || {
            map.next_value_seed(Value { context, ty: value, out: &mut *out })
        })?;
        if let Some(name) = seen.replace(name) {
            return Err(A::Error::custom(format!("duplicate key `{name}`")));
        }
    }
    insert_count(out, start, seen.len());
    Ok(())
}

fn push_key(key: &Type, name: &str, out: &mut Vec<u8>) -> bool {
    match key {
        Type::String => push_bytes(out, name.as_bytes()),
        Type::Char if name.chars().count() == 1 => push_bytes(out, name.as_bytes()),
        Type::U128 => match name.parse() {
            Ok(value) => push_varint(out, value),
            Err(_) => return false,
        },
        _ => return name.parse().is_ok_and(|value| push_integer(key, value, out)),
    }
    true
}

/// `{"Name": value}`.
fn read_variant<'de, A: MapAccess<'de>>(
    context: Context<'_>,
    variants: &[Variant],
    out: &mut Vec<u8>,
    mut map: A,
) -> Result<(), A::Error> {
    let Some(name) = map.next_key::<String>()? else {
        return Err(A::Error::custom("expected one variant, got none"));
    };
    let (number, variant) = find_variant(variants, &name)?;
    push_varint(out, number as u128);
    let inline = match &variant.data {
        VariantData::Unit => Type::Unit,
        VariantData::Newtype(inner) => context.types.get(*inner).clone(),
        VariantData::Tuple(parts) => Type::Tuple(parts.clone()),
        VariantData::Struct(fields) => Type::Struct { name: name.clone(), fields: fields.clone() },
    };
    context
        .within(Step::Field(name), || map.next_value_seed(Value { context, ty: &inline, out: &mut *out }))?;
    match map.next_key::<de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("expected one variant, got more")),
    }
}

fn find_variant<'v, E: de::Error>(variants: &'v [Variant], name: &str) -> Result<(usize, &'v Variant), E> {
    variants.iter().enumerate().find(|(_, variant)| variant.name == name).ok_or_else(|| {
        let expected = one_of(variants.iter().map(|variant| &variant.name));
        E::custom(format!("unknown variant `{name}`, expected {expected}"))
    })
}
