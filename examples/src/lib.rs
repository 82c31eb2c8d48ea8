//! Helpers of the example programs: they build and locate guests, and print lines. The book's code is tested here, too.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(doctest)]
mod book;

/// Builds the example guests with Cargo, and returns the folder of their modules.
///
/// # Errors
/// If they do not build.
pub fn guests() -> Result<PathBuf, Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--workspace", "--exclude", "behaviours"])
        .args(["--target", "wasm32-unknown-unknown"])
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&workspace)
        .status()?;
    if !status.success() {
        return Err("the example guests do not build".into());
    }
    Ok(workspace.join("target/wasm32-unknown-unknown/release"))
}

/// The module of one example guest.
///
/// # Errors
/// If it does not build.
pub fn guest(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(guests()?.join(name).with_extension("wasm"))
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
pub fn say(line: &str) {
    println!("{line}");
}

/// Prints the lines that a task has logged, without their level.
pub fn say_log(log: &wpool::TaskLog) {
    log.text().lines().for_each(|line| say(line.strip_prefix("info: ").unwrap_or(line)));
}
