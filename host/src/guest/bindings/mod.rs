//! Typed bindings of a guest: its structs and enums, and a handle per task, as Rust for an embedding program.

mod names;
mod types;

use std::collections::HashMap;

use wpool_abi::{Field, Type, TypeIndex, Variant, VariantData};
use wpool_schema::fingerprint_of;

use self::names::{Names, push_docs};
use self::types::{RustTypes, base_name, has_handle, has_order, tuple_struct, unsupported};
use super::signature::Signature;

/// The largest number of types that are defined, for all tasks of a guest together.
const MAX_DEFINITIONS: usize = 2000;

const HEADER: &str = "\
// Bindings of a wpool guest, printed by `wpool inspect --rust`: its types, and a typed handle per task.
//
// They need the crates `wpool-host` and `serde`, the latter with its feature `derive`.

";

/// The beginning of the struct of the tasks.
const TASKS: &str = "\
/// The guest's tasks.
#[derive(Debug, Clone)]
#[allow(clippy::type_complexity, reason = \"the types are the guest's\")]
pub struct Tasks {
";

/// The functions that look the tasks up: name, parameter, and whose tasks these are.
const LOOKUPS: &[(&str, &str, &str)] = &[
    ("of", "wpool::Pool", "the guest that a pool was built with"),
    ("of_loaded", "wpool::LoadedGuest", "a guest that was loaded into a pool"),
];

/// Returns the bindings of a guest with these tasks.
pub(super) fn bindings(tasks: &[Signature], init: Option<&Signature>) -> String {
    let mut printer = Printer::default();
    let init = init.map(|init| printer.signature(init).map(|types| (init, types)));
    let tasks: Vec<_> = tasks.iter().map(|task| (task, printer.signature(task))).collect();
    let mut out = HEADER.to_owned();
    out.push_str(&printer.out);
    if let Some(init) = init {
        push_init(&init, &mut out);
    }
    push_tasks(&tasks, &mut out);
    out
}

/// The Rust types of a signature's parameters, as one type, of its value, and of its error.
struct TaskTypes {
    takes: String,
    returns: String,
    error: Option<String>,
}

/// The definitions of all signatures of a guest.
struct Printer {
    out: String,
    names: Names,
    /// The names of what was defined, by its own name and its form.
    known: HashMap<(String, u64), String>,
}

impl Default for Printer {
    fn default() -> Self {
        Self { out: String::new(), names: Names::of_types(), known: HashMap::new() }
    }
}

impl Printer {
    /// Defines the types of a signature. Returns the types of its parameters and results, or why it cannot have any.
    fn signature(&mut self, signature: &Signature) -> Result<TaskTypes, &'static str> {
        let types = signature.types();
        let outline = signature.outline().ok_or("its types have too many parts")?;
        if let Some(reason) = unsupported(types, &outline) {
            return Err(reason);
        }
        if signature.params().len() > super::outline::MAX_TUPLE {
            return Err("it has more than 8 parameters");
        }
        if self.known.len() + outline.defined().count() > MAX_DEFINITIONS {
            return Err("the guest has too many types");
        }
        let mut rust = RustTypes::new(types);
        let mut new = Vec::new();
        for index in outline.defined() {
            let base = base_name(types.get(index));
            // Forms that differ only behind the limits of a fingerprint become one: the lookup of the task refuses it.
            let form = fingerprint_of(types.all(), &[index]);
            let known = self.known.entry((base.to_owned(), form)).or_insert_with(|| {
                new.push(index);
                self.names.upper(base)
            });
            rust.names.insert(index, known.clone());
        }
        for index in new {
            push_definition(&mut rust, index, &mut self.out);
        }
        let params: Vec<String> =
            signature.params().iter().map(|param| rust.written(param.ty, None)).collect();
        let takes = match params.as_slice() {
            [only] => only.clone(),
            several => format!("({})", several.join(", ")),
        };
        let returns = rust.written(signature.returns_index(), None);
        let error = signature.error_index().map(|error| rust.written(error, None));
        Ok(TaskTypes { takes, returns, error })
    }
}

fn push_definition(rust: &mut RustTypes<'_>, index: TypeIndex, out: &mut String) {
    let types = rust.types;
    let (ty, name) = (types.get(index), rust.names[&index].clone());
    let compared = match (has_order(types, index), has_handle(types, index)) {
        (true, _) => "PartialEq, Eq, PartialOrd, Ord, Hash, ",
        (false, false) => "PartialEq, ",
        (false, true) => "",
    };
    out.push_str(&format!(
        "#[derive(Debug, Clone, {compared}serde::Serialize, serde::Deserialize, wpool::Schema)]\n"
    ));
    match ty {
        Type::Struct { fields, .. } => {
            out.push_str(&format!("pub struct {name} {{\n"));
            push_fields(rust, fields, index, 4, "pub ", out);
            out.push('}');
        }
        Type::Enum { variants, .. } => {
            out.push_str(&format!("pub enum {name} {{\n"));
            push_variants(rust, variants, index, out);
            out.push('}');
        }
        ty => {
            let parts: Vec<String> = match tuple_struct(ty) {
                Some(parts) => parts.iter().map(|part| rust.written(*part, Some(index))).collect(),
                None => vec![rust.written_in_place(index, Some(index))],
            };
            let parts: Vec<String> = parts.iter().map(|part| format!("pub {part}")).collect();
            out.push_str(&format!("pub struct {name}({});", parts.join(", ")));
        }
    }
    out.push_str("\n\n");
}

fn push_fields(
    rust: &mut RustTypes<'_>,
    fields: &[Field],
    inside: TypeIndex,
    indent: usize,
    visibility: &str,
    out: &mut String,
) {
    let mut names = Names::of_fields();
    for field in fields {
        let name = names.lower(&field.name);
        push_docs(&field.docs, indent, out);
        push_rename(&name, &field.name, indent, out);
        out.push_str(&format!(
            "{:indent$}{visibility}{name}: {},\n",
            "",
            rust.written(field.ty, Some(inside))
        ));
    }
}

fn push_variants(rust: &mut RustTypes<'_>, variants: &[Variant], inside: TypeIndex, out: &mut String) {
    let mut names = Names::of_types();
    for variant in variants {
        let name = names.upper(&variant.name);
        push_docs(&variant.docs, 4, out);
        push_rename(&name, &variant.name, 4, out);
        let mut tuple = |parts: &[TypeIndex]| {
            let parts: Vec<String> = parts.iter().map(|part| rust.written(*part, Some(inside))).collect();
            format!("({})", parts.join(", "))
        };
        let data = match &variant.data {
            VariantData::Unit => String::new(),
            VariantData::Newtype(inner) => tuple(&[*inner]),
            VariantData::Tuple(parts) => tuple(parts),
            VariantData::Struct(fields) => {
                let mut data = " {\n".to_owned();
                push_fields(rust, fields, inside, 8, "", &mut data);
                data + "    }"
            }
        };
        out.push_str(&format!("    {name}{data},\n"));
    }
}

/// Appends serde's attribute for a name in JSON that is not the one in Rust.
fn push_rename(rust: &str, json: &str, indent: usize, out: &mut String) {
    if rust != json {
        out.push_str(&format!("{:indent$}#[serde(rename = {json:?})]\n", ""));
    }
}

fn push_init(init: &Result<(&Signature, TaskTypes), &str>, out: &mut String) {
    match init {
        Ok((init, types)) => {
            push_docs(&format!("The argument of `Guest::initialized_with`.\n\n{}", init.docs()), 0, out);
            out.push_str(&format!("pub type InitArgument = {};\n\n", types.takes));
        }
        Err(reason) => {
            out.push_str(&format!("// The initializer's argument has no type here: {reason}.\n\n"));
        }
    }
}

fn push_tasks(tasks: &[(&Signature, Result<TaskTypes, &str>)], out: &mut String) {
    let mut names = Names::of_fields();
    let (mut fields, mut looked_up) = (String::new(), String::new());
    for (task, types) in tasks {
        let types = match types {
            Ok(types) => types,
            Err(reason) => {
                fields.push_str(&format!("    // {:?} has no type here: {reason}.\n", task.name()));
                continue;
            }
        };
        let name = names.lower(task.name());
        let takes: Vec<&str> = task.params().iter().map(|param| param.name.as_str()).collect();
        push_docs(task.docs(), 4, &mut fields);
        if takes.len() > 1 {
            push_docs(&format!("\nTakes ({}).", takes.join(", ")), 4, &mut fields);
        }
        if let Some(error) = &types.error {
            push_docs(&format!("\nIts error is `{error}`: see `wpool::GuestError::decode`."), 4, &mut fields);
        }
        fields.push_str(&format!("    pub {name}: wpool::Task<{}, {}>,\n", types.takes, types.returns));
        looked_up.push_str(&format!("            {name}: tasks.task({:?})?,\n", task.name()));
    }
    out.push_str(TASKS);
    out.push_str(&fields);
    out.push_str("}\n\nimpl Tasks {\n");
    let tasks = if looked_up.is_empty() { "_tasks" } else { "tasks" };
    for (function, source, owner) in LOOKUPS {
        out.push_str(&format!("    /// Returns the tasks of {owner}.\n    ///\n    /// # Errors\n"));
        out.push_str("    /// If the guest is another one: it lacks a task, or one has other types.\n");
        out.push_str(&format!(
            "    pub fn {function}({tasks}: &{source}) -> Result<Self, wpool::TaskLookupError> {{\n"
        ));
        out.push_str(&format!("        Ok(Self {{\n{looked_up}        }})\n    }}\n"));
        if *function == "of" {
            out.push('\n');
        }
    }
    out.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use wpool_abi::TaskDescription;

    use super::*;

    /// The signature of a task without parameters that returns the first type.
    fn task(name: &str, types: Vec<Type>) -> Signature {
        let (own, docs) = (name.to_owned(), String::new());
        let description = TaskDescription { name: own, docs, params: vec![], returns: 0, error: None, types };
        Signature::new(description, name).unwrap()
    }

    fn printed(types: Vec<Type>) -> String {
        bindings(&[task("t", types)], None)
    }

    fn field(name: &str, ty: TypeIndex) -> Field {
        Field { name: name.into(), docs: String::new(), ty }
    }

    #[test]
    fn a_type_that_contains_itself_is_in_a_box_or_in_a_list() {
        let fields = vec![field("next", 1), field("all", 2), field("pair", 3)];
        let types = vec![
            Type::Struct { name: "Node".into(), fields },
            Type::Option(0),
            Type::Seq(0),
            Type::Tuple(vec![0, 4]),
            Type::Struct { name: "Other".into(), fields: vec![field("back", 1)] },
        ];
        let text = printed(types);
        for line in [
            "pub next: Option<Box<Node>>,",
            "pub all: Vec<Node>,",
            "pub pair: (Box<Node>, Box<Other>),",
            "pub back: Option<Box<Node>>,",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn what_rust_cannot_write_is_a_comment() {
        for (types, reason) in [
            (vec![Type::Array(1, 33), Type::U8], "more than 32 elements"),
            (vec![Type::Map(1, 1), Type::F32], "keys have no order"),
            ((1..10_000).map(Type::Option).chain([Type::Tuple(vec![0; 9])]).collect(), "too many parts"),
        ] {
            let text = printed(types);
            assert!(text.contains("// \"t\" has no type here: "), "{text}");
            assert!(text.contains(reason) && text.contains("_tasks: &wpool::Pool"), "{text}");
        }
    }

    #[test]
    fn a_hostile_description_gives_a_text_of_bounded_size() {
        let doubled = (1..3000).map(|next| Type::Tuple(vec![next, next])).chain([Type::U8]).collect();
        assert!(printed(doubled).contains("too many types"));
        let doubled = (1..1000).map(|next| Type::Tuple(vec![next, next])).chain([Type::U8]).collect();
        let text = printed(doubled);
        assert!(text.len() < 1_000_000 && text.contains("pub struct Type2("), "{}", text.len());
        let chain = |fields: TypeIndex| {
            let node = move |next: TypeIndex| Type::Struct {
                name: "N".into(),
                fields: (0..fields).map(|n| field(&format!("f{n}"), next % 300)).collect(),
            };
            (1..=300).map(node).collect::<Vec<_>>()
        };
        let tasks: Vec<Signature> = (0..20).map(|n| task(&format!("t{n}"), chain(30))).collect();
        let text = bindings(&tasks, None);
        assert!(text.len() < 2_000_000, "{}", text.len());
    }

    #[test]
    fn a_name_is_never_code() {
        let evil = "a { } fn main() { panic!() } /* \" \n #![x] //";
        let types = vec![Type::Struct { name: evil.into(), fields: vec![field(evil, 1)] }, Type::U8];
        let text = bindings(&[task(evil, types)], None);
        for line in text.lines().filter(|line| line.contains("panic!()")) {
            let is_literal = line.contains("rename = \"a { }") || line.contains("tasks.task(\"a { }");
            assert!(is_literal && line.contains("/* \\\" \\n"), "{line}");
        }
        assert!(text.contains("pub struct AFnMainPanicX"), "{text}");
    }

    #[test]
    fn equal_types_of_several_tasks_are_defined_once() {
        let point = |ty| vec![Type::Struct { name: "Point".into(), fields: vec![field("x", 1)] }, ty];
        let tasks = [task("a", point(Type::U8)), task("b", point(Type::U8)), task("c", point(Type::Bool))];
        let text = bindings(&tasks, None);
        assert_eq!(text.matches("pub struct Point").count(), 2, "{text}");
        assert!(
            text.contains("pub b: wpool::Task<(), Point>") && text.contains("pub c: wpool::Task<(), Point2>")
        );
    }
}
