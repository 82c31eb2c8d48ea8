//! Names and docs of a guest as Rust: any text becomes an identifier or a comment, and nothing else.

use std::collections::{HashMap, HashSet};

/// The longest identifier that is made from a name, in bytes.
const MAX_NAME: usize = 60;

/// Identifiers of types that are taken: by Rust, and by the text that is printed.
const TYPES: &[&str] = &[
    "Self",
    "String",
    "Vec",
    "Option",
    "Box",
    "Result",
    "Some",
    "None",
    "Ok",
    "Err",
    "Tasks",
    "InitArgument",
];

/// Rust's keywords, of all editions and reserved ones.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Identifiers that are made from a guest's names, each once.
pub(super) struct Names {
    taken: HashSet<String>,
    /// The number behind the last name that was made from the same base.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// The names of types or variants.
    pub(super) fn of_types() -> Self {
        Self::taken(TYPES)
    }

    /// The names of fields.
    pub(super) fn of_fields() -> Self {
        Self::taken(KEYWORDS)
    }

    fn taken(taken: &[&str]) -> Self {
        Self { taken: taken.iter().map(|name| (*name).to_owned()).collect(), numbers: HashMap::new() }
    }

    /// Returns the identifier of a type or a variant: `full-circle` becomes `FullCircle`.
    pub(super) fn upper(&mut self, name: &str) -> String {
        let capitalized = words(name).map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                .unwrap_or_default()
        });
        self.unique(prefixed(capitalized.collect(), "Type"), "")
    }

    /// Returns the identifier of a field or a function: `maxWidth` becomes `max_width`.
    pub(super) fn lower(&mut self, name: &str) -> String {
        let mut lower = String::new();
        for word in words(name) {
            for (index, letter) in word.char_indices() {
                let begins = letter.is_ascii_uppercase()
                    && !lower.ends_with(|c: char| c == '_' || c.is_ascii_uppercase());
                let follows_upper = word[..index].ends_with(|c: char| c.is_ascii_uppercase());
                if !lower.is_empty() && !lower.ends_with('_') && (index == 0 || (begins && !follows_upper)) {
                    lower.push('_');
                }
                lower.push(letter.to_ascii_lowercase());
            }
        }
        self.unique(prefixed(lower, "field"), "_")
    }

    /// Returns a name that was not returned before: the base itself, or with a number behind it.
    fn unique(&mut self, mut base: String, separator: &str) -> String {
        base.truncate(MAX_NAME);
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            let number = self.numbers.entry(base.clone()).or_insert(1);
            *number += 1;
            name = format!("{base}{separator}{number}");
        }
        name
    }
}

/// Returns the parts of a name between other characters than ASCII letters and digits.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Puts a prefix before what cannot begin an identifier.
fn prefixed(name: String, prefix: &str) -> String {
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { prefix.to_owned() + &name }
}

/// Appends a doc comment, indented by `indent` spaces.
///
/// The text is the guest's, and rustdoc runs code blocks and passes on markup: so neither can stand in it.
pub(super) fn push_docs(docs: &str, indent: usize, out: &mut String) {
    for line in docs.lines() {
        let words: Vec<String> =
            line.split_whitespace().map(|word| word.chars().map(harmless).collect()).collect();
        let text = words.join(" ").replace("```", "'''").replace("~~~", "---").replace('<', "\\<");
        let text = format!("{:indent$}/// {text}", "");
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// Replaces a character that cannot be seen: control characters, and those that turn the direction of the text.
fn harmless(c: char) -> char {
    let is_plain = matches!(c, '\'' | '"' | '\\') || c.escape_debug().eq([c]);
    if is_plain { c } else { '\u{fffd}' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        let upper = |name: &str| Names::of_types().upper(name);
        for (name, expected) in [
            ("full-circle", "FullCircle"),
            ("tree", "Tree"),
            ("HTTPServer", "HTTPServer"),
            ("Self", "Self2"),
            ("Option", "Option2"),
            ("3d", "Type3d"),
            ("", "Type"),
            ("*/ fn", "Fn"),
        ] {
            assert_eq!(upper(name), expected);
        }
        let lower = |name: &str| Names::of_fields().lower(name);
        for (name, expected) in [
            ("maxWidth", "max_width"),
            ("MAX_WIDTH", "max_width"),
            ("max-width", "max_width"),
            ("type", "type_2"),
            ("", "field"),
            ("1st", "field1st"),
            ("ä b", "b"),
        ] {
            assert_eq!(lower(name), expected);
        }
        assert!(upper(&"x".repeat(1000)).len() < 70);
    }

    #[test]
    fn equal_names_become_different() {
        let mut names = Names::of_fields();
        let made: Vec<String> = ["a-b", "a_b", "a_b_2", "a.b"].iter().map(|name| names.lower(name)).collect();
        let different: HashSet<_> = made.iter().collect();
        assert_eq!((made[0].as_str(), different.len()), ("a_b", 4));
    }

    #[test]
    fn docs_hold_neither_code_nor_markup() {
        let mut out = String::new();
        push_docs("Plain `Vec<u8>`.\n```\nrun()\n>     code\n\u{202e}\t\r<b>", 4, &mut out);
        assert_eq!(
            out,
            "    /// Plain `Vec\\<u8>`.\n    /// '''\n    /// run()\n    /// > code\n    /// \u{fffd} \\<b>\n"
        );
    }
}
