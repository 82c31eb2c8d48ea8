//! The logs of tasks are read while the tasks run, and stand with their results once more.

use std::error::Error;
use std::time::Duration;

use wpool::{Guest, NotYet, Pool};
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
    let arguments = ["100", "200"].map(|json| task.signature().arguments_from_json(json.as_bytes()));
    let mut map = task.map(arguments.into_iter().map(|read| read.map_err(|error| error.to_string())));
    let mut seen = [0, 0];
    loop {
        let next = map.next_timeout(Duration::from_millis(20));
        for part in reader.take() {
            seen[usize::try_from(part.index)?] += part.bytes.len();
        }
        match next {
            Err(NotYet(_)) => {}
            Ok(None) => return Ok(()),
            Ok(Some((index, completed))) => {
                completed.result?;
                let log = completed.log.text();
                let early = seen[usize::try_from(index)?];
                say(&format!("task {index}: {}, {early} of {} bytes came early", log.trim_end(), log.len()));
            }
        }
    }
}
