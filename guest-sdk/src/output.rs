//! What a task returns: a value, a `Result`, and what is known of its error.
//!
//! A function's return type may hide behind an alias, so the macro cannot see whether it is a `Result`.
//! The compiler can: the traits below are tried on `&&&Probe<R>` in the order of their references, and
//! the first that fits wins.

use std::fmt::Display;
use std::marker::PhantomData;

use serde::Serialize;
use wpool_abi::{ErrorPayload, TypeIndex, status};

use wpool_schema::{Schema, TypeTable};

/// Stands for the return type `R` while its trait is looked for.
#[derive(Debug)]
pub struct Probe<R>(PhantomData<fn() -> R>);

impl<R> Probe<R> {
    /// The probe for the return type of `_task`.
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

/// A `Result` whose error can be shown and described.
pub trait TypedError<R> {
    /// The types of value and error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Writes what the task returned, and says which status it has.
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

/// A `Result` whose error can be described but not shown.
pub trait SchemaError<R> {
    /// The types of value and error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Writes what the task returned, and says which status it has.
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

/// A `Result` whose error can be shown but not described.
pub trait DisplayedError<R> {
    /// The types of value and error.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Writes what the task returned, and says which status it has.
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

/// A value that is no `Result`.
pub trait Plain<R> {
    /// The type of the value.
    fn describe(&self, types: &mut TypeTable) -> Described;
    /// Writes what the task returned, and says which status it has.
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
#[expect(clippy::needless_borrow, reason = "as many references as the macro writes")]
mod tests {
    use super::*;

    struct Silent;
    impl Display for Silent {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("only text")
        }
    }

    #[test]
    fn an_error_is_told_from_a_value_by_its_type() {
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
