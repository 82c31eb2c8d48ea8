//! The ways to wait for many tasks: all of a map at once or in the background, the first of several, each as it ends.

use std::error::Error;

use wpool::{Guest, Pool, ReturnWhen, Task};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(2).build()?;
    let sleep_for: Task<(u32, u64), u32> = pool.task("sleep_for")?;
    say(&format!("map_list: {:?}", sleep_for.map_list([(1, 20), (2, 10)])?));
    let (sender, called_back) = std::sync::mpsc::channel();
    let later = sleep_for.map_async([(3, 20), (4, 10)], move |results| {
        let _main_is_gone = sender.send(results.as_ref().map_or(0, Vec::len));
    });
    say(&format!("map_async: {:?}, and its callback got {} values", later.get()?, called_back.recv()?));

    let short = sleep_for.submit(&(5, 10))?;
    let long = sleep_for.submit(&(6, 60_000))?;
    let waited = wpool::wait([long, short], ReturnWhen::FirstCompleted, None);
    for future in &waited.done {
        say(&format!("wait: {}, and {} is still running", future.result()?, waited.not_done.len()));
    }
    waited.not_done.iter().for_each(wpool::TaskFuture::kill);

    let futures = [(7, 400), (8, 10)].map(|arguments| sleep_for.submit(&arguments));
    let futures: Vec<_> = futures.into_iter().collect::<Result<_, _>>()?;
    for future in wpool::as_completed(futures, None) {
        say(&format!("as_completed: {}", future?.result()?));
    }
    Ok(())
}
