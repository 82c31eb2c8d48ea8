//! A guest that is loaded into a running pool, with an initializer that prepares what all its tasks start from.

use std::error::Error;

use wpool::{Guest, GuestSettings, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(1).build()?;
    let words = ["to", "be", "or", "not"].map(str::to_owned).to_vec();
    let spell = Guest::from_file(guest("spell")?)?.initialized_with(&words)?;
    let plugin = pool.load(spell, &GuestSettings::new().memory(16 << 20))?;
    let unknown = plugin.task::<String, Vec<String>>("unknown")?;
    for text in ["to bee or not to bee", "to bee"] {
        say(&format!("{text}: {:?}", unknown.apply(&text.to_owned())?));
    }
    plugin.unload();
    match unknown.apply(&"to be".to_owned()) {
        Ok(words) => say(&format!("{words:?}")),
        Err(error) => say(&format!("unloaded: {error}")),
    }
    Ok(())
}
