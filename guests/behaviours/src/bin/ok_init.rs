//! Prepares a table once, for all tasks; or fails to.
#![no_main]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

thread_local! {
    static WORDS: RefCell<HashMap<String, u32>> = RefCell::new(HashMap::new());
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

/// Numbers the words, after `rounds` million rounds of computation.
#[wpool_guest::init]
fn learn(words: Vec<String>, rounds: Option<u32>) -> Result<(), String> {
    RUNS.set(RUNS.get() + 1);
    for round in 0..u64::from(rounds.unwrap_or(0)) * 1_000_000 {
        std::hint::black_box(round);
    }
    if words.iter().any(|word| word == "panic") {
        panic!("it is one of the words");
    }
    if words.is_empty() {
        return Err("no words".to_owned());
    }
    WORDS.with_borrow_mut(|known| known.extend(words.into_iter().zip(1..)));
    Ok(())
}

/// Returns the number of a word, the number of known words, and how often the initializer ran. Adds the word.
#[wpool_guest::task]
fn look_up(word: String) -> (Option<u32>, usize, u32) {
    WORDS.with_borrow_mut(|known| {
        let found = known.get(&word).copied();
        let size = known.len();
        known.insert(word, 0);
        (found, size, RUNS.get())
    })
}
