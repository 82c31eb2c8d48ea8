//! Builds the guests for both targets, and writes their paths as constants.

use std::path::{Path, PathBuf};
use std::process::Command;

const PLAIN: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip1";

fn main() {
    let guests = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guests");
    for sources in ["../guests", "../guest-sdk"] {
        watch(Path::new(sources));
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let target = out.join("guests");
    for wanted in [PLAIN, WASI] {
        add_missing_target(wanted, &guests);
    }
    build(&guests, &target, PLAIN, &["--workspace"]);
    build(&guests, &target, WASI, &["--package", "behaviours"]);
    write_constants(&guests, &target, &out);
}

/// Runs this again when a source below `folder` changes. `target` is what an author's own build leaves there.
fn watch(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let entry = entry.expect("the folder can be listed");
        if entry.file_name() != "target" {
            println!("cargo::rerun-if-changed={}", entry.path().display());
        }
    }
}

/// A nested cargo must not wait for the outer one's lock, nor be a clippy, nor take its flags.
fn nested(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "CLIPPY_ARGS",
        "RUSTC",
        "RUSTDOC",
    ] {
        command.env_remove(variable);
    }
    command
}

fn add_missing_target(target: &str, folder: &Path) {
    let libraries = nested("rustc", folder).args(["--print", "target-libdir", "--target", target]).output();
    let there =
        libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    if !there {
        let status = nested("rustup", folder).args(["target", "add", target]).status();
        assert!(status.is_ok_and(|status| status.success()), "rustup could not add the target {target}");
    }
}

fn build(guests: &Path, target_dir: &Path, target: &str, what: &[&str]) {
    let status = nested("cargo", guests)
        .args(["build", "--release", "--locked", "--target", target])
        .args(what)
        .env("CARGO_TARGET_DIR", target_dir)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the guests do not build for {target}");
}

/// Writes a constant for each guest.
fn write_constants(guests: &Path, target: &Path, out: &Path) {
    let release = |triple: &str| target.join(triple).join("release");
    let mut names: Vec<String> = std::fs::read_dir(guests.join("behaviours/src/bin"))
        .expect("the behaviours are there")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    let mut text = String::new();
    for name in &names {
        let triple = if name.starts_with("wasi_") { WASI } else { PLAIN };
        let path = release(triple).join(name).with_extension("wasm");
        text += &format!(
            "/// The guest of this behaviour.\npub const {}: &str = {path:?};\n",
            name.to_uppercase()
        );
    }
    for name in ["mandelbrot", "pi", "primes", "thumbnail", "wordcount"] {
        let path = release(PLAIN).join(name).with_extension("wasm");
        text += &format!("/// An example's guest.\npub const {}: &str = {path:?};\n", name.to_uppercase());
    }
    std::fs::write(out.join("guests.rs"), text).expect("the constants can be written");
}
