//! The signature of a task: its name, its parameters and its results, and JSON by them.

use wpool_abi::{Field, TaskDescription, Type, TypeIndex};
use wpool_schema::{Schema, fingerprint_of};

use super::definitions::{TypeDefinition, definitions};
use super::description;
use super::json::{self, JsonError, Objects, ValueError};
use super::json_schema;
use super::outline::Outline;
use super::types::{Types, described, same_type};

/// The signature of one task, from the guest's own description of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    docs: String,
    params: Vec<Field>,
    returns: TypeIndex,
    error: Option<TypeIndex>,
    types: Types,
    /// Of the parameters and of the value.
    fingerprints: (u64, u64),
    /// The fingerprint of the error; `None` if the task returns no error with a schema.
    error_fingerprint: Option<u64>,
}

impl Signature {
    /// Makes the signature of the task `name` from its description, if that is valid.
    pub(super) fn new(description: TaskDescription, name: &str) -> Result<Self, String> {
        description::check(&description, name)?;
        let TaskDescription { name, docs, params, returns, error, types } = description;
        let takes: Vec<_> = params.iter().map(|param| param.ty).collect();
        let fingerprints = (fingerprint_of(&types, &takes), fingerprint_of(&types, &[returns]));
        let error_fingerprint = error.map(|error| fingerprint_of(&types, &[error]));
        let types = Types::new(types);
        Ok(Self { name, docs, params, returns, error, types, fingerprints, error_fingerprint })
    }

    /// Returns the name of the task.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the doc comment of the task. It is empty if the task has none.
    pub fn docs(&self) -> &str {
        &self.docs
    }

    /// Returns the name and the type of each parameter. Types are named as in error messages: `list<u32>`.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, String)> {
        self.params.iter().map(|param| (param.name.as_str(), self.type_name(param.ty)))
    }

    /// Returns the type of the task's value, `null` for `()`.
    pub fn returns(&self) -> String {
        self.type_name(self.returns)
    }

    /// Returns the type of the task's error. `None` if the task returns no error, or one whose type has no schema.
    pub fn error(&self) -> Option<String> {
        self.error.map(|error| self.type_name(error))
    }

    /// Returns the structs and enums in the parameters, the value and the error: their fields and variants with their
    /// docs, each type once, in the order in which they are met. `None` if the types have more than 10,000 parts.
    ///
    /// ```no_run
    /// use wpool::{Guest, TypeBody};
    /// let guest = Guest::from_file("guest.wasm")?;
    /// for ty in guest.task("thumbnail")?.definitions().unwrap_or_default() {
    ///     if let TypeBody::Struct(fields) = &ty.body {
    ///         println!("{} has {} fields", ty.name, fields.len());
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn definitions(&self) -> Option<Vec<TypeDefinition>> {
        definitions(&self.types, &self.roots())
    }

    /// Returns the JSON Schema (draft 2020-12) of one input: what [`arguments_from_json`](Self::arguments_from_json)
    /// accepts. `None` if the types have more than 10,000 parts.
    ///
    /// ```no_run
    /// let guest = wpool::Guest::from_file("guest.wasm")?;
    /// let schema = guest.task("square")?.input_schema().ok_or("too large")?;
    /// assert_eq!(schema["type"], "integer");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn input_schema(&self) -> Option<serde_json::Value> {
        json_schema::of_input(&self.types, &self.params)
    }

    /// Returns the JSON Schema of the value, as [`value_to_json`](Self::value_to_json) writes it. `None` if its type has
    /// more than 10,000 parts.
    pub fn value_schema(&self) -> Option<serde_json::Value> {
        json_schema::of_output(&self.types, self.returns)
    }

    /// Returns the JSON Schema of the error, as [`error_to_json`](Self::error_to_json) writes it. `None` if the task has
    /// no such error, or its type has more than 10,000 parts.
    pub fn error_schema(&self) -> Option<serde_json::Value> {
        json_schema::of_output(&self.types, self.error?)
    }

    /// Returns the outline of all types; `None` if they have too many parts.
    pub(super) fn outline(&self) -> Option<Outline> {
        Outline::new(&self.types, &self.roots())
    }

    /// Returns the types of the parameters, the value and the error.
    fn roots(&self) -> Vec<TypeIndex> {
        let params = self.params.iter().map(|param| param.ty);
        params.chain([self.returns]).chain(self.error).collect()
    }

    fn type_name(&self, index: TypeIndex) -> String {
        self.types.name(self.types.get(index))
    }

    /// Encodes the arguments of one call from a JSON text. [`RawTask`](crate::RawTask) takes the bytes.
    ///
    /// The argument of a task with one parameter is the text itself. A task with several parameters takes an array of
    /// all arguments, or an object with their names, in which an `Option` may be missing. A task without parameters
    /// takes `null` or `[]`.
    ///
    /// # Errors
    /// A [`JsonError`] with the first mistake and its position. Names of shared objects are refused: see
    /// [`NamedObjects`](crate::NamedObjects).
    pub fn arguments_from_json(&self, text: &[u8]) -> Result<Vec<u8>, JsonError> {
        let mut out = Vec::new();
        self.append_arguments(text, &mut out, &json::no_objects)?;
        Ok(out)
    }

    /// Appends the arguments of one call from a JSON text to `out`. `objects` finds the objects that it names.
    pub(crate) fn append_arguments(
        &self,
        text: &[u8],
        out: &mut Vec<u8>,
        objects: Objects<'_>,
    ) -> Result<(), JsonError> {
        json::arguments_from_json(&self.types, &self.params, text, out, objects)
    }

    /// Encodes a file's content as the argument of a task that takes one string or one byte buffer. `None` if the task
    /// takes anything else.
    ///
    /// # Errors
    /// A [`JsonError`] if the task takes a string and the content is not UTF-8.
    pub fn arguments_from_content(&self, content: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        let [only] = self.params.as_slice() else { return None };
        match self.types.get(only.ty) {
            Type::Bytes => {}
            Type::String => {
                if let Err(error) = std::str::from_utf8(content) {
                    return Some(Err(JsonError::not_utf8(error)));
                }
            }
            _ => return None,
        }
        let mut out = Vec::with_capacity(content.len() + 5);
        wpool_wire::message::push_bytes(&mut out, content);
        Some(Ok(out))
    }

    /// Appends a task's value to `out` in JSON.
    ///
    /// # Errors
    /// A [`ValueError`] if the bytes are not of the type that the guest has described. `out` may hold a part of the
    /// value then.
    pub fn value_to_json(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        json::value_to_json(&self.types, self.returns, value, out)
    }

    /// Appends a task's error to `out` in JSON. Returns false, and appends nothing, if the guest has not described its
    /// type.
    ///
    /// # Errors
    /// A [`ValueError`] if the bytes are not of the type that the guest has described. `out` may hold a part of the
    /// error then.
    pub fn error_to_json(&self, value: &[u8], out: &mut Vec<u8>) -> Result<bool, ValueError> {
        match self.error {
            Some(error) => json::value_to_json(&self.types, error, value, out).map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns whether a parameter or a result can hold handles on shared objects.
    pub(crate) fn carries_handles(&self) -> bool {
        self.types.has_handles()
    }

    /// Returns the fingerprints of the parameters, as one type or a tuple, and of the value.
    pub(crate) fn fingerprints(&self) -> (u64, u64) {
        self.fingerprints
    }

    pub(crate) fn params(&self) -> &[Field] {
        &self.params
    }

    pub(crate) fn types(&self) -> &Types {
        &self.types
    }

    pub(crate) fn returns_index(&self) -> TypeIndex {
        self.returns
    }

    /// Returns the fingerprint of the error.
    pub(crate) fn error_fingerprint(&self) -> Option<u64> {
        self.error_fingerprint
    }

    pub(super) fn error_index(&self) -> Option<TypeIndex> {
        self.error
    }
}

/// Checks that `A` is the type of a function's only parameter, or a tuple of all of them.
///
/// The error is the name of the type that the function takes, and the name of `A`.
pub(crate) fn fits_parameters<A: Schema>(signature: &Signature) -> Result<(), (String, String)> {
    let (arguments, root) = described::<A>();
    let same = |param: &Field, index| same_type(signature.types(), param.ty, &arguments, index);
    let fits = match (signature.params(), arguments.get(root)) {
        ([only], _) => same(only, root),
        ([], Type::Unit) => true,
        (params, Type::Tuple(parts)) => {
            params.len() == parts.len() && params.iter().zip(parts).all(|(param, part)| same(param, *part))
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let names: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    let expected =
        if let [only] = names.as_slice() { only.clone() } else { format!("({})", names.join(", ")) };
    Err((expected, arguments.name(arguments.get(root))))
}
