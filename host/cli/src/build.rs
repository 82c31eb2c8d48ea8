//! Finds the guest: a module as it is, or a Cargo package that is built first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use wpool::{Cache, Guest, Loader};

use crate::args::GuestArgs;
use crate::exit_code::{Failure, NOT_STARTED};
use crate::report;

/// Loads the guest that the arguments name.
pub(crate) fn load(args: &GuestArgs) -> Result<Guest, Failure> {
    let module = if args.path.is_dir() { build(&args.path, &args.target)? } else { args.path.clone() };
    let mut loader = Loader::new();
    if args.no_cache {
        loader = loader.cache(Cache::none());
    }
    loader.file(&module).map_err(|error| {
        let failure = Failure::start(&error);
        let failure = Failure { message: format!("cannot load `{}`: {}", module.display(), failure.message), ..failure };
        match error {
            wpool::LoadError::UnknownImport { module, .. } if module.starts_with("wasi:") || module == "env" => failure
                .hint("a guest is built for wasm32-unknown-unknown, or for wasm32-wasip1 if it needs a standard output"),
            wpool::LoadError::MissingExport { .. } => {
                failure.hint("a guest uses the crate wpool-guest; `wpool new NAME` makes one")
            }
            _ => failure,
        }
    })
}

/// Builds a package with Cargo, and returns its module.
fn build(folder: &Path, target: &str) -> Result<PathBuf, Failure> {
    if !folder.join("Cargo.toml").is_file() {
        let message = format!("`{}` is a folder without a Cargo.toml", folder.display());
        return Err(Failure::input(message).hint("name a .wasm file, or the folder of a Cargo package"));
    }
    add_missing_target(folder, target)?;
    report::note(&format!("building: cd {} && cargo build --release --target {target}", folder.display()));
    let built = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--quiet",
            "--target",
            target,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_built(format!("cannot run cargo: {error}")))?;
    if !built.status.success() {
        return Err(not_built(format!("the guest in `{}` does not build", folder.display())));
    }
    let modules = modules_of(&built.stdout);
    match modules.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(not_built(format!("the package in `{}` makes no module", folder.display()))
            .hint("a guest package is a cdylib: [lib] crate-type = [\"cdylib\"]")),
        several => {
            let names: Vec<String> = several.iter().map(|path| format!("`{}`", path.display())).collect();
            Err(Failure::input(format!("the package makes {} modules: {}", several.len(), names.join(", ")))
                .hint("name one of them instead of the folder"))
        }
    }
}

fn not_built(message: String) -> Failure {
    Failure { code: NOT_STARTED, message, causes: Vec::new(), hint: None }
}

/// The modules among what Cargo says that it has made.
fn modules_of(messages: &[u8]) -> Vec<PathBuf> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}

/// Has rustup add the target if the toolchain of that folder lacks it.
fn add_missing_target(folder: &Path, target: &str) -> Result<(), Failure> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(folder)
        .stderr(Stdio::null())
        .output();
    let there = libraries.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&path).is_dir()
    });
    if there {
        return Ok(());
    }
    report::note(&format!("adding the target: rustup target add {target}"));
    let added = Command::new("rustup")
        .args(["target", "add", target])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(not_built(format!("rustup cannot add the target {target}: {status}"))),
        Err(error) => Err(not_built(format!("cannot run rustup: {error}"))
            .hint(format!("the Rust toolchain lacks the target {target}; add it by other means"))),
    }
}
