//! One value of any type, read from JSON.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use wpool_abi::{Field, Type, Variant, VariantData};
use wpool_wire::limits::Limits;
use wpool_wire::message::push_bytes;

use super::context::{Context, Step};
use super::map_keys::{is_object_key, push_key};
use super::numbers::{exact_in, push_float, push_integer, push_named_float};
use super::varint::{push_len, push_varint, zigzag};

/// Reads one value of a type, and appends it to `out`.
pub(super) struct Value<'a, 'o> {
    pub(super) context: Context<'a>,
    pub(super) ty: &'a Type,
    pub(super) out: &'o mut Vec<u8>,
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
                let index = (self.context.objects)(text, handle).map_err(E::custom)?;
                push_varint(self.out, index.into());
            }
            Type::Enum { variants, .. } => {
                let (index, variant) = find_variant(variants, text)?;
                if variant.data != VariantData::Unit {
                    return Err(E::custom(format!(
                        "variant `{text}` carries a value: write {{\"{text}\": …}}"
                    )));
                }
                push_varint(self.out, index as u128);
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
        /// A type of more options in one another is one that contains itself.
        const MAX_NESTED: usize = 128;
        // In a loop, because nested options have no text of their own whose depth would be limited.
        let mut ty = self.ty;
        for _ in 0..MAX_NESTED {
            let Type::Option(inner) = ty else {
                return Value { context: self.context, ty, out: self.out }.deserialize(deserializer);
            };
            self.out.push(1);
            ty = self.context.types.get(*inner);
        }
        Err(D::Error::custom(format!("the type has more than {MAX_NESTED} options in one another")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let (context, types) = (self.context, self.context.types);
        match self.ty {
            Type::Seq(item) => read_elements(context, types.get(*item), self.out, seq),
            Type::Bytes => read_elements(context, &Type::U8, self.out, seq),
            Type::Map(key, value) if !is_object_key(types.get(*key)) => {
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
            Type::Map(key, value) if is_object_key(types.get(*key)) => {
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
        if push_float(self.ty, value, self.out) { Ok(()) } else { Err(E::invalid_type(got, &self)) }
    }

    fn named_float<E: de::Error>(self, text: &str) -> Result<(), E> {
        if push_named_float(self.ty, text, self.out) {
            return Ok(());
        }
        Err(E::invalid_type(Unexpected::Str(text), &self))
    }
}

/// Reads a sequence of any length. Its length is inserted before the elements when it is known.
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
    insert_len(out, start, count);
    Ok(())
}

fn insert_len(out: &mut Vec<u8>, start: usize, len: usize) {
    let mut prefix = Vec::with_capacity(5);
    push_len(&mut prefix, len);
    out.splice(start..start, prefix);
}

/// Reads an array with one element for each of `types`.
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

/// Reads named fields in any order, and appends them in the order of `fields`. `step` is the kind of their path.
pub(super) fn read_fields<'de, A: MapAccess<'de>>(
    context: Context<'_>,
    fields: &[Field],
    out: &mut Vec<u8>,
    step: fn(String) -> Step,
    mut map: A,
) -> Result<(), A::Error> {
    // A field that is missing has a byte in the output and none in the text.
    if out.len() > context.most {
        return Err(A::Error::custom(format!("the value has more than {} bytes", Limits::MAX_PAYLOAD)));
    }
    // Most texts have the fields in order, and then each is appended at once. A field that comes early waits in `early`
    // for those before it.
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

/// Returns a list such as `` `a`, `b` or `c` ``, of the first names if they are long together.
fn one_of<'n>(names: impl Iterator<Item = &'n String>) -> String {
    const MAX_LIST: usize = 500;
    let (mut list, mut length) = (Vec::new(), 0);
    for name in names {
        length += name.len();
        if length > MAX_LIST {
            list.push("others".to_owned());
            break;
        }
        list.push(format!("`{name}`"));
    }
    match list.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// Reads a map from an object, in which each key stands once.
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
    insert_len(out, start, seen.len());
    Ok(())
}

/// Reads `{"Name": value}`.
fn read_variant<'de, A: MapAccess<'de>>(
    context: Context<'_>,
    variants: &[Variant],
    out: &mut Vec<u8>,
    mut map: A,
) -> Result<(), A::Error> {
    let Some(name) = map.next_key::<String>()? else {
        return Err(A::Error::custom("expected one variant, got none"));
    };
    let (index, variant) = find_variant(variants, &name)?;
    push_varint(out, index as u128);
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
