//! The structs and enums of a guest as text, for `wpool inspect`.

use std::collections::HashSet;

use wpool::{FieldDefinition, Guest, TypeBody, TypeDefinition, VariantBody, VariantDefinition};

/// The longest list of types that is shown, in bytes: the names and docs are the guest's.
const MAX_TEXT: usize = 1 << 20;

/// Returns the structs and enums of all tasks and of the initializer, each once.
pub(crate) fn types(guest: &Guest) -> String {
    let (mut text, mut shown) = (String::new(), HashSet::new());
    for function in guest.initializer().into_iter().chain(guest.tasks()) {
        let Some(definitions) = function.definitions() else {
            text +=
                &format!("\nthe types of {} have too many parts to be shown\n", one_line(function.name()));
            continue;
        };
        for definition in definitions.iter().map(definition) {
            if text.len() + definition.len() > MAX_TEXT {
                return text + "\nthere are more types than can be shown\n";
            }
            if shown.insert(definition.clone()) {
                text += &definition;
            }
        }
    }
    text
}

fn definition(definition: &TypeDefinition) -> String {
    let name = one_line(&definition.name);
    match &definition.body {
        TypeBody::Struct(fields) => format!("\nstruct {name}\n{}", self::fields(fields, 4)),
        TypeBody::Enum(variants) => {
            format!("\nenum {name}\n{}", variants.iter().map(variant).collect::<String>())
        }
        // A kind of a later version of the library.
        _ => String::new(),
    }
}

fn fields(fields: &[FieldDefinition], indent: usize) -> String {
    let field = |field: &FieldDefinition| {
        let (name, ty) = (one_line(&field.name), one_line(&field.ty));
        format!("{:indent$}{name}: {ty}\n{}", "", docs(&field.docs, indent + 4))
    };
    fields.iter().map(field).collect()
}

fn variant(variant: &VariantDefinition) -> String {
    let (values, fields) = match &variant.body {
        VariantBody::Values(types) => {
            let types: Vec<String> = types.iter().map(|ty| one_line(ty)).collect();
            (format!("({})", types.join(", ")), String::new())
        }
        VariantBody::Fields(own) => (String::new(), fields(own, 8)),
        _ => (String::new(), String::new()),
    };
    format!("    {}{values}\n{}{fields}", one_line(&variant.name), docs(&variant.docs, 8))
}

/// Returns a doc comment as lines, indented.
pub(crate) fn docs(docs: &str, indent: usize) -> String {
    docs.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// Returns a name without line breaks, which would look like another line of the list.
fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}
