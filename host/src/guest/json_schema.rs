//! JSON Schema (draft 2020-12) of a task's input, value and error: what the JSON reader accepts, and what the writer
//! writes.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use wpool_abi::{Field, HandleType, Type, TypeIndex, Variant, VariantData};

use super::json::is_object_key;
use super::outline::{Outline, is_named};
use super::types::Types;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The longest name of a definition that is taken from the guest, in bytes.
const MAX_NAME: usize = 60;

/// The side of a task that a schema is of. Input may leave out what an `Option` has, and may have bytes in two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

/// Returns the schema of the arguments of one call; `None` if their types have too many parts.
pub(super) fn of_input(types: &Types, params: &[Field]) -> Option<Value> {
    let roots: Vec<TypeIndex> = params.iter().map(|param| param.ty).collect();
    let writer = Writer::new(types, &roots, Side::Input)?;
    let schema = match params {
        [] => json!({"enum": [null, [], {}]}),
        [only] => writer.schema(only.ty),
        several => {
            let array = writer.tuple(several.iter().map(|param| param.ty));
            json!({"anyOf": [array, writer.object(several)]})
        }
    };
    Some(writer.whole(schema))
}

/// Returns the schema of a value; `None` if its type has too many parts.
pub(super) fn of_output(types: &Types, ty: TypeIndex) -> Option<Value> {
    let writer = Writer::new(types, &[ty], Side::Output)?;
    Some(writer.whole(writer.schema(ty)))
}

/// Writes the schemas of one side's types.
struct Writer<'t> {
    types: &'t Types,
    side: Side,
    /// The types that are defined, in the order in which they are met.
    defined: Vec<TypeIndex>,
    /// Their names.
    names: HashMap<TypeIndex, String>,
}

impl<'t> Writer<'t> {
    fn new(types: &'t Types, roots: &[TypeIndex], side: Side) -> Option<Self> {
        let outline = Outline::new(types, roots)?;
        let mut taken = HashSet::new();
        let mut name = |index| unique(base_name(types.get(index), index), &mut taken);
        let names = outline.defined().map(|index| (index, name(index))).collect();
        Some(Self { types, side, defined: outline.defined().collect(), names })
    }

    /// Adds the draft and the definitions to the schema of the root.
    fn whole(&self, root: Value) -> Value {
        let mut whole = Map::from_iter([("$schema".to_owned(), json!(DRAFT))]);
        if !self.names.is_empty() {
            let definition = |index: &TypeIndex| (self.names[index].clone(), self.body(*index));
            whole.insert("$defs".to_owned(), Value::Object(self.defined.iter().map(definition).collect()));
        }
        match root {
            Value::Object(root) => whole.extend(root),
            other => drop(whole.insert("const".to_owned(), other)),
        }
        Value::Object(whole)
    }

    /// Returns the schema of a type where it is used.
    fn schema(&self, index: TypeIndex) -> Value {
        match self.names.get(&index) {
            Some(name) => json!({"$ref": format!("#/$defs/{name}")}),
            None => self.body(index),
        }
    }

    /// Returns the schema of a type where it is defined.
    fn body(&self, index: TypeIndex) -> Value {
        match self.types.get(index) {
            Type::Unit => json!({"type": "null"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::F32 | Type::F64 => {
                json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
            }
            Type::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Type::String => json!({"type": "string"}),
            Type::Bytes => self.bytes(),
            Type::Json => json!({}),
            Type::Handle(handle) => self.handle(handle),
            Type::Option(inner) => json!({"anyOf": [self.schema(*inner), {"type": "null"}]}),
            Type::Seq(item) => json!({"type": "array", "items": self.schema(*item)}),
            Type::Tuple(parts) => self.tuple(parts.iter().copied()),
            Type::Array(item, len) => {
                json!({"type": "array", "items": self.schema(*item), "minItems": len, "maxItems": len})
            }
            Type::Map(key, value) => self.map(*key, *value),
            Type::Struct { name, fields } => titled(name, self.object(fields)),
            Type::Enum { name, variants } => {
                let variants: Vec<Value> = variants.iter().map(|variant| self.variant(variant)).collect();
                // `anyOf` needs an element, and an enum without variants has no value.
                let any = if variants.is_empty() { json!({"not": {}}) } else { json!({"anyOf": variants}) };
                titled(name, any)
            }
            integer => integer_schema(integer),
        }
    }

    fn bytes(&self) -> Value {
        let text = json!({"type": "string", "contentEncoding": "base64"});
        match self.side {
            Side::Input => {
                json!({"anyOf": [text, {"type": "array", "items": integer_schema(&Type::U8)}]})
            }
            Side::Output => text,
        }
    }

    fn handle(&self, handle: &HandleType) -> Value {
        let name = self.types.name(&Type::Handle(handle.clone()));
        match self.side {
            Side::Input => {
                json!({"type": "string", "description": format!("the name of a shared object: {name}")})
            }
            Side::Output => json!({"not": {}, "description": format!("{name} has no form in JSON")}),
        }
    }

    fn tuple(&self, parts: impl ExactSizeIterator<Item = TypeIndex>) -> Value {
        let len = parts.len();
        let mut schema = json!({"type": "array", "items": false, "minItems": len, "maxItems": len});
        if len > 0 {
            schema["prefixItems"] = parts.map(|part| self.schema(part)).collect();
        }
        schema
    }

    fn map(&self, key: TypeIndex, value: TypeIndex) -> Value {
        let key_type = self.types.get(key);
        if !is_object_key(key_type) {
            return json!({"type": "array", "items": self.tuple([key, value].into_iter())});
        }
        let mut schema = json!({"type": "object", "additionalProperties": self.schema(value)});
        let names = match key_type {
            Type::String => return schema,
            Type::Char => json!({"minLength": 1, "maxLength": 1}),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::U128 => json!({"pattern": "^[0-9]+$"}),
            _ => json!({"pattern": "^-?[0-9]+$"}),
        };
        schema["propertyNames"] = names;
        schema
    }

    fn object(&self, fields: &[Field]) -> Value {
        let mut properties = Map::new();
        for field in fields {
            properties.insert(field.name.clone(), described(&field.docs, self.schema(field.ty)));
        }
        let optional =
            |field: &Field| self.side == Side::Input && matches!(self.types.get(field.ty), Type::Option(_));
        let required: Vec<&str> =
            fields.iter().filter(|field| !optional(field)).map(|field| field.name.as_str()).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    fn variant(&self, variant: &Variant) -> Value {
        let inner = match &variant.data {
            VariantData::Unit => return described(&variant.docs, json!({"const": variant.name})),
            VariantData::Newtype(inner) => self.schema(*inner),
            VariantData::Tuple(parts) => self.tuple(parts.iter().copied()),
            VariantData::Struct(fields) => self.object(fields),
        };
        let schema = json!({
            "type": "object",
            "properties": {variant.name.as_str(): inner},
            "required": [variant.name],
            "additionalProperties": false,
        });
        described(&variant.docs, schema)
    }
}

/// Returns the schema of an integer, with its range. The limits of 128 bits are powers of two, which a JSON number
/// states exactly.
fn integer_schema(ty: &Type) -> Value {
    const HALF: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    let (minimum, maximum) = match ty {
        Type::U8 => (json!(0), json!(u8::MAX)),
        Type::U16 => (json!(0), json!(u16::MAX)),
        Type::U32 => (json!(0), json!(u32::MAX)),
        Type::U64 => (json!(0), json!(u64::MAX)),
        Type::I8 => (json!(i8::MIN), json!(i8::MAX)),
        Type::I16 => (json!(i16::MIN), json!(i16::MAX)),
        Type::I32 => (json!(i32::MIN), json!(i32::MAX)),
        Type::I64 => (json!(i64::MIN), json!(i64::MAX)),
        Type::U128 => return json!({"type": "integer", "minimum": 0, "exclusiveMaximum": 2.0 * HALF}),
        _ => return json!({"type": "integer", "minimum": -HALF, "exclusiveMaximum": HALF}),
    };
    json!({"type": "integer", "minimum": minimum, "maximum": maximum})
}

/// Adds a doc comment to a schema, if there is one.
fn described(docs: &str, mut schema: Value) -> Value {
    if !docs.is_empty() {
        schema["description"] = json!(docs);
    }
    schema
}

fn titled(name: &str, mut schema: Value) -> Value {
    schema["title"] = json!(name);
    schema
}

/// Returns what the name of a definition starts from. Other characters than these would have to be escaped in a
/// reference.
fn base_name(ty: &Type, index: TypeIndex) -> String {
    let plain = |name: &String| {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        name.chars().filter(allowed).take(MAX_NAME).collect::<String>()
    };
    match ty {
        Type::Struct { name, .. } | Type::Enum { name, .. } if !plain(name).is_empty() => plain(name),
        ty if is_named(ty) => "Type".to_owned(),
        _ => format!("type{index}"),
    }
}

/// Returns a name that is not taken: the base itself, or with a number behind it.
fn unique(base: String, taken: &mut HashSet<String>) -> String {
    let mut name = base.clone();
    let mut count = taken.len();
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{base}_{count}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, docs: &str, ty: TypeIndex) -> Field {
        Field { name: name.into(), docs: docs.into(), ty }
    }

    #[test]
    fn a_struct_that_contains_itself_is_a_definition() {
        let fields =
            vec![field("name", "What it is called.", 1), field("parent", "", 2), field("all", "", 3)];
        let tree = Type::Struct { name: "A tree".into(), fields };
        let types = Types::new(vec![tree, Type::String, Type::Option(0), Type::Seq(0)]);
        let tree = json!({"$ref": "#/$defs/Atree"});
        let definition = |required: Value| {
            json!({
                "title": "A tree",
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "What it is called."},
                    "parent": {"anyOf": [tree, {"type": "null"}]},
                    "all": {"type": "array", "items": tree},
                },
                "required": required,
                "additionalProperties": false,
            })
        };
        let input = of_input(&types, &[field("tree", "", 0)]).unwrap();
        assert_eq!(input["$defs"], json!({"Atree": definition(json!(["name", "all"]))}));
        assert_eq!(input["$ref"], tree["$ref"]);
        let output = of_output(&types, 0).unwrap();
        assert_eq!(output["$defs"], json!({"Atree": definition(json!(["name", "parent", "all"]))}));
    }

    #[test]
    fn several_parameters_are_an_array_or_an_object() {
        let types = Types::new(vec![Type::U8, Type::Option(0)]);
        let byte = json!({"type": "integer", "minimum": 0, "maximum": 255});
        let maybe = json!({"anyOf": [byte, {"type": "null"}]});
        let input = of_input(&types, &[field("a", "", 0), field("b", "", 1)]).unwrap();
        assert_eq!(
            input["anyOf"],
            json!([
                {"type": "array", "prefixItems": [byte, maybe], "items": false, "minItems": 2, "maxItems": 2},
                {
                    "type": "object",
                    "properties": {"a": byte, "b": maybe},
                    "required": ["a"],
                    "additionalProperties": false,
                },
            ])
        );
        assert_eq!(of_input(&types, &[]).unwrap()["enum"], json!([null, [], {}]));
    }

    #[test]
    fn a_hostile_description_gives_a_schema_of_bounded_size() {
        let doubled: Vec<Type> =
            (1..3000).map(|next| Type::Tuple(vec![next, next])).chain([Type::U8]).collect();
        let schema = of_output(&Types::new(doubled), 0).unwrap().to_string();
        assert!(schema.len() < 1_000_000, "{}", schema.len());
        let deep: Vec<Type> = (1..9000).map(Type::Option).chain([Type::U8]).collect();
        let schema = of_output(&Types::new(deep), 0).unwrap();
        let text = schema.to_string();
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "nested no deeper than a reader allows");
        let many = Types::new(vec![Type::Tuple(vec![1; 1000]), Type::Tuple(vec![2; 1000]), Type::Seq(0)]);
        assert!(of_output(&many, 0).unwrap().to_string().len() < 1_000_000);
    }

    #[test]
    fn names_that_are_the_same_or_no_names_are_made_so() {
        let named = |name: &str, ty| Type::Struct { name: name.into(), fields: vec![field("f", "", ty)] };
        let types = vec![
            Type::Tuple(vec![1, 2, 3]),
            named("A", 4),
            named("A", 5),
            named("/~", 4),
            Type::U8,
            Type::Bool,
        ];
        let schema = of_output(&Types::new(types), 0).unwrap();
        let names: Vec<&String> = schema["$defs"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["A", "A_2", "Type"]);
    }

    #[test]
    fn the_limits_of_128_bits_are_exact() {
        let u128 = integer_schema(&Type::U128);
        assert_eq!(u128, json!({"type": "integer", "minimum": 0, "exclusiveMaximum": 2f64.powi(128)}));
        let text = u128.to_string();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), u128, "no digit is lost in the text");
        assert_eq!(integer_schema(&Type::I128)["minimum"], json!(-2f64.powi(127)));
    }
}
