//! postcard into JSON: the bytes are a guest's, so every length is checked and the output is bounded.

use base64::display::Base64Display;
use wpool_abi::{Field, Type, TypeIndex, VariantData};
use wpool_schema::{Excess, MAX_DEPTH};

use super::error::ValueError;
use super::map_keys::is_object_key;
use super::varint::unzigzag;
use crate::guest::types::Types;

/// The bytes that the JSON of a value may have for each of its bytes, and beside them. Without a limit a part of one byte
/// could become a text of any length: the name of a field or a variant, which the guest has chosen.
const TEXT_PER_BYTE: usize = 64;
const FREE_TEXT: usize = 16 << 20;

/// Appends the JSON of a value that fills `bytes`.
pub(crate) fn value_to_json(
    types: &Types,
    ty: TypeIndex,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let most = out.len() + bytes.len() * TEXT_PER_BYTE + FREE_TEXT;
    let mut reader = Reader { types, rest: bytes, parts: wpool_schema::max_parts(bytes.len()), most };
    reader.value(types.get(ty), 0, out)?;
    match reader.rest {
        [] => Ok(()),
        rest => Err(ValueError(format!("{} bytes are left over", rest.len()))),
    }
}

struct Reader<'a> {
    types: &'a Types,
    rest: &'a [u8],
    /// The number of parts that the value may still have.
    parts: usize,
    /// The length that the output may have.
    most: usize,
}

type Result<T, E = ValueError> = std::result::Result<T, E>;

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(ValueError(message.into()))
}

impl<'a> Reader<'a> {
    fn value(&mut self, ty: &Type, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        if depth > MAX_DEPTH {
            return wrong(Excess::Depth.to_string());
        }
        self.parts = match self.parts.checked_sub(1) {
            Some(parts) => parts,
            None => return wrong(Excess::Parts.to_string()),
        };
        if out.len() > self.most {
            return wrong("its JSON is far longer than its bytes");
        }
        match ty {
            Type::Unit => out.extend_from_slice(b"null"),
            Type::Bool => match self.byte()? {
                0 => out.extend_from_slice(b"false"),
                1 => out.extend_from_slice(b"true"),
                other => return wrong(format!("a bool of {other}")),
            },
            Type::F32 => self.float32(out)?,
            Type::F64 => self.float64(out)?,
            Type::Char => push_string(out, self.character()?),
            Type::String => push_string(out, self.text()?),
            Type::Bytes => {
                let encoded = Base64Display::new(self.bytes()?, &base64::prelude::BASE64_STANDARD);
                out.extend_from_slice(format!("\"{encoded}\"").as_bytes());
            }
            Type::Json => self.json(out)?,
            Type::Handle(_) => return wrong("a handle has no form in JSON"),
            Type::Option(inner) => match self.byte()? {
                0 => out.extend_from_slice(b"null"),
                1 => self.value(self.types.get(*inner), depth + 1, out)?,
                other => return wrong(format!("an option of {other}")),
            },
            Type::Seq(item) => {
                let count = self.count()?;
                self.elements(std::iter::repeat_n(*item, count), depth, out)?;
            }
            Type::Tuple(parts) => self.elements(parts.iter().copied(), depth, out)?,
            Type::Array(item, len) => self.elements(std::iter::repeat_n(*item, *len as usize), depth, out)?,
            Type::Map(key, value) => self.map(*key, *value, depth, out)?,
            Type::Struct { fields, .. } => self.fields(fields, depth, out)?,
            Type::Enum { .. } => self.variant(ty, depth, out)?,
            integer => self.integer(integer, out)?,
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => wrong(format!("{len} bytes are wanted where {} are left", self.rest.len())),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads an unsigned integer of at most `bits` bits.
    fn varint(&mut self, bits: u32) -> Result<u128> {
        let mut value: u128 = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7f);
            if shift >= bits || (bits - shift < 7 && low >> (bits - shift) != 0) {
                return wrong(format!("a number of more than {bits} bits"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// Reads the length of a sequence or a map. A length that exceeds the remaining parts is refused at once.
    fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.varint(64)?).unwrap_or(usize::MAX);
        if count > self.parts { wrong(Excess::Parts.to_string()) } else { Ok(count) }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.varint(64)?).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ValueError("a string that is not UTF-8".to_owned()))
    }

    fn character(&mut self) -> Result<&'a str> {
        let text = self.text()?;
        if text.chars().count() == 1 { Ok(text) } else { wrong("a character that is not one") }
    }

    fn integer(&mut self, ty: &Type, out: &mut Vec<u8>) -> Result<()> {
        let text = match ty {
            Type::U8 => self.byte()?.to_string(),
            Type::I8 => self.byte()?.cast_signed().to_string(),
            Type::U16 => self.varint(16)?.to_string(),
            Type::U32 => self.varint(32)?.to_string(),
            Type::U64 => self.varint(64)?.to_string(),
            Type::U128 => self.varint(128)?.to_string(),
            Type::I16 => unzigzag(self.varint(16)?).to_string(),
            Type::I32 => unzigzag(self.varint(32)?).to_string(),
            Type::I64 => unzigzag(self.varint(64)?).to_string(),
            Type::I128 => unzigzag(self.varint(128)?).to_string(),
            other => return wrong(format!("{other:?} is no integer")),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn float32(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        let value = f32::from_le_bytes(bytes);
        if !push_named_float(f64::from(value), out) {
            push_json(&value, out);
        }
        Ok(())
    }

    fn float64(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        let value = f64::from_le_bytes(bytes);
        if !push_named_float(value, out) {
            push_json(&value, out);
        }
        Ok(())
    }

    /// Copies a text that the guest has written as JSON, if it is valid.
    fn json(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let text = self.text()?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // A tree of values would need many times the memory of the text.
        let copied =
            serde_transcode::transcode(&mut deserializer, &mut serde_json::Serializer::new(&mut *out))
                .and_then(|()| deserializer.end());
        copied.or_else(|error| wrong(format!("JSON that is none: {error}")))
    }

    fn elements(
        &mut self,
        types: impl Iterator<Item = TypeIndex>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.push(b'[');
        for (index, ty) in types.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.value(self.types.get(ty), depth + 1, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn map(&mut self, key: TypeIndex, value: TypeIndex, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        let count = self.count()?;
        let pairs = !is_object_key(self.types.get(key));
        out.push(if pairs { b'[' } else { b'{' });
        for index in 0..count {
            if index > 0 {
                out.push(b',');
            }
            if pairs {
                self.elements([key, value].into_iter(), depth, out)?;
                continue;
            }
            self.key(self.types.get(key), out)?;
            out.push(b':');
            self.value(self.types.get(value), depth + 1, out)?;
        }
        out.push(if pairs { b']' } else { b'}' });
        Ok(())
    }

    fn key(&mut self, ty: &Type, out: &mut Vec<u8>) -> Result<()> {
        match ty {
            Type::String => push_string(out, self.text()?),
            Type::Char => push_string(out, self.character()?),
            integer => {
                out.push(b'"');
                self.integer(integer, out)?;
                out.push(b'"');
            }
        }
        Ok(())
    }

    fn fields(&mut self, fields: &[Field], depth: usize, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, &field.name);
            out.push(b':');
            self.value(self.types.get(field.ty), depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn variant(&mut self, ty: &Type, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        let Type::Enum { variants, .. } = ty else { return wrong("no enum") };
        let index = usize::try_from(self.varint(32)?).unwrap_or(usize::MAX);
        let Some(variant) = variants.get(index) else { return wrong(format!("variant number {index}")) };
        if variant.data == VariantData::Unit {
            push_string(out, &variant.name);
            return Ok(());
        }
        out.push(b'{');
        push_string(out, &variant.name);
        out.push(b':');
        match &variant.data {
            VariantData::Unit => {}
            VariantData::Newtype(inner) => self.value(self.types.get(*inner), depth + 1, out)?,
            VariantData::Tuple(parts) => self.elements(parts.iter().copied(), depth, out)?,
            VariantData::Struct(fields) => self.fields(fields, depth, out)?,
        }
        out.push(b'}');
        Ok(())
    }
}

/// Appends a float for which JSON has no number. Returns false for all others.
fn push_named_float(value: f64, out: &mut Vec<u8>) -> bool {
    let name: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value == f64::INFINITY {
        b"\"Infinity\""
    } else if value == f64::NEG_INFINITY {
        b"\"-Infinity\""
    } else {
        return false;
    };
    out.extend_from_slice(name);
    true
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    push_json(text, out);
}

fn push_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("text and numbers can be written to memory");
}
