//! Runs one task in a worker of another executable: `wpool-parent-only WPOOL GUEST TASK ARGUMENT` prints its value.

#![expect(clippy::print_stdout, reason = "it prints its result")]

use wpool::{Executable, Loader, Pool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    wpool::init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: wpool-parent-only WPOOL GUEST TASK ARGUMENT");
    let (wpool, guest, task, argument) = (next()?, next()?, next()?, next()?);
    let guest = Loader::new().executable(Executable::at(wpool)).file(guest)?;
    let pool = Pool::builder(guest).workers(1).build()?;
    let task = pool.task::<i64, i64>(&task)?;
    println!("{}", task.apply(&argument.parse()?)?);
    Ok(())
}
