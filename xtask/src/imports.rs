//! Which file of a crate imports which, read from the syntax trees: grouped imports, paths in code, re-exports.
//!
//! Test code does not count: items under `#[cfg(test)]` and files named `tests`. A `pub use` is an export and no import:
//! whoever imports the name imports the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Item, UseTree};

use crate::graph::Graph;

/// A path of names, from the root of the crate.
type Names = Vec<String>;

/// A module of a crate, whether it has a file of its own or stands inside of one.
#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    /// Names that the module re-exports, and what they are.
    exports: BTreeMap<String, Names>,
    /// Paths that the module imports or names in its code.
    imports: BTreeSet<Names>,
}

/// All modules of a crate, by their paths.
#[derive(Debug, Default)]
struct Modules(BTreeMap<Names, Module>);

/// The imports between the files of a crate; files are named by their paths below `src`.
///
/// # Errors
/// If a file cannot be read or is no Rust, with its path.
pub fn of_crate(package: &Path) -> Result<Graph, String> {
    let source = package.join("src");
    let root = ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|path| path.exists());
    let root = root.ok_or_else(|| format!("{} has no root", source.display()))?;
    let mut modules = Modules::default();
    modules.read(&root, Vec::new(), &source)?;
    let mut graph = Graph::default();
    for module in modules.0.values() {
        let from = name_of(&module.file, &source);
        graph.add_node(&from);
        for path in &module.imports {
            if let Some(file) = modules.file_of(path, 0) {
                graph.add_edge(&from, &name_of(file, &source));
            }
        }
    }
    Ok(graph)
}

/// All paths in a file, imported or in its code, but for its tests.
///
/// # Errors
/// If the text is no Rust.
pub fn paths_in(text: &str) -> Result<BTreeSet<Vec<String>>, String> {
    let parsed = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut paths = BTreeSet::new();
    for item in parsed.items.iter().filter(|item| !is_test(item)) {
        match item {
            Item::Use(import) => {
                let mut leaves = Vec::new();
                collect_use(&import.tree, &mut Vec::new(), &mut leaves);
                paths.extend(leaves.into_iter().map(|(names, _)| names));
            }
            other => collect_paths(other.to_token_stream(), &mut paths),
        }
    }
    Ok(paths)
}

fn name_of(file: &Path, source: &Path) -> String {
    file.strip_prefix(source).unwrap_or(file).display().to_string()
}

impl Modules {
    /// Reads a file, and the files of the modules that it declares. `folder` is where those are.
    fn read(&mut self, file: &Path, path: Names, folder: &Path) -> Result<(), String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        self.read_items(&parsed.items, file, path, folder)
    }

    fn read_items(&mut self, items: &[Item], file: &Path, path: Names, folder: &Path) -> Result<(), String> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items.iter().filter(|item| !is_test(item)) {
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let child_path = [path.clone(), vec![name.clone()]].concat();
                    module.children.insert(name.clone());
                    let below = folder.join(&name);
                    match &child.content {
                        Some((_, items)) => self.read_items(items, file, child_path, &below)?,
                        None => self.read(&file_of_module(folder, &name)?, child_path, &below)?,
                    }
                }
                Item::Use(import) => {
                    let mut leaves = Vec::new();
                    collect_use(&import.tree, &mut Vec::new(), &mut leaves);
                    let private = matches!(import.vis, syn::Visibility::Inherited);
                    for (names, alias) in leaves {
                        if private {
                            module.imports.insert(names);
                        } else {
                            module.exports.insert(alias, names);
                        }
                    }
                }
                other => collect_paths(other.to_token_stream(), &mut module.imports),
            }
        }
        let absolute = |names: &Names| to_absolute(names, &path, &module.children);
        module.imports = module.imports.iter().filter_map(&absolute).collect();
        let exports =
            module.exports.iter().filter_map(|(name, names)| Some((name.clone(), absolute(names)?)));
        module.exports = exports.collect();
        self.0.insert(path, module);
        Ok(())
    }

    /// The file that defines what a path names. `depth` ends re-exports that lead to each other.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&Path> {
        let mut at: Names = Vec::new();
        for (index, name) in path.iter().enumerate() {
            let module = self.0.get(&at)?;
            if module.children.contains(name) {
                at.push(name.clone());
                continue;
            }
            if let Some(target) = module.exports.get(name).filter(|_| depth < 8) {
                let rest = path.get(index + 1..).unwrap_or_default();
                return self.file_of(&[target.as_slice(), rest].concat(), depth + 1);
            }
            break;
        }
        self.0.get(&at).map(|module| module.file.as_path())
    }
}

/// Whether an item is there for tests alone.
fn is_test(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(item) if item.ident == "tests" => return true,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("(test)")
    })
}

fn file_of_module(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    let found = candidates.into_iter().find(|path| path.exists());
    found.ok_or_else(|| format!("no file of the module `{name}` in {}", folder.display()))
}

/// All paths of a `use`, each with the name that it gets.
fn collect_use(tree: &UseTree, before: &mut Names, leaves: &mut Vec<(Names, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect_use(&path.tree, before, leaves);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => leaves.push((with(before, &name.ident), name.ident.to_string())),
        UseTree::Rename(rename) => leaves.push((with(before, &rename.ident), rename.rename.to_string())),
        UseTree::Glob(_) => leaves.push((before.clone(), String::new())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect_use(tree, before, leaves)),
    }
}

fn with(before: &Names, last: &syn::Ident) -> Names {
    before.iter().cloned().chain([last.to_string()]).collect()
}

/// All paths in code of two or more names. Those that lead out of the crate are dropped later.
fn collect_paths(tokens: TokenStream, paths: &mut BTreeSet<Names>) {
    let mut path: Names = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if colons == 2 => {
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
            other => {
                keep(std::mem::take(&mut path), paths);
                colons = 0;
                match other {
                    TokenTree::Ident(ident) => path.push(ident.to_string()),
                    TokenTree::Group(group) => collect_paths(group.stream(), paths),
                    TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                }
            }
        }
    }
    keep(path, paths);
}

fn keep(path: Names, paths: &mut BTreeSet<Names>) {
    if path.len() > 1 {
        paths.insert(path);
    }
}

/// A path from the root of the crate; `None` if it leads out of the crate.
fn to_absolute(names: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Names> {
    let (first, rest) = names.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let above = rest.iter().take_while(|name| *name == "super").count();
            let parent = module.get(..module.len().checked_sub(above + 1)?)?;
            Some([parent, &rest[above..]].concat())
        }
        child if children.contains(child) => Some([module, names].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Names {
        path.split("::").map(str::to_owned).collect()
    }

    #[test]
    fn grouped_imports_are_read_one_by_one() {
        let item: syn::ItemUse = syn::parse_str("use crate::{a::B, c::{self, D as E}, f::*};").unwrap();
        let mut leaves = Vec::new();
        collect_use(&item.tree, &mut Vec::new(), &mut leaves);
        let expected = [("crate::a::B", "B"), ("crate::c", "c"), ("crate::c::D", "E"), ("crate::f", "")];
        let expected: Vec<(Names, String)> =
            expected.into_iter().map(|(path, name)| (names(path), name.to_owned())).collect();
        assert_eq!(leaves, expected);
    }

    #[test]
    fn paths_in_code_count_also_within_macros_and_groups() {
        let code =
            "fn f() { let x = crate::a::b(vec![super::c::D { e: self::g::H }]); x.y::<crate::z::Z>(i::j()) }";
        let mut paths = BTreeSet::new();
        collect_paths(code.parse().unwrap(), &mut paths);
        let expected = ["crate::a::b", "crate::z::Z", "i::j", "self::g::H", "super::c::D"].map(names);
        assert_eq!(paths.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn paths_are_made_absolute() {
        let module = names("pool::objects");
        let children = BTreeSet::from(["handle".to_owned()]);
        let absolute = |path: &str| to_absolute(&names(path), &module, &children).map(|path| path.join("::"));
        assert_eq!(absolute("crate::ids::TaskId").as_deref(), Some("ids::TaskId"));
        assert_eq!(absolute("super::task::Task").as_deref(), Some("pool::task::Task"));
        assert_eq!(absolute("super::super::error").as_deref(), Some("error"));
        assert_eq!(absolute("handle::Handle").as_deref(), Some("pool::objects::handle::Handle"));
        assert_eq!(absolute("std::fmt"), None);
    }
}
