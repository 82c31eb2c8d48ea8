//! Squares in an array that a process and this program share, and their sum in a shared value.

use std::error::Error;

use wpool::{Guest, Manager, Process, SharedArray, Value};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let guest = Guest::from_file(guest("tour")?)?;
    let manager = Manager::new();
    let squares: SharedArray<i64> = manager.shared_array(4)?;
    let sum: Value<i64> = manager.value(&0)?;
    let arguments = (vec![1i64, 2, 3, 4], squares.clone(), sum.clone());
    let process = Process::builder(guest).start::<_, ()>("squares_and_sum", &arguments)?;
    process.join(None);
    say_log(&process.completed().log);
    say(&format!("the array (in the main program): {:?}", squares.to_vec()?));
    say(&format!("the sum (in the main program): {}", sum.get()?));
    Ok(())
}
