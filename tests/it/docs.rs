use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wpool_tests::bounded_by;

use crate::cli::transcripts;

/// The chapters whose console blocks are run: the tutorial, and the guide to the command line.
const TRANSCRIPTS: &[&str] = &[
    "docs/src/tutorial/first-guest.md",
    "docs/src/tutorial/sharing.md",
    "docs/src/tutorial/failures.md",
    "docs/src/guides/command-line.md",
];

#[test]
fn the_chapters_transcripts_are_true() {
    // A chapter builds a new package with all of its dependencies.
    bounded_by(Duration::from_secs(15 * 60), || transcripts(TRANSCRIPTS));
}

#[test]
fn the_summary_lists_every_chapter() {
    let source = root().join("docs/src");
    let summary = source.join("SUMMARY.md");
    let mut listed: Vec<PathBuf> = links(&fs::read_to_string(&summary).unwrap())
        .map(|link| source.join(link))
        .chain([summary])
        .collect();
    let mut found = chapters();
    listed.sort();
    found.sort();
    assert_eq!(listed, found);
}

#[test]
fn every_link_leads_to_a_file() {
    let pages = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "examples/README.md",
    ];
    let pages = pages.map(|page| root().join(page));
    for page in chapters().into_iter().chain(pages) {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: no file at {link}", page.display());
            if !fragment.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(headings(&text).any(|heading| heading == fragment), "{}: {link}", page.display());
            }
        }
    }
}

/// A link out of the book would lead nowhere when the book is read as a site.
#[test]
fn chapters_link_to_chapters() {
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).unwrap();
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let path = link.split_once('#').map_or(link, |(path, _)| path);
            let target = chapter.parent().unwrap().join(path).canonicalize().unwrap();
            assert!(
                target.starts_with(root().join("docs/src")),
                "{}: {link} leaves the book",
                chapter.display()
            );
        }
    }
}

#[test]
fn every_include_finds_its_text() {
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).unwrap();
        for include in text.split("{{#include ").skip(1) {
            let (include, _) = include.split_once("}}").expect("an include has an end");
            let (path, anchor) = include.split_once(':').unwrap_or((include, ""));
            let Ok(included) = fs::read_to_string(chapter.parent().unwrap().join(path)) else {
                panic!("{}: no file at {path}", chapter.display());
            };
            let has_anchor = included.lines().any(|line| line.ends_with(&format!("ANCHOR: {anchor}")));
            assert!(anchor.is_empty() || has_anchor, "{}: no anchor {anchor} in {path}", chapter.display());
        }
    }
}

/// A block of Rust is either compiled by `examples/src/book.rs`, or included from a file that is compiled elsewhere.
#[test]
fn every_rust_block_is_compiled() {
    let book = fs::read_to_string(root().join("examples/src/book.rs")).unwrap();
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).unwrap();
        let is_in_book = book.contains(chapter.strip_prefix(root()).unwrap().to_str().unwrap());
        for block in text.split("```rust").skip(1) {
            let (info, code) = block.split_once('\n').unwrap();
            let is_included = info == ",ignore" && code.starts_with("{{#include ");
            let is_compiled = is_in_book && !info.contains("ignore");
            assert!(is_included || is_compiled, "{}: not compiled: {code}", chapter.display());
        }
    }
}

#[test]
fn the_tables_of_errors_are_complete() {
    let table = fs::read_to_string(root().join("docs/src/reference/errors.md")).unwrap();
    let source = fs::read_to_string(root().join("host/src/error/task.rs")).unwrap();
    let (_, kinds) = source.split_once("pub fn kind(&self)").unwrap();
    let (kinds, _) = kinds.split_once("\n    }\n").unwrap();
    let kinds: Vec<&str> = kinds.split('"').skip(1).step_by(2).collect();
    assert!(kinds.len() > 10, "{kinds:?}");
    for name in kinds.into_iter().chain(wpool::Trap::ALL.iter().map(|trap| trap.name())) {
        assert!(table.contains(&format!("| `{name}` |")), "the tables of errors lack `{name}`");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All pages of the book, and its table of contents.
fn chapters() -> Vec<PathBuf> {
    pages(&root().join("docs/src"))
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The targets of the links in a page, outside its blocks of code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("\n```").step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|link| link.split_once(')'))
        .map(|(link, _)| link)
}

/// The headings of a page, as fragments of a link.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
            .collect::<String>()
            .replace(' ', "-")
    })
}
