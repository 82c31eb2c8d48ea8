//! A one-way pipe: the first end only receives, the second only sends.

use std::error::Error;

use wpool::{Manager, PipeMode};
use wpool_examples::say;

fn main() -> Result<(), Box<dyn Error>> {
    let (receives, sends) = Manager::new().pipe::<String>(PipeMode::OneWay);
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
