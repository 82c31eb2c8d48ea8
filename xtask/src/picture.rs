//! The picture of the imports in ARCHITECTURE.md: crates, the folders of the parent, the files of a pool's inside.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::graph::Graph;
use crate::{CRATES, imports};

/// The picture stands between these lines.
const BEGIN: &str = "<!-- drawn by `cargo xtask picture` -->";
const END: &str = "<!-- end of the drawing -->";

const CRATES_TITLE: &str = "Crates";

/// A text with the picture in it replaced by today's.
///
/// # Errors
/// If the text has no place for it, or a source cannot be read.
pub fn drawn(text: &str, root: &Path) -> Result<String, String> {
    let (before, rest) = text.split_once(BEGIN).ok_or("no place for the picture")?;
    let (_, after) = rest.split_once(END).ok_or("the picture has no end")?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", picture(root)?))
}

fn picture(root: &Path) -> Result<String, String> {
    let host = imports::of_crate(&root.join("host"))?;
    let (crates, by_feature) = crates(root)?;
    let folders = host.renamed(|file| {
        let first = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
        (first != "lib").then(|| first.to_owned())
    });
    let runtime = host.renamed(|file| {
        let file = file.strip_prefix("runtime/")?.trim_end_matches(".rs");
        Some(file.split('/').next().unwrap_or(file).to_owned())
    });
    let mut text = String::new();
    for (title, graph) in [
        (CRATES_TITLE, crates),
        ("Folders and files of `host/src`", folders),
        ("Files of `host/src/runtime`; `mod` is the lock and the turn", runtime),
    ] {
        let dotted = if title == CRATES_TITLE { by_feature.as_str() } else { "" };
        write!(text, "\n{title}:\n\n{}", mermaid(&graph.reduced(), dotted))
            .map_err(|error| error.to_string())?;
    }
    Ok(text + "\n")
}

/// Draws a graph, and `more` lines below it.
fn mermaid(graph: &Graph, more: &str) -> String {
    let mut text = "```mermaid\nflowchart TD\n".to_owned();
    let linked: BTreeSet<&str> = graph.edges().flat_map(|(from, to)| [from, to]).collect();
    for (from, to) in graph.edges() {
        text += &format!("    {from} --> {to}\n");
    }
    for node in graph.nodes().filter(|node| !linked.contains(node)) {
        text += &format!("    {node}\n");
    }
    text + more + "```\n"
}

/// The crates of the workspace and which depends on which, as their manifests say; and the lines that draw the
/// dependencies by a feature. These are not part of the graph: without the feature there is no way along them.
fn crates(root: &Path) -> Result<(Graph, String), String> {
    let (mut graph, mut by_feature) = (Graph::default(), String::new());
    for folder in CRATES.iter().filter(|folder| **folder != "xtask") {
        let path = root.join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.ok_or_else(|| format!("{} has no name", path.display()))?;
        graph.add_node(name);
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !dependency.starts_with("wpool-") {
                continue;
            }
            if line.contains("optional = true") {
                by_feature += &format!("    {name} -. by a feature .-> {dependency}\n");
            } else {
                graph.add_edge(name, dependency);
            }
        }
    }
    Ok((graph, by_feature))
}
