//! Builds a guest package with Cargo, after adding its target to the toolchain if it is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::exit_code::{Failure, NOT_STARTED};
use crate::report;

/// Builds the package in `folder`. Returns the path of its module.
pub(crate) fn build(folder: &Path, target: &str, quiet: bool) -> Result<PathBuf, Failure> {
    if !folder.join("Cargo.toml").is_file() {
        let message = format!("`{}` is a folder without a Cargo.toml", folder.display());
        return Err(Failure::input(message).hint("name a .wasm file, or the folder of a Cargo package"));
    }
    add_missing_target(folder, target)?;
    let modules = modules_of(&run_cargo(folder, target, quiet)?);
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

/// Runs Cargo. Returns its messages, one JSON object per line.
fn run_cargo(folder: &Path, target: &str, quiet: bool) -> Result<Vec<u8>, Failure> {
    if !quiet {
        let command = format!("cd {} && cargo build --release --target {target}", folder.display());
        report::note(&format!("building: {command}"));
    }
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--target", target])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_built("cannot run cargo").because(error))?;
    match built.status.success() {
        true => Ok(built.stdout),
        false => Err(not_built(format!("the guest in `{}` does not build", folder.display()))),
    }
}

fn not_built(message: impl std::fmt::Display) -> Failure {
    Failure::new(NOT_STARTED, message)
}

/// Returns the modules among the artifacts in the messages of Cargo.
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

/// Has rustup add the target if the toolchain of the folder lacks it.
fn add_missing_target(folder: &Path, target: &str) -> Result<(), Failure> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(folder)
        .stderr(Stdio::null())
        .output();
    let present = libraries.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&path).is_dir()
    });
    if present {
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
        Err(error) => Err(not_built("cannot run rustup")
            .because(error)
            .hint(format!("the Rust toolchain lacks the target {target}; add it by other means"))),
    }
}
