//! Uses shared memory, and passes handles in results and to sub-tasks.
#![no_main]

use wpool_guest::{ObjectError, Queue, Sender, SharedArray, SharedSlice, SubTaskError, submit};

/// Writes the squares of the indices from `first` up to `end`.
#[wpool_guest::task]
fn fill(first: u64, end: u64, into: SharedArray<u64>) -> Result<(), ObjectError> {
    let squares: Vec<u64> = (first..end).map(|n| n * n).collect();
    into.write(usize::try_from(first).unwrap_or(usize::MAX), &squares)
}

/// Returns the sum of the elements.
#[wpool_guest::task]
fn sum(numbers: SharedSlice<u64>) -> Result<u64, ObjectError> {
    Ok(numbers.to_vec()?.iter().sum())
}

/// Adds one to an element, `times` times.
#[wpool_guest::task]
fn count(times: u32, into: SharedArray<i32>) -> Result<i32, ObjectError> {
    let mut last = 0;
    for _ in 0..times {
        last = into.fetch_add(1, 1)?;
    }
    Ok(last)
}

/// Reads and writes beyond the end of an array, and returns the results.
#[wpool_guest::task]
fn stray(whole: SharedArray<u64>, part: SharedSlice<u64>) -> Vec<String> {
    let mut buffer = [7; 4];
    let seen = [
        format!("{:?}", whole.get(3)),
        format!("{:?}", whole.read(1, &mut buffer)),
        format!("{:?} {buffer:?}", whole.set(usize::MAX / 8, 1)),
        format!("{:?} {:?}", part.get(0), part.len()),
        format!("{:?}", whole.read_only().is_empty()),
    ];
    seen.to_vec()
}

/// Returns the sum of all bytes.
#[wpool_guest::task]
fn checksum(bytes: SharedSlice<u8>) -> Result<u64, ObjectError> {
    Ok(bytes.to_vec()?.iter().map(|byte| u64::from(*byte)).sum())
}

/// Returns its array, read-only.
#[wpool_guest::task]
fn read_only(array: SharedArray<u64>) -> (SharedSlice<u64>, u32) {
    (array.read_only(), 7)
}

/// Returns one end of a queue.
#[wpool_guest::task]
fn sender(queue: Queue<u32>) -> Sender<u32> {
    queue.sender()
}

/// Gets one end of a queue from a sub-task, and has another one fill an array.
#[wpool_guest::task]
fn family(queue: Queue<u32>, array: SharedArray<u64>) -> Result<u64, SubTaskError> {
    let end = submit::<Sender<u32>>("sender", &queue).result()?;
    submit::<()>("fill", &(0u64, 4u64, array.clone())).result()?;
    drop(end.put(&41));
    submit::<u64>("sum", &array.read_only()).result()
}

/// Takes an array from a queue, and writes to it.
#[wpool_guest::task]
fn from_queue(arrays: Queue<SharedArray<u64>>) -> Result<(), ObjectError> {
    arrays.get()?.set(0, 99)
}

/// Reads and writes single elements, `times` times.
#[wpool_guest::task]
fn elements(times: u32, numbers: SharedArray<u64>) -> Result<u64, ObjectError> {
    let mut sum = 0;
    for n in 0..times {
        let at = (n % 1000) as usize;
        numbers.set(at, n.into())?;
        sum += numbers.get(at)?;
    }
    Ok(sum)
}

/// Reads and writes slices of 1 MiB, `times` times.
#[wpool_guest::task]
fn slices(times: u32, numbers: SharedArray<u64>) -> Result<u64, ObjectError> {
    let mut slice = vec![0; (1 << 20) / 8];
    for _ in 0..times {
        numbers.read(0, &mut slice)?;
        slice[0] += 1;
        numbers.write(0, &slice)?;
    }
    Ok(slice[0])
}

/// Takes objects of several types, for inputs that name one object as two types.
#[wpool_guest::task]
fn two_types(
    _numbers: Queue<u32>,
    _texts: Queue<String>,
    _small: SharedArray<i16>,
    _points: SharedArray<f32>,
) {
}
