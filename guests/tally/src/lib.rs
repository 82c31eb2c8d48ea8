//! Counts words into one dictionary that all tasks share.

use std::collections::BTreeMap;

use wpool_guest::{Dict, Lock, ObjectError};

/// Adds the words of a text to the counts, and returns the number of its words.
#[wpool_guest::task]
fn tally(text: &str, counts: Dict<String, u64>, lock: Lock) -> Result<u64, ObjectError> {
    let mut own: BTreeMap<String, u64> = BTreeMap::new();
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *own.entry(word.to_lowercase()).or_default() += 1;
    }
    let _held = lock.acquire()?;
    for (word, count) in &own {
        let before = counts.get(word)?.unwrap_or_default();
        counts.set(word, &(before + count))?;
    }
    Ok(own.values().sum())
}
