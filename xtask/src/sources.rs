//! The fingerprint of sources: a hash that changes when code does, and not when comments, documentation or tests do.

use std::fs;
use std::path::PathBuf;

use proc_macro2::{TokenStream, TokenTree};

/// The fingerprint of files, in this order.
///
/// # Errors
/// If a file cannot be read or is no Rust, with its path.
pub fn fingerprint(files: &[PathBuf]) -> Result<String, String> {
    let mut hash = Fnv::default();
    for path in files {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let tokens = crate::functions::without_tests(&text).parse::<TokenStream>();
        let tokens = tokens.map_err(|error| format!("{}: {error}", path.display()))?;
        feed(tokens, &mut hash);
    }
    Ok(format!("{:016x}", hash.0))
}

/// Feeds tokens to the hash, without documentation: it is an attribute by now.
fn feed(tokens: TokenStream, hash: &mut Fnv) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let inner = tokens.next_if(|next| next.to_string() == "!").is_some();
                if tokens.next_if(is_doc).is_none() {
                    hash.add(if inner { "#!" } else { "#" });
                }
            }
            TokenTree::Group(group) => {
                hash.add(&format!("{:?}", group.delimiter()));
                feed(group.stream(), hash);
                hash.add("end");
            }
            other => hash.add(&other.to_string()),
        }
    }
}

/// Whether a token is `[doc = …]`.
fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    group.stream().into_iter().next().is_some_and(|first| first.to_string() == "doc")
}

/// FNV-1a of 64 bits: a mistake is to be found, not an attacker.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> u64 {
        let mut hash = Fnv::default();
        feed(text.parse().unwrap(), &mut hash);
        hash.0
    }

    #[test]
    fn code_counts_and_words_about_it_do_not() {
        let code = hash("struct A { a: u8, b: u16 }");
        assert_eq!(
            code,
            hash("//! All.\n/// An A.\nstruct A { /* one */ a: u8,\n    /// Two.\n    b: u16 } // end")
        );
        assert_ne!(code, hash("struct A { b: u16, a: u8 }"));
        assert_ne!(code, hash("struct A { a: u8 } b: u16"));
    }
}
