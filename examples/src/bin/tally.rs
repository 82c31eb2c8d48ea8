//! The words of all texts of a folder, counted into one shared dictionary.

use std::error::Error;
use std::path::Path;

use wpool::{Dict, Guest, Lock, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tally")?)?).build()?;
    let (counts, lock): (Dict<String, u64>, Lock) = (pool.manager().dict(), pool.manager().lock());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs/texts");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        texts.push(std::fs::read_to_string(entry?.path())?);
    }
    // Each paragraph is a task.
    let paragraphs: Vec<String> =
        texts.iter().flat_map(|text| text.split("\n\n")).map(str::to_owned).collect();
    let tally = pool.task::<(String, Dict<String, u64>, Lock), u64>("tally")?;
    let inputs = paragraphs.into_iter().map(|text| (text, counts.clone(), lock.clone()));
    let words: u64 = tally.map(inputs).sum::<Result<u64, _>>()?;
    let mut frequent = counts.items()?;
    let counted: u64 = frequent.iter().map(|(_, count)| count).sum();
    frequent.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    for (word, count) in frequent.iter().take(3) {
        say(&format!("{count:>3} {word}"));
    }
    say(&format!("{words} words, all of them counted: {}", counted == words));
    Ok(())
}
