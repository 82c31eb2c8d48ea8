//! A crawler of eight tasks: they share a frontier and a dictionary of seen pages, and this program takes the pages
//! that they find out of a queue while they run.

use std::error::Error;

use serde::{Deserialize, Serialize};
use wpool::{Dict, Guest, Pool, Queue, Schema, Sender};
use wpool_examples::{guest, say};

/// A page that was visited.
#[derive(Serialize, Deserialize, Schema)]
struct Page {
    url: String,
    links: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("crawl")?)?).build()?;
    let (frontier, seen): (Queue<String>, Dict<String, u32>) =
        (pool.manager().simple_queue(), pool.manager().dict());
    // The queue of found pages is bounded: a task that fills it waits.
    let found: Queue<Page> = pool.manager().queue(50);
    type Hand = (Option<String>, Queue<String>, Dict<String, u32>, Sender<Page>);
    let crawl = pool.task::<Hand, u32>("crawl")?;
    let hand = |start| crawl.submit(&(start, frontier.clone(), seen.clone(), found.sender()));
    let director = hand(Some("/1".to_owned()))?;
    let hands = (0..7).map(|_| hand(None)).collect::<Result<Vec<_>, _>>()?;
    director.add_done_callback({
        let (hands, found) = (hands.clone(), found.clone());
        move |_| {
            hands.iter().for_each(|hand| drop(hand.completed()));
            // It fails only if the pool is gone, and then no task waits for it.
            let _gone = found.close();
        }
    });
    let (mut pages, mut links) = (0, 0);
    while let Ok(page) = found.get() {
        pages += 1;
        links += page.links.len();
    }
    say(&format!("{pages} pages with {links} links"));
    let visited: Vec<u32> = hands.iter().map(wpool::TaskFuture::result).collect::<Result<_, _>>()?;
    say(&format!(
        "each visited once: {}",
        visited.iter().sum::<u32>() == pages && seen.len()? == u64::from(pages)
    ));
    Ok(())
}
