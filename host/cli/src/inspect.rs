//! `wpool inspect` and `wpool cache`: shows a guest, and the compiled guests, without running a task.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use wpool::{Cache, Guest, Signature};

use crate::exit_code::{Done, Failure, SUCCESS};
use crate::guest::{GuestSource, signature};
use crate::report;

/// Shows a guest's tasks, types, imports, memory and size.
pub(crate) fn inspect(guest: &GuestSource, json: bool) -> Done {
    let guest = guest.load()?;
    let text = if json { format!("{:#}\n", as_json(&guest)) } else { as_text(&guest) };
    report::print(&text);
    Ok(ExitCode::from(SUCCESS))
}

fn as_json(guest: &Guest) -> Value {
    let (start, most) = guest.memory();
    let tasks: Vec<Value> = guest.tasks().iter().map(function_as_json).collect();
    let imports: Vec<Value> = guest
        .imports()
        .map(|(module, name, ty)| json!({"module": module, "name": name, "type": ty}))
        .collect();
    json!({
        "identity": guest.identity().to_string(),
        "size": guest.size(),
        "image_size": guest.image_size(),
        "memory": {"start": start, "max": most},
        "init": guest.initializer().map(function_as_json),
        "tasks": tasks,
        "imports": imports,
    })
}

fn function_as_json(function: &Signature) -> Value {
    let parameters: Vec<Value> =
        function.parameters().map(|(name, ty)| json!({"name": name, "type": ty})).collect();
    json!({
        "name": function.name(),
        "docs": function.docs(),
        "parameters": parameters,
        "returns": function.returns(),
        "error": function.error(),
    })
}

fn as_text(guest: &Guest) -> String {
    let mut text = String::new();
    let init = guest.initializer().map(|init| ("init ", init));
    for (kind, function) in init.into_iter().chain(guest.tasks().iter().map(|task| ("", task))) {
        text += &format!("{kind}{}\n", signature(function));
        for line in function.docs().lines() {
            text += &format!("    {line}\n");
        }
    }
    if guest.tasks().is_empty() {
        text += "no tasks\n";
    }
    let (start, most) = guest.memory();
    let most =
        most.map_or_else(|| "no limit of its own".to_owned(), |most| format!("at most {}", size(most)));
    let imports: Vec<String> = guest.imports().map(|(module, name, _)| format!("{module}.{name}")).collect();
    let imports = if imports.is_empty() { "none".to_owned() } else { imports.join(", ") };
    let rows = [
        vec!["memory".to_owned(), format!("{} at the start, {most}", size(start))],
        vec![
            "size".to_owned(),
            format!("{}, compiled {}", size(guest.size() as u64), size(guest.image_size())),
        ],
        vec!["imports".to_owned(), imports],
        vec!["identity".to_owned(), guest.identity().to_string()],
    ];
    text.push('\n');
    report::escaped(&(text + &report::table(&rows)))
}

/// Formats a size for people.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let bytes_f = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes_f / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes_f / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes_f / 1_073_741_824.0),
    }
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
            vec![name, size(entry.size), format!("used {} ago", age(entry.used))]
        })
        .collect();
    rows.push(vec![
        format!("{} compiled guests", entries.len()),
        size(total),
        format!("in {}", path.display()),
    ]);
    report::print(&report::table(&rows));
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
    report::print(&format!("removed {removed} compiled guests\n"));
    Ok(ExitCode::from(SUCCESS))
}
