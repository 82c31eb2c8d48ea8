//! A one-way pipe: the first end only receives, the second only sends.

use std::error::Error;

use wpool::{Guest, PipeMode, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let (receives, sends) = pool.manager().pipe::<String>(PipeMode::OneWay);
    sends.send(&"hello".to_owned())?;
    say(&format!("received: {}", receives.recv()?));
    for (end, outcome) in
        [("the first", receives.send(&String::new()).err()), ("the second", sends.recv().err())]
    {
        match outcome {
            Some(error) => say(&format!("{end} end: {error}")),
            None => say(&format!("{end} end works both ways")),
        }
    }
    Ok(())
}
