//! The structure of the tree as its own tests and its picture read it: crates, files, imports, functions.

pub mod functions;
pub mod graph;
pub mod imports;
pub mod picture;
pub mod soak;
pub mod sources;

use std::path::{Path, PathBuf};

/// The crates whose structure is kept, by the folders of their packages.
pub const CRATES: &[&str] = &[
    "host",
    "host/wire",
    "host/worker",
    "host/cli",
    "guest-sdk",
    "guest-sdk/abi",
    "guest-sdk/macros",
    "guest-sdk/objects",
    "guest-sdk/schema",
    "xtask",
];

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
