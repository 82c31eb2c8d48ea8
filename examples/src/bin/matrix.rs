//! The product of two large matrices: both are put into shared memory once, and each task writes its rows of the
//! product there.

use std::error::Error;
use std::time::Instant;

use wpool::{Guest, Pool, SharedArray, SharedSlice};
use wpool_examples::{guest, say};

const SIZE: u32 = 256;
/// Rows of one task.
const ROWS: u32 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("matrix")?)?).build()?;
    let cells = u64::from(SIZE * SIZE);
    // Small whole numbers, so that no order of adding them matters.
    let numbers = |factor: u64| (0..cells).map(|n| f64::from((n * factor % 7) as u32)).collect::<Vec<f64>>();
    let (left, right) = (numbers(3), numbers(5));
    let (shared_left, shared_right) = (pool.manager().broadcast(&left)?, pool.manager().broadcast(&right)?);
    let product: SharedArray<f64> = pool.manager().shared_array(left.len())?;
    type Rows = (u32, u32, u32, SharedSlice<f64>, SharedSlice<f64>, SharedArray<f64>);
    let rows = pool.task::<Rows, ()>("rows")?;
    let began = Instant::now();
    let jobs = (0..SIZE / ROWS).map(|n| {
        (n * ROWS, (n + 1) * ROWS, SIZE, shared_left.clone(), shared_right.clone(), product.clone())
    });
    rows.map(jobs).collect::<Result<Vec<()>, _>>()?;
    let time = began.elapsed();
    let right_cells = (0..SIZE as usize).filter(|n| {
        let (row, column) = (*n, SIZE as usize - 1 - n);
        let size = SIZE as usize;
        let expected: f64 = (0..size).map(|k| left[row * size + k] * right[k * size + column]).sum();
        product.get(row * size + column) == Ok(expected)
    });
    say(&format!("{SIZE} x {SIZE} in {} tasks, {time:.0?}", SIZE / ROWS));
    say(&format!("right cells of {SIZE} that were looked at: {}", right_cells.count()));
    Ok(())
}
