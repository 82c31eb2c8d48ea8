//! What a guest says of its tasks, checked once, so that everybody else can follow its indices blindly.

use std::collections::HashSet;

use wpool_schema::{Schema, TypeTable, fingerprint_of};

use wpool_abi::object::{Kind, Rights};
use wpool_abi::{Field, HandleType, TaskDescription, Type, TypeIndex, VariantData};

use super::json::{self, JsonError, ValueError};

/// More parameters, fields or variants than people write.
const MAX_PARTS: usize = 1000;
/// More types than people write.
const MAX_TYPES: usize = 10_000;
/// The longest name of anything.
const MAX_NAME: usize = 1000;

/// The types of a description. Every index in it is one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Types(Vec<Type>);

impl Types {
    pub(crate) fn get(&self, index: TypeIndex) -> &Type {
        &self.0[index as usize]
    }

    /// The same types with one more, and its index.
    pub(crate) fn with(&self, ty: Type) -> (Self, TypeIndex) {
        let mut types = self.0.clone();
        types.push(ty);
        let index = TypeIndex::try_from(types.len() - 1).expect("a guest has few types");
        (Self(types), index)
    }

    /// The types of a program's own, which its compiler has made.
    pub(crate) fn from_table(table: TypeTable) -> Self {
        Self(table.into_types())
    }

    /// The type as people write it: `Vec<(string, u64)>` and the like.
    pub(crate) fn name(&self, ty: &Type) -> String {
        let mut name = String::new();
        self.write_name(ty, 0, &mut name);
        name
    }

    fn write_name(&self, ty: &Type, depth: usize, out: &mut String) {
        /// Deeper types are named by their outer parts.
        const DEEPEST: usize = 6;
        if depth > DEEPEST {
            out.push('…');
            return;
        }
        let simple = match ty {
            Type::Unit => "null",
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::U128 => "u128",
            Type::I8 => "i8",
            Type::I16 => "i16",
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::I128 => "i128",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Json => "json",
            Type::Handle(handle) if handle.items.is_empty() => handle_name(handle),
            Type::Handle(handle) => {
                return self.write_generic(handle_name(handle), &handle.items, depth, out);
            }
            Type::Struct { name, .. } | Type::Enum { name, .. } => name,
            Type::Option(inner) => return self.write_generic("option", &[*inner], depth, out),
            Type::Seq(item) => return self.write_generic("list", &[*item], depth, out),
            Type::Map(key, value) => return self.write_generic("map", &[*key, *value], depth, out),
            Type::Array(item, len) => {
                out.push('[');
                self.write_name(self.get(*item), depth + 1, out);
                out.push_str(&format!("; {len}]"));
                return;
            }
            Type::Tuple(parts) => {
                out.push('(');
                self.write_list(parts, depth, out);
                out.push(')');
                return;
            }
        };
        out.push_str(simple);
    }

    fn write_generic(&self, name: &str, parts: &[TypeIndex], depth: usize, out: &mut String) {
        out.push_str(name);
        out.push('<');
        self.write_list(parts, depth, out);
        out.push('>');
    }

    fn write_list(&self, parts: &[TypeIndex], depth: usize, out: &mut String) {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.write_name(self.get(*part), depth + 1, out);
        }
    }
}

/// What a handle is called: of a queue each end has a name of its own.
fn handle_name(handle: &HandleType) -> &'static str {
    match (handle.kind, handle.rights) {
        (Kind::Queue, Rights::WRITE) => "sender",
        (Kind::Queue, Rights::READ) => "receiver",
        (Kind::SharedArray, Rights::READ) => "shared_slice",
        (kind, _) => kind.name(),
    }
}

/// Whether two types are written alike: the same parts under the same names. What the types themselves are
/// called does not matter.
pub(crate) fn same_type(a_types: &Types, a: TypeIndex, b_types: &Types, b: TypeIndex) -> bool {
    Comparison { a: a_types, b: b_types, assumed: HashSet::new() }.same(a, b)
}

/// A Rust type as a description has it.
pub(crate) fn described<T: Schema>() -> (Types, TypeIndex) {
    let mut table = TypeTable::default();
    let root = T::describe(&mut table);
    (Types::from_table(table), root)
}

/// Whether a Rust type is what a function takes: its only parameter, or a tuple of several. If it is not, what would
/// be and what this is.
pub(crate) fn fits_parameters<A: Schema>(signature: &Signature) -> Result<(), (String, String)> {
    let (arguments, root) = described::<A>();
    let params: Vec<_> = signature.params().iter().map(|param| param.ty).collect();
    let fits = match params.as_slice() {
        [only] => same_type(signature.types(), *only, &arguments, root),
        several => match (several, arguments.get(root)) {
            ([], Type::Unit) => true,
            (several, Type::Tuple(parts)) if several.len() == parts.len() => several
                .iter()
                .zip(parts)
                .all(|(theirs, ours)| same_type(signature.types(), *theirs, &arguments, *ours)),
            _ => false,
        },
    };
    if fits {
        return Ok(());
    }
    let names: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    let expected =
        if let [only] = names.as_slice() { only.clone() } else { format!("({})", names.join(", ")) };
    Err((expected, arguments.name(arguments.get(root))))
}

struct Comparison<'t> {
    a: &'t Types,
    b: &'t Types,
    /// Pairs that are being compared further up: a type that contains itself.
    assumed: HashSet<(TypeIndex, TypeIndex)>,
}

impl Comparison<'_> {
    fn same(&mut self, a: TypeIndex, b: TypeIndex) -> bool {
        if !self.assumed.insert((a, b)) {
            return true;
        }
        match (self.a.get(a), self.b.get(b)) {
            (Type::Option(a), Type::Option(b)) | (Type::Seq(a), Type::Seq(b)) => self.same(*a, *b),
            (Type::Array(a, n), Type::Array(b, m)) => n == m && self.same(*a, *b),
            (Type::Handle(a), Type::Handle(b)) => {
                (a.kind, a.rights) == (b.kind, b.rights) && self.all(&a.items, &b.items)
            }
            (Type::Map(a, v), Type::Map(b, w)) => self.same(*a, *b) && self.same(*v, *w),
            (Type::Tuple(a), Type::Tuple(b)) => self.all(a, b),
            (Type::Struct { fields: a, .. }, Type::Struct { fields: b, .. }) => self.fields(a, b),
            (Type::Enum { variants: a, .. }, Type::Enum { variants: b, .. }) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.name == b.name && self.variant(&a.data, &b.data))
            }
            (a, b) => a == b,
        }
    }

    fn all(&mut self, a: &[TypeIndex], b: &[TypeIndex]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(*a, *b))
    }

    fn fields(&mut self, a: &[Field], b: &[Field]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && self.same(a.ty, b.ty))
    }

    fn variant(&mut self, a: &VariantData, b: &VariantData) -> bool {
        match (a, b) {
            (VariantData::Newtype(a), VariantData::Newtype(b)) => self.same(*a, *b),
            (VariantData::Tuple(a), VariantData::Tuple(b)) => self.all(a, b),
            (VariantData::Struct(a), VariantData::Struct(b)) => self.fields(a, b),
            (a, b) => *a == VariantData::Unit && *b == VariantData::Unit,
        }
    }
}

/// One task of a guest: its name, what it takes and what it returns, from the guest's own description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    docs: String,
    params: Vec<Field>,
    returns: TypeIndex,
    error: Option<TypeIndex>,
    types: Types,
    /// Of what it takes and what it returns.
    fingerprints: (u64, u64),
}

impl Signature {
    /// Whether its parameters can hold handles on shared objects.
    pub(crate) fn carries_handles(&self) -> bool {
        self.types.0.iter().any(|ty| matches!(ty, Type::Handle(_)))
    }

    /// The fingerprints of what the task takes, one parameter or a tuple, and of what it returns.
    pub(crate) fn fingerprints(&self) -> (u64, u64) {
        self.fingerprints
    }

    /// Takes a guest's description if it is one of the task `name`, and everything in it is in bounds.
    pub(crate) fn check(description: TaskDescription, name: &str) -> Result<Self, String> {
        let TaskDescription { name: own, docs, params, returns, error, types } = description;
        if own != name {
            return Err(format!("the description of `{name}` is one of `{own}`"));
        }
        if types.len() > MAX_TYPES {
            return Err(format!("task `{name}` has {} types, {MAX_TYPES} are allowed", types.len()));
        }
        let check = Check { task: name, types: types.len() };
        check.fields(&params)?;
        check.index(returns)?;
        error.map_or(Ok(()), |error| check.index(error))?;
        types.iter().try_for_each(|ty| check.ty(ty))?;
        let takes: Vec<_> = params.iter().map(|param| param.ty).collect();
        let fingerprints = (fingerprint_of(&types, &takes), fingerprint_of(&types, &[returns]));
        Ok(Self { name: own, docs, params, returns, error, types: Types(types), fingerprints })
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The task's doc comment; empty if it has none.
    pub fn docs(&self) -> &str {
        &self.docs
    }

    /// The parameters: name and type as people write it.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, String)> {
        self.params.iter().map(|param| (param.name.as_str(), self.types.name(self.types.get(param.ty))))
    }

    /// The type of the task's value.
    pub fn returns(&self) -> String {
        self.types.name(self.types.get(self.returns))
    }

    /// The type of the task's error, if it returns one that has a schema.
    pub fn error(&self) -> Option<String> {
        self.error.map(|error| self.types.name(self.types.get(error)))
    }

    /// Reads the arguments of one call from a JSON text, in the form that [`RawTask`](crate::RawTask)
    /// takes.
    ///
    /// A task of one parameter takes it as it is. One of several takes an array of exactly as many, or an
    /// object with their names, where an `Option` may be left out. One of none takes `null` or `[]`.
    ///
    /// # Errors
    /// [`JsonError`] says what does not fit, and where.
    pub fn arguments_from_json(&self, text: &[u8]) -> Result<Vec<u8>, JsonError> {
        let mut out = Vec::new();
        json::arguments_from_json(self, text, &mut out, &json::no_objects)?;
        Ok(out)
    }

    /// The arguments of a task that takes a single string or bytes, from a file's content. None if the
    /// task takes something else.
    ///
    /// # Errors
    /// A [`JsonError`] if the task takes a string and the content is not UTF-8.
    pub fn arguments_from_content(&self, content: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        let [only] = self.params.as_slice() else { return None };
        match self.types.get(only.ty) {
            Type::Bytes => {}
            Type::String => {
                if let Err(error) = std::str::from_utf8(content) {
                    return Some(Err(JsonError {
                        message: format!(
                            "expected text in UTF-8, got other bytes at {}",
                            error.valid_up_to()
                        ),
                        path: String::new(),
                        line: 1,
                        column: 1,
                        syntax: true,
                        unknown_object: false,
                    }));
                }
            }
            _ => return None,
        }
        let mut out = Vec::with_capacity(content.len() + 5);
        wpool_wire::message::push_bytes(&mut out, content);
        Some(Ok(out))
    }

    /// Appends a result in JSON.
    ///
    /// # Errors
    /// A [`ValueError`] if the bytes are not of the type that the description promises.
    pub fn value_to_json(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        json::value_to_json(&self.types, self.returns, value, out)
    }

    /// Appends the value of a task's error in JSON; false if the guest has not described its type.
    ///
    /// # Errors
    /// A [`ValueError`] if the bytes are not of the type that the description promises.
    pub fn error_to_json(&self, value: &[u8], out: &mut Vec<u8>) -> Result<bool, ValueError> {
        match self.error {
            Some(error) => json::value_to_json(&self.types, error, value, out).map(|()| true),
            None => Ok(false),
        }
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
}

/// Checks the parts of one description.
struct Check<'a> {
    task: &'a str,
    types: usize,
}

impl Check<'_> {
    fn index(&self, index: TypeIndex) -> Result<(), String> {
        if (index as usize) < self.types {
            return Ok(());
        }
        Err(format!("task `{}` refers to type {index} of {}", self.task, self.types))
    }

    fn ty(&self, ty: &Type) -> Result<(), String> {
        match ty {
            Type::Option(inner) | Type::Seq(inner) | Type::Array(inner, _) => self.index(*inner),
            Type::Map(key, value) => self.index(*key).and_then(|()| self.index(*value)),
            Type::Tuple(parts) => self.parts(parts),
            Type::Struct { name, fields } => self.name(name).and_then(|()| self.fields(fields)),
            Type::Enum { name, variants } => {
                self.name(name)?;
                self.names(variants.iter().map(|variant| variant.name.as_str()))?;
                variants.iter().try_for_each(|variant| match &variant.data {
                    VariantData::Unit => Ok(()),
                    VariantData::Newtype(inner) => self.index(*inner),
                    VariantData::Tuple(parts) => self.parts(parts),
                    VariantData::Struct(fields) => self.fields(fields),
                })
            }
            Type::Handle(handle) => {
                let expected = match handle.kind {
                    Kind::Dict => 2,
                    Kind::Queue | Kind::Pipe | Kind::List | Kind::Array | Kind::Value | Kind::SharedArray => {
                        1
                    }
                    _ => 0,
                };
                if handle.items.len() != expected {
                    let (kind, count) = (handle.kind.name(), handle.items.len());
                    return Err(format!("task `{}` has a {kind} of {count} types", self.task));
                }
                self.parts(&handle.items)
            }
            _ => Ok(()),
        }
    }

    fn parts(&self, parts: &[TypeIndex]) -> Result<(), String> {
        self.count(parts.len())?;
        parts.iter().try_for_each(|part| self.index(*part))
    }

    fn fields(&self, fields: &[Field]) -> Result<(), String> {
        self.names(fields.iter().map(|field| field.name.as_str()))?;
        fields.iter().try_for_each(|field| self.index(field.ty))
    }

    fn names<'n>(&self, names: impl ExactSizeIterator<Item = &'n str>) -> Result<(), String> {
        self.count(names.len())?;
        let mut seen = HashSet::new();
        for name in names {
            self.name(name)?;
            if !seen.insert(name) {
                return Err(format!("task `{}` has two parts called `{name}`", self.task));
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<(), String> {
        if name.len() <= MAX_NAME {
            Ok(())
        } else {
            Err(format!("task `{}` has a name of {} bytes", self.task, name.len()))
        }
    }

    fn count(&self, count: usize) -> Result<(), String> {
        if count <= MAX_PARTS {
            Ok(())
        } else {
            Err(format!("task `{}` has a type of {count} parts", self.task))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(types: Vec<Type>) -> TaskDescription {
        TaskDescription {
            name: "t".into(),
            docs: String::new(),
            params: vec![],
            returns: 0,
            error: None,
            types,
        }
    }

    #[test]
    fn an_index_out_of_bounds_is_refused_wherever_it_stands() {
        let field = |ty| Field { name: "f".into(), docs: String::new(), ty };
        for ty in [
            Type::Option(1),
            Type::Seq(9),
            Type::Array(1, 2),
            Type::Map(0, 1),
            Type::Tuple(vec![0, 1]),
            Type::Struct { name: "S".into(), fields: vec![field(1)] },
        ] {
            let refused = Signature::check(description(vec![ty.clone()]), "t").unwrap_err();
            assert!(refused.contains("refers to type"), "{ty:?}: {refused}");
        }
        assert!(Signature::check(description(vec![]), "t").is_err());
        assert!(Signature::check(description(vec![Type::Unit]), "other").is_err());
        assert!(Signature::check(description(vec![Type::Unit]), "t").is_ok());
    }

    #[test]
    fn types_have_names_even_without_an_end() {
        let endless = Signature::check(description(vec![Type::Seq(0)]), "t").unwrap();
        assert!(endless.returns().starts_with("list<list<"));
        let types = Types(vec![Type::Map(1, 2), Type::String, Type::Option(3), Type::Array(1, 4)]);
        assert_eq!(types.name(types.get(0)), "map<string, option<[string; 4]>>");
    }
}
