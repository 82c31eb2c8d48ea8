//! `wpool inspect` and `wpool cache`: shows a guest, and the compiled guests, without running a task.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use wpool::{Cache, Guest, Signature};

use crate::exit_code::{Done, Failure, SUCCESS};
use crate::guest::{GuestSource, signature};
use crate::report;
use crate::types::{docs, types};

/// The size in bytes from which on the schemas of further tasks are left out: a guest chooses its types.
const MAX_SCHEMAS: usize = 16 << 20;
/// The size of the tasks' signatures and docs in a text, beyond which no further task is shown.
const MAX_TEXT: usize = 1 << 20;

/// The form in which a guest is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Rust,
}

/// Shows a guest's tasks, types, imports, memory and size.
pub(crate) fn inspect(guest: &GuestSource, form: Form) -> Done {
    let guest = guest.load()?;
    let text = match form {
        Form::Text => as_text(&guest),
        Form::Json => format!("{:#}\n", as_json(&guest)),
        Form::Rust => guest.rust_bindings(),
    };
    report::print(&text)?;
    Ok(ExitCode::from(SUCCESS))
}

fn as_json(guest: &Guest) -> Value {
    let (start, most) = guest.memory();
    let mut room = MAX_SCHEMAS;
    let init = guest.initializer().map(|init| function_as_json(init, &mut room));
    let tasks: Vec<Value> = guest.tasks().iter().map(|task| function_as_json(task, &mut room)).collect();
    let imports: Vec<Value> = guest
        .imports()
        .map(|(module, name, ty)| json!({"module": module, "name": name, "type": ty}))
        .collect();
    json!({
        "identity": guest.identity().to_string(),
        "size": guest.size(),
        "image_size": guest.image_size(),
        "memory": {"start": start, "max": most},
        "init": init,
        "tasks": tasks,
        "imports": imports,
    })
}

/// Describes a function. Schemas and parameters are left out if they are larger than `room`, from which their size is taken.
fn function_as_json(function: &Signature, room: &mut usize) -> Value {
    let mut parameters = Vec::new();
    for (name, ty) in function.parameters() {
        let Some(left) = room.checked_sub(name.len() + ty.len()) else { break };
        *room = left;
        parameters.push(json!({"name": name, "type": ty}));
    }
    json!({
        "name": function.name(),
        "docs": function.docs(),
        "parameters": parameters,
        "returns": function.returns(),
        "error": function.error(),
        "schema": (*room > 0).then(|| schemas(function).filter(|schemas| fits(schemas, room))).flatten(),
    })
}

/// Returns the JSON Schemas of a function; `None` if its types have too many parts.
fn schemas(function: &Signature) -> Option<Value> {
    let (input, result) = (function.input_schema()?, function.value_schema()?);
    Some(json!({"input": input, "result": result, "error": function.error_schema()}))
}

fn fits(schemas: &Value, room: &mut usize) -> bool {
    let left = room.checked_sub(schemas.to_string().len());
    *room = left.unwrap_or(0);
    left.is_some()
}

fn as_text(guest: &Guest) -> String {
    let mut text = String::new();
    let init = guest.initializer().map(|init| ("init ", init));
    for (kind, function) in init.into_iter().chain(guest.tasks().iter().map(|task| ("", task))) {
        if text.len() > MAX_TEXT {
            text += "and more\n";
            break;
        }
        text += &format!("{kind}{}\n", signature(function));
        text += &docs(function.docs(), 4);
    }
    text += &types(guest);
    if guest.tasks().is_empty() {
        text += "no tasks\n";
    }
    let (start, most) = guest.memory();
    let most = most
        .map_or_else(|| "no limit of its own".to_owned(), |most| format!("at most {}", report::size(most)));
    let imports: Vec<String> = guest.imports().map(|(module, name, _)| format!("{module}.{name}")).collect();
    let imports = if imports.is_empty() { "none".to_owned() } else { imports.join(", ") };
    let rows = [
        vec!["memory".to_owned(), format!("{} at the start, {most}", report::size(start))],
        vec![
            "size".to_owned(),
            format!("{}, compiled {}", report::size(guest.size() as u64), report::size(guest.image_size())),
        ],
        vec!["imports".to_owned(), imports],
        vec!["identity".to_owned(), guest.identity().to_string()],
    ];
    text.push('\n');
    report::escaped(&(text + &report::table(&rows)))
}

/// Shows the cache of compiled guests.
pub(crate) fn cache() -> Done {
    let cache = Cache::default();
    let Some(path) = cache.path() else {
        return Err(Failure::input("there is no cache").hint("set HOME or XDG_CACHE_HOME"));
    };
    let entries = cache
        .entries()
        .map_err(|error| Failure::input(format!("cannot list `{}`", path.display())).because(error))?;
    let total: u64 = entries.iter().map(|entry| entry.size).sum();
    let mut rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let name: String = entry.name.chars().take(16).collect();
            vec![name, report::size(entry.size), format!("used {} ago", age(entry.used))]
        })
        .collect();
    rows.push(vec![
        format!("{} compiled guests", entries.len()),
        report::size(total),
        format!("in {}", path.display()),
    ]);
    report::print(&report::table(&rows))?;
    Ok(ExitCode::from(SUCCESS))
}

/// Formats the time since `then` for people.
fn age(then: SystemTime) -> String {
    let age = SystemTime::now().duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match age {
        0..120 => format!("{age} s"),
        120..7200 => format!("{} min", age / 60),
        7200..172_800 => format!("{} h", age / 3600),
        _ => format!("{} days", age / 86_400),
    }
}

/// Removes all compiled guests.
pub(crate) fn clear_cache() -> Done {
    let removed =
        Cache::default().clear().map_err(|error| Failure::input("cannot clear the cache").because(error))?;
    report::print(&format!("removed {removed} compiled guests\n"))?;
    Ok(ExitCode::from(SUCCESS))
}
