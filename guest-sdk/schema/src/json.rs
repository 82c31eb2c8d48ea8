//! [`Json`]: any JSON value as a parameter or a result.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use wpool_abi::{Type, TypeIndex};

use crate::{Schema, TypeTable};

/// Any JSON value. It is passed as text, so its numbers keep the digits that [`serde_json::Value`] keeps.
///
/// ```
/// use wpool_schema::Json;
///
/// fn keys(value: Json) -> Vec<String> {
///     value.0.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
/// }
/// assert_eq!(keys(Json(serde_json::json!({"a": 1}))), ["a"]);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Json(pub serde_json::Value);

impl Schema for Json {
    fn describe(types: &mut TypeTable) -> TypeIndex {
        types.leaf(Type::Json)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        serde_json::from_str(text).map(Json).map_err(D::Error::custom)
    }
}
