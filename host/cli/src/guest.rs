//! Loads the guest, and chooses among its tasks.

use std::path::{Path, PathBuf};

use wpool::{Cache, Guest, LoadError, Loader, Signature};

use crate::build;
use crate::exit_code::{Failure, NOT_STARTED};

/// Where the guest comes from, and how it is loaded.
#[derive(Debug, PartialEq)]
pub(crate) struct GuestSource {
    /// A module, or the folder of a Cargo package.
    pub(crate) path: PathBuf,
    /// The target that a package is built for.
    pub(crate) target: String,
    /// Whether the compiled guest is taken from the cache and kept in it.
    pub(crate) cached: bool,
    /// The argument of the initializer: JSON, or the path of a file that holds it.
    pub(crate) init: Option<String>,
    /// Whether a package is built.
    pub(crate) builds: bool,
    /// Whether a build goes without a word.
    pub(crate) quiet: bool,
}

impl GuestSource {
    /// Builds the guest if it is a package, and loads it.
    pub(crate) fn load(&self) -> Result<Guest, Failure> {
        if self.path.is_dir() && !self.builds {
            return Err(Failure::input(format!(
                "`{}` is a folder, and --no-build was given",
                self.path.display()
            ))
            .hint("build it elsewhere, and name the .wasm file"));
        }
        let built =
            self.path.is_dir().then(|| build::build(&self.path, &self.target, self.quiet)).transpose()?;
        let guest = load_module(built.as_deref().unwrap_or(&self.path), self.cached)?;
        let Some(init) = &self.init else { return Ok(guest) };
        guest
            .initialized_from_json(&init_argument(init)?)
            .map_err(|error| Failure::input(error).hint("run `wpool inspect GUEST` to see what it takes"))
    }
}

fn load_module(path: &Path, cached: bool) -> Result<Guest, Failure> {
    let loader = if cached { Loader::new() } else { Loader::new().cache(Cache::none()) };
    loader.file(path).map_err(|error| {
        let hint = hint(&error);
        let failure = Failure::new(NOT_STARTED, format!("cannot load `{}`", path.display())).because(error);
        if let Some(hint) = hint { failure.hint(hint) } else { failure }
    })
}

fn hint(error: &LoadError) -> Option<&'static str> {
    match error {
        LoadError::UnknownImport { module, .. } if module.starts_with("wasi:") || module == "env" => Some(
            "a guest is built for wasm32-unknown-unknown, or for wasm32-wasip1 if it needs a standard output",
        ),
        LoadError::MissingExport { .. } => {
            Some("a guest uses the crate wpool-guest; `wpool new NAME` makes one")
        }
        _ => None,
    }
}

fn init_argument(init: &str) -> Result<Vec<u8>, Failure> {
    let path = Path::new(init);
    if !path.is_file() {
        return Ok(init.as_bytes().to_vec());
    }
    std::fs::read(path).map_err(|error| Failure::cannot_read(path, error))
}

/// Returns the task named `wanted`, or the only task there is.
pub(crate) fn choose_task<'g>(guest: &'g Guest, wanted: Option<&str>) -> Result<&'g Signature, Failure> {
    if let Some(name) = wanted {
        return guest
            .task(name)
            .map_err(|error| Failure::input(error).hint("run `wpool inspect GUEST` to see its tasks"));
    }
    match guest.tasks() {
        [only] => Ok(only),
        [] => Err(Failure::input("the guest has no tasks").hint("mark a function with #[wpool_guest::task]")),
        several => {
            let mut shown: Vec<String> =
                several.iter().take(MAX_SHOWN).map(|task| format!("  {}", signature(task))).collect();
            if several.len() > MAX_SHOWN {
                shown.push(format!("  and {} more", several.len() - MAX_SHOWN));
            }
            Err(Failure::input(format!("the guest has {} tasks:\n{}", several.len(), shown.join("\n")))
                .hint("choose one with --task NAME"))
        }
    }
}

/// The tasks that an error lists.
const MAX_SHOWN: usize = 20;

/// The bytes of a signature that are shown. The guest has chosen the names in it.
const MAX_SIGNATURE: usize = 10_000;

/// Returns a task's signature in the notation of its author: `square(x: i64) -> i64`.
pub(crate) fn signature(task: &Signature) -> String {
    let mut room = MAX_SIGNATURE;
    let mut parameters = Vec::new();
    for (name, ty) in task.parameters() {
        let parameter = format!("{name}: {ty}");
        let Some(left) = room.checked_sub(parameter.len()) else {
            parameters.push("…".to_owned());
            break;
        };
        room = left;
        parameters.push(parameter);
    }
    let returns = match task.error() {
        Some(error) => format!("result<{}, {error}>", task.returns()),
        None => task.returns(),
    };
    format!("{}({}) -> {returns}", task.name(), parameters.join(", "))
}
