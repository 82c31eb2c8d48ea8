//! Multiplies matrices that all tasks share, some rows each.

use wpool_guest::{ObjectError, SharedArray, SharedSlice};

/// Computes the rows from `first` up to `end` of the product of two square matrices, each stored row by row.
#[wpool_guest::task]
fn rows(
    first: u32,
    end: u32,
    size: u32,
    left: SharedSlice<f64>,
    right: SharedSlice<f64>,
    product: SharedArray<f64>,
) -> Result<(), ObjectError> {
    let size = size as usize;
    let right = right.to_vec()?;
    let (mut row, mut sums) = (vec![0.0; size], vec![0.0; size]);
    for n in first as usize..end as usize {
        left.read(n * size, &mut row)?;
        sums.fill(0.0);
        for (factor, others) in row.iter().zip(right.chunks_exact(size)) {
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum += factor * other;
            }
        }
        product.write(n * size, &sums)?;
    }
    Ok(())
}
