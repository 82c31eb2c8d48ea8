//! How long files and functions are, read from the text: rustfmt puts the end of a function under its beginning.

use std::fs;
use std::path::{Path, PathBuf};

/// A function outside of tests.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// From its first line to its closing brace.
    pub lines: usize,
}

/// All Rust files below a folder, but for those of tests.
#[must_use]
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default();
        if name == "tests" || name == "target" {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A file's text without the tests at its end.
#[must_use]
pub fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod tests {")
        .or_else(|| text.split_once("\n#[cfg(test)]\npub(super) mod tests {"))
        .map_or(text, |(code, _)| code)
}

/// The functions with a body in a file's text.
#[must_use]
pub fn in_text(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = without_tests(text).lines().collect();
    let starts = lines.iter().enumerate().filter_map(|(start, line)| Some((start, line, name_of(line)?)));
    starts
        .filter_map(|(start, line, name)| {
            let lines = length(&lines[start..], line)?;
            Some(Function { name: name.to_owned(), lines })
        })
        .collect()
}

/// The number of lines of the function that begins with `first`; `None` if it has no body.
fn length(rest: &[&str], first: &str) -> Option<usize> {
    if first.ends_with('}') {
        return Some(1);
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let ends = |line: &str, end: &str| line.strip_prefix(indent).is_some_and(|rest| rest.starts_with(end));
    for (index, line) in rest.iter().enumerate() {
        let signature_only = line.ends_with(';') && (index == 0 || ends(line, ")"));
        if signature_only {
            return None;
        }
        if index > 0 && ends(line, "}") {
            return Some(index + 1);
        }
    }
    None
}

/// The name of the function that a line begins.
fn name_of(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for prefix in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    if let Some(scoped) = rest.strip_prefix("pub(in ") {
        rest = scoped.split_once(") ")?.1;
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// The value below which `percent` of a hundred values lie.
#[must_use]
pub fn percentile(mut values: Vec<usize>, percent: usize) -> usize {
    values.sort_unstable();
    let index = values.len() * percent / 100;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_their_first_line_to_their_brace() {
        let text = "\
fn one() {}
impl X {
    pub(super) fn three(&self) {
        if a {}
    }

    async fn of_signature(
        &self,
    ) -> u8 {
        7
    }
}
trait T {
    fn none(&self);
    fn none_either(
        &self,
    ) -> u8;
}

#[cfg(test)]
mod tests {
    fn not_counted() {}
}
";
        let found: Vec<_> =
            in_text(text).into_iter().map(|function| (function.name, function.lines)).collect();
        let expected = [("one", 1), ("three", 3), ("of_signature", 5)];
        assert_eq!(found, expected.map(|(name, lines)| (name.to_owned(), lines)));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(
            (percentile(vec![3, 1, 2], 50), percentile(vec![1], 90), percentile(vec![], 50)),
            (2, 1, 0)
        );
    }
}
