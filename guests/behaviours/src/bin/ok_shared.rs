//! Uses shared memory, and handles that travel in results and sub-tasks.
#![no_main]

use wpool_guest::{ObjectError, Queue, Sender, SharedArray, SharedSlice, SubTaskError, submit};

/// Writes squares to the places from one up to another.
#[wpool_guest::task]
fn fill(first: u64, end: u64, into: SharedArray<u64>) -> Result<(), ObjectError> {
    let squares: Vec<u64> = (first..end).map(|n| n * n).collect();
    into.write(usize::try_from(first).unwrap_or(usize::MAX), &squares)
}

/// Adds up what is there.
#[wpool_guest::task]
fn sum(numbers: SharedSlice<u64>) -> Result<u64, ObjectError> {
    Ok(numbers.to_vec()?.iter().sum())
}

/// Adds one to an element, so many times.
#[wpool_guest::task]
fn count(times: u32, into: SharedArray<i32>) -> Result<i32, ObjectError> {
    let mut last = 0;
    for _ in 0..times {
        last = into.fetch_add(1, 1)?;
    }
    Ok(last)
}

/// Tries what does not go.
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

/// The sum of all bytes, as many times as asked, each read anew.
#[wpool_guest::task]
fn checksum(bytes: SharedSlice<u8>) -> Result<u64, ObjectError> {
    Ok(bytes.to_vec()?.iter().map(|byte| u64::from(*byte)).sum())
}

/// Gives back what it was given, without the right to change it.
#[wpool_guest::task]
fn read_only(array: SharedArray<u64>) -> (SharedSlice<u64>, u32) {
    (array.read_only(), 7)
}

/// Gives back one end of a queue.
#[wpool_guest::task]
fn sender(queue: Queue<u32>) -> Sender<u32> {
    queue.sender()
}

/// Has a sub-task give it an end of a queue, and another fill an array.
#[wpool_guest::task]
fn family(queue: Queue<u32>, array: SharedArray<u64>) -> Result<u64, SubTaskError> {
    let end = submit::<Sender<u32>>("sender", &queue).result()?;
    submit::<()>("fill", &(0u64, 4u64, array.clone())).result()?;
    drop(end.put(&41));
    submit::<u64>("sum", &array.read_only()).result()
}

/// Waits for an array that comes through a queue, and writes to it.
#[wpool_guest::task]
fn from_queue(arrays: Queue<SharedArray<u64>>) -> Result<(), ObjectError> {
    arrays.get()?.set(0, 99)
}

/// Reads and writes single elements, so many times.
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

/// Reads and writes slices of a mebibyte, so many times.
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

/// What is to be read as numbers of two types, or not.
#[wpool_guest::task]
fn two_types(
    _numbers: Queue<u32>,
    _texts: Queue<String>,
    _small: SharedArray<i16>,
    _points: SharedArray<f32>,
) {
}
