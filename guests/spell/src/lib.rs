//! Knows the words that its initializer was given.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    static WORDS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Learns the words, once for all tasks.
#[wpool_guest::init]
fn learn(words: Vec<String>) {
    WORDS.set(words.into_iter().collect());
}

/// Returns the words of a text that are not known, and then knows them: for itself, as each task starts anew.
#[wpool_guest::task]
fn unknown(text: String) -> Vec<String> {
    let words = text.split_whitespace().map(str::to_owned);
    words.filter(|word| WORDS.with_borrow_mut(|known| known.insert(word.clone()))).collect()
}
