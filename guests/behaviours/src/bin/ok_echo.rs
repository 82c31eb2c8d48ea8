//! Returns values of many types unchanged.
#![no_main]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A tree holds trees.
#[derive(Serialize, Deserialize, wpool_guest::Schema)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

/// One of several shapes.
#[derive(Serialize, Deserialize, wpool_guest::Schema)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    Nothing,
    FullCircle(f64),
    Line(i32, i32),
    Box { width: u32, height: u32 },
}

/// Returns any JSON.
#[wpool_guest::task]
fn json(value: wpool_guest::Json) -> wpool_guest::Json {
    value
}

/// Returns a tree.
#[wpool_guest::task]
fn tree(tree: Tree) -> Tree {
    tree
}

/// Returns a shape.
#[wpool_guest::task]
fn shape(shape: Shape) -> Shape {
    shape
}

/// Returns bytes.
#[wpool_guest::task]
fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Several parameters, one of them optional.
#[wpool_guest::task]
fn repeat(text: &str, times: u32, end: Option<char>) -> String {
    let mut out = text.repeat(times as usize);
    out.extend(end);
    out
}

/// Parameters with names that mean something to a pool, or to Rust.
#[wpool_guest::task]
fn named(r#fn: u32, task: u32, timeout: u32, arguments: u32) -> Vec<u32> {
    vec![r#fn, task, timeout, arguments]
}

/// No parameter at all.
#[wpool_guest::task]
fn nothing() {}

/// A map with keys that are not strings.
#[wpool_guest::task]
fn counts(words: Vec<String>) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.len() as u64).or_default() += 1;
    }
    counts
}
