//! A callback that receives the future when it is done.

use std::error::Error;
use std::sync::mpsc::channel;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let (sender, receiver) = channel();
    let future = pool.task::<i64, i64>("cube")?.submit(&3)?;
    future.add_done_callback(move |future| {
        say(&format!("called back: done is {}, the result {:?}", future.done(), future.result()));
        // The receiver waits below.
        let _heard = sender.send(());
    });
    receiver.recv()?;
    say("the callback has run");
    Ok(())
}
