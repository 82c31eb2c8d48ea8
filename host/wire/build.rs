//! Hashes the sources of the protocol, so that a parent and a child of different builds recognise each other.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// The messages hold types of the guest ABI. Its sources are beside this crate in a checkout; a published package has
/// its version instead, which is part of the build's name anyway.
const SOURCES: [&str; 2] = ["src", "../../guest-sdk/abi/src"];

fn main() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for source in SOURCES.iter().filter(|source| package.join(source).exists()) {
        collect(&package.join(source), &mut files);
        println!("cargo::rerun-if-changed={source}");
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(&file).expect("a source file can be read").hash(&mut hasher);
    }
    println!("cargo::rustc-env=WPOOL_SOURCE_HASH={:016x}", hasher.finish());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the source folder can be listed") {
        let path = entry.expect("the source folder can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
