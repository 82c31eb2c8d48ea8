//! The result of a task: a value, or a `Result` whose error may have `Display`, a schema, or both.
//!
//! A return type may be an alias, so the macro cannot see whether it is a `Result`. The compiler can: method resolution
//! tries the traits below on `&&&Probe<R>` in the order of their references, and takes the first that applies.

use std::fmt::Display;
use std::marker::PhantomData;

use serde::Serialize;
use wpool_abi::{ErrorPayload, TypeIndex, status};

use wpool_schema::{Schema, TypeTable};

/// The value on which method resolution finds the trait for the return type `R`.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// Returns the probe.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Default for Probe<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// The types of a task's value and, if it has one, of its error.
type Described = (TypeIndex, Option<TypeIndex>);

/// The trait of a `Result` whose error has `Display` and a schema.
pub trait TypedError<R> {
    /// Describes the types of the value and the error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Encodes a returned value into `out`, and returns the status.
    fn encode(&self, returned: R, out: &mut Vec<u8>) -> u32;
}

impl<T: Serialize + Schema, E: Serialize + Schema + Display> TypedError<Result<T, E>>
    for &&&Probe<Result<T, E>>
{
    fn describe(&self, types: &mut TypeTable) -> Described {
        (T::describe(types), Some(E::describe(types)))
    }
    fn encode(&self, returned: Result<T, E>, out: &mut Vec<u8>) -> u32 {
        match returned {
            Ok(value) => encode_value(&value, out),
            Err(error) => encode_error(error.to_string(), postcard::to_allocvec(&error).ok(), out),
        }
    }
}

/// The trait of a `Result` whose error has a schema but no `Display`.
pub trait SchemaError<R> {
    /// Describes the types of the value and the error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Encodes a returned value into `out`, and returns the status.
    fn encode(&self, returned: R, out: &mut Vec<u8>) -> u32;
}

impl<T: Serialize + Schema, E: Serialize + Schema> SchemaError<Result<T, E>> for &&Probe<Result<T, E>> {
    fn describe(&self, types: &mut TypeTable) -> Described {
        (T::describe(types), Some(E::describe(types)))
    }
    fn encode(&self, returned: Result<T, E>, out: &mut Vec<u8>) -> u32 {
        match returned {
            Ok(value) => encode_value(&value, out),
            Err(error) => encode_error(String::new(), postcard::to_allocvec(&error).ok(), out),
        }
    }
}

/// The trait of a `Result` whose error has `Display` but no schema.
pub trait DisplayedError<R> {
    /// Describes the types of the value and the error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Encodes a returned value into `out`, and returns the status.
    fn encode(&self, returned: R, out: &mut Vec<u8>) -> u32;
}

impl<T: Serialize + Schema, E: Display> DisplayedError<Result<T, E>> for &Probe<Result<T, E>> {
    fn describe(&self, types: &mut TypeTable) -> Described {
        (T::describe(types), None)
    }
    fn encode(&self, returned: Result<T, E>, out: &mut Vec<u8>) -> u32 {
        match returned {
            Ok(value) => encode_value(&value, out),
            Err(error) => encode_error(error.to_string(), None, out),
        }
    }
}

/// The trait of a value that is not a `Result`.
pub trait Plain<R> {
    /// Describes the type of the value.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Encodes a returned value into `out`, and returns the status.
    fn encode(&self, returned: R, out: &mut Vec<u8>) -> u32;
}

impl<T: Serialize + Schema> Plain<T> for Probe<T> {
    fn describe(&self, types: &mut TypeTable) -> Described {
        (T::describe(types), None)
    }
    fn encode(&self, returned: T, out: &mut Vec<u8>) -> u32 {
        encode_value(&returned, out)
    }
}

fn encode_value<T: Serialize>(value: &T, out: &mut Vec<u8>) -> u32 {
    match postcard::to_extend(value, std::mem::take(out)) {
        Ok(bytes) => {
            *out = bytes;
            status::VALUE
        }
        Err(error) => {
            *out = format!("the value cannot be encoded: {error}").into_bytes();
            status::BAD_RESULT
        }
    }
}

fn encode_error(message: String, value: Option<Vec<u8>>, out: &mut Vec<u8>) -> u32 {
    match encode_value(&ErrorPayload { message, value }, out) {
        status::VALUE => status::ERROR,
        failed => failed,
    }
}

#[cfg(test)]
#[expect(clippy::needless_borrow, reason = "the macro writes this number of references")]
mod tests {
    use super::*;

    struct Silent;
    impl Display for Silent {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("only text")
        }
    }

    #[test]
    fn an_error_is_distinguished_from_a_value_by_its_type() {
        let mut types = TypeTable::default();
        let mut out = Vec::new();
        assert_eq!((&&&&Probe::<u32>::new()).describe(&mut types).1, None);
        assert_eq!((&&&&Probe::<u32>::new()).encode(5, &mut out), status::VALUE);
        assert_eq!(out, [5]);

        type Typed = Result<u32, String>;
        assert!((&&&&Probe::<Typed>::new()).describe(&mut types).1.is_some());
        out.clear();
        assert_eq!((&&&&Probe::<Typed>::new()).encode(Err("no".into()), &mut out), status::ERROR);
        let payload: ErrorPayload = postcard::from_bytes(&out).unwrap();
        assert_eq!(payload.message, "no");
        assert_eq!(payload.value.as_deref(), Some(&b"\x02no"[..]));

        type Shown = Result<u32, Silent>;
        assert_eq!((&&&&Probe::<Shown>::new()).describe(&mut types).1, None);
        out.clear();
        assert_eq!((&&&&Probe::<Shown>::new()).encode(Err(Silent), &mut out), status::ERROR);
        let payload: ErrorPayload = postcard::from_bytes(&out).unwrap();
        assert_eq!(payload, ErrorPayload { message: "only text".into(), value: None });
    }
}
