//! The structs and enums of a signature, for programs and people that ask what a task takes and returns.

use wpool_abi::{Field, Type, TypeIndex, VariantData};

use super::outline::Outline;
use super::types::Types;

/// A struct or an enum that a guest has described. Names and docs are the guest's: they may hold any text.
///
/// ```no_run
/// let guest = wpool::Guest::from_file("guest.wasm")?;
/// for signature in guest.tasks() {
///     for definition in signature.definitions().unwrap_or_default() {
///         match &definition.body {
///             wpool::TypeBody::Struct(fields) => println!("{}: {} fields", definition.name, fields.len()),
///             wpool::TypeBody::Enum(variants) => println!("{}: {} variants", definition.name, variants.len()),
///             _ => {}
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeDefinition {
    /// The name of the type, which other types may share.
    pub name: String,
    /// The fields or variants.
    pub body: TypeBody,
}

/// The content of a [`TypeDefinition`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeBody {
    /// A struct, with its fields.
    Struct(Vec<FieldDefinition>),
    /// An enum, with its variants.
    Enum(Vec<VariantDefinition>),
}

/// A field of a struct or of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldDefinition {
    /// The name in JSON.
    pub name: String,
    /// The name of the type, as [`Signature::returns`](crate::Signature::returns) has it.
    pub ty: String,
    /// The doc comment; empty if there is none.
    pub docs: String,
}

/// A variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariantDefinition {
    /// The name in JSON.
    pub name: String,
    /// The doc comment; empty if there is none.
    pub docs: String,
    /// The values that the variant holds.
    pub body: VariantBody,
}

/// The content of a [`VariantDefinition`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariantBody {
    /// Nothing: `"Name"` in JSON.
    Unit,
    /// Values, by the names of their types: `{"Name": value}`, or `{"Name": [a, b]}` of several.
    Values(Vec<String>),
    /// Named fields: `{"Name": {"a": 1}}`.
    Fields(Vec<FieldDefinition>),
}

/// Returns the structs and enums that `roots` lead to, each once, in the order in which they are met. `None` if the
/// types have too many parts.
pub(super) fn definitions(types: &Types, roots: &[TypeIndex]) -> Option<Vec<TypeDefinition>> {
    let outline = Outline::new(types, roots)?;
    Some(outline.types().filter_map(|index| definition(types, types.get(index))).collect())
}

fn definition(types: &Types, ty: &Type) -> Option<TypeDefinition> {
    let (name, body) = match ty {
        Type::Struct { name, fields } => (name, TypeBody::Struct(field_definitions(types, fields))),
        Type::Enum { name, variants } => {
            let variants = variants.iter().map(|variant| VariantDefinition {
                name: variant.name.clone(),
                docs: variant.docs.clone(),
                body: variant_body(types, &variant.data),
            });
            (name, TypeBody::Enum(variants.collect()))
        }
        _ => return None,
    };
    Some(TypeDefinition { name: name.clone(), body })
}

fn field_definitions(types: &Types, fields: &[Field]) -> Vec<FieldDefinition> {
    let definition = |field: &Field| FieldDefinition {
        name: field.name.clone(),
        ty: types.name(types.get(field.ty)),
        docs: field.docs.clone(),
    };
    fields.iter().map(definition).collect()
}

fn variant_body(types: &Types, data: &VariantData) -> VariantBody {
    let name = |index: &TypeIndex| types.name(types.get(*index));
    match data {
        VariantData::Unit => VariantBody::Unit,
        VariantData::Newtype(inner) => VariantBody::Values(vec![name(inner)]),
        VariantData::Tuple(parts) => VariantBody::Values(parts.iter().map(name).collect()),
        VariantData::Struct(fields) => VariantBody::Fields(field_definitions(types, fields)),
    }
}
