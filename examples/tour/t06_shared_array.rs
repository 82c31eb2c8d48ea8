//! Squares in an array that a task and this program share, and their sum in a shared value.

use std::error::Error;

use wpool::{Guest, Pool, SharedArray, Value};
use wpool_examples::{guest, say};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let squares: SharedArray<i64> = pool.manager().shared_array(4)?;
    let sum: Value<i64> = pool.manager().value(&0)?;
    let task = pool.task::<(Vec<i64>, SharedArray<i64>, Value<i64>), ()>("squares_and_sum")?;
    task.apply(&(vec![1, 2, 3, 4], squares.clone(), sum.clone()))?;
    say(&format!("the array: {:?}", squares.to_vec()?));
    say(&format!("the sum: {}", sum.get()?));
    Ok(())
}
