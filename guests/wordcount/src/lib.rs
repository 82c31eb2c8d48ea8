//! Counts the lines, words and characters of a text, and its most frequent words.

use std::collections::HashMap;

use serde::Serialize;

/// The counts of one text.
#[derive(Serialize, wpool_guest::Schema)]
struct Count {
    lines: u64,
    words: u64,
    chars: u64,
    /// The five most frequent words in lower case, most frequent first.
    top: Vec<(String, u64)>,
}

/// Counts the lines, words and characters of a text.
#[wpool_guest::task]
fn wordcount(text: &str) -> Count {
    let mut frequency: HashMap<String, u64> = HashMap::new();
    let mut words = 0;
    for word in text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'') {
        if !word.is_empty() {
            words += 1;
            *frequency.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let mut top: Vec<(String, u64)> = frequency.into_iter().collect();
    top.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    top.truncate(5);
    let (lines, chars) = (text.lines().count() as u64, text.chars().count() as u64);
    Count { lines, words, chars, top }
}
