//! What tasks log is read while they run, and stands with their results once more.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(1).build()?;
    let letters = pool.manager().queue::<char>(0);
    let write_word = pool.task::<_, ()>("write_word")?;
    let future = write_word.submit(&("hi".to_owned(), letters.sender()))?;
    future.result()?;
    let log = future.log().unwrap_or_default();
    say(&format!("of one task: {} line", log.text().lines().count()));

    let (task, reader) = pool.raw_task("sub_progress")?.follow_logs();
    let arguments = [b"[10]", b"[20]"].map(|json| task.signature().arguments_from_json(json));
    let map = task.map(arguments.into_iter().map(|read| read.map_err(|error| error.to_string())));
    let follower = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < 2 && reader.wait(Duration::from_secs(60)) {
            seen.extend(reader.take());
        }
        seen
    });
    say(&format!("results of the map: {}", map.count()));
    let mut seen = follower.join().map_err(|_| "the follower has panicked")?;
    seen.sort_by_key(|part| part.index);
    for part in seen {
        say(&format!("task {}: {}", part.index, String::from_utf8_lossy(&part.bytes).trim_end()));
    }
    Ok(())
}
