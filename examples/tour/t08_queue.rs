//! A queue between two processes: the first puts squares into it, and after its end the second takes them out.

use std::error::Error;

use wpool::{Guest, Manager, Process, Queue, Receiver, Sender};
use wpool_examples::{guest, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let queue: Queue<i64> = Manager::new().queue(0);
    let numbers = (vec![1, 2, 3, 4], queue.sender());
    let put =
        Process::builder(guest.clone()).start::<(Vec<i64>, Sender<i64>), ()>("put_squares", &numbers)?;
    put.join(None);
    let print = Process::builder(guest).start::<Receiver<i64>, ()>("print_queue", &queue.receiver())?;
    print.join(None);
    say_log(&print.completed().log);
    Ok(())
}
