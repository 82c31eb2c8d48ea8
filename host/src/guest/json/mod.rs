//! JSON to postcard and back, by a task's description.
//!
//! Everything is streamed: no tree of values is built, and the depth is bounded in both directions.
//!
//! | type | JSON |
//! |---|---|
//! | `bool`, integers, `String`, `char` | themselves; integers are exact up to 128 bits |
//! | floats | numbers; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | bytes | base64; as an input also an array of numbers |
//! | `Option` | the value or `null` |
//! | sequences, tuples, arrays | arrays |
//! | structs | objects; only an `Option` may be missing |
//! | maps | objects, if the keys are strings, characters or integers; otherwise arrays of pairs |
//! | enums | `"Name"`, or `{"Name": value}` |
//! | handles | as an input the name of an object |

mod context;
mod error;
mod from_json;
mod map_keys;
mod numbers;
#[cfg(test)]
mod tests;
mod to_json;
mod value;
mod varint;

pub(crate) use self::context::{Objects, no_objects};
pub use self::error::{JsonError, ValueError};
pub(crate) use self::from_json::{arguments_from_json, value_from_json};
pub(super) use self::map_keys::is_object_key;
pub(crate) use self::to_json::value_to_json;
pub(crate) use self::varint::{numbers_in_postcard, push_len};
