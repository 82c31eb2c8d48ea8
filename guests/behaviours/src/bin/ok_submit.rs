//! Submits sub-tasks.
#![no_main]

use wpool_guest::{SubTask, SubTaskError, submit};

/// A Fibonacci number, by two tasks for each but the first two.
#[wpool_guest::task]
fn fibonacci(n: u32) -> Result<u64, SubTaskError> {
    if n < 2 {
        return Ok(n.into());
    }
    let (left, right) = (submit::<u64>("fibonacci", &(n - 1)), submit::<u64>("fibonacci", &(n - 2)));
    Ok(left.result()? + right.result()?)
}

/// Returns the depth of the chain of sub-tasks below this task.
#[wpool_guest::task]
fn chain(depth: u32) -> Result<u32, SubTaskError> {
    if depth == 0 { Ok(0) } else { Ok(1 + submit::<u32>("chain", &(depth - 1)).result()?) }
}

/// The square of a number.
#[wpool_guest::task]
fn square(x: i64) -> i64 {
    x * x
}

/// Returns the sum of the squares of the numbers below `below`, with a sub-task for each.
#[wpool_guest::task]
fn squares(below: i64) -> Result<i64, SubTaskError> {
    let tasks: Vec<SubTask<i64>> = (0..below).map(|x| submit("square", &x)).collect();
    tasks.into_iter().map(SubTask::result).sum()
}

/// Runs until it is killed.
#[wpool_guest::task]
fn endless() {
    loop {
        std::hint::black_box(0);
    }
}

/// Fails with a given error.
#[wpool_guest::task]
fn fail(how: String) -> Result<(), String> {
    match how.as_str() {
        "panic" => panic!("as it was told"),
        _ => Err(how),
    }
}

/// Submits a sub-task that never ends, and waits for it if `waits` is true.
#[wpool_guest::task]
fn parent_of_endless(waits: bool) -> Result<(), SubTaskError> {
    let endless = submit::<()>("endless", &());
    if waits { endless.result() } else { Ok(()) }
}

/// Returns the kind and the message of each error of failing sub-tasks.
#[wpool_guest::task]
fn hear(fan_out: u32) -> Vec<(String, String)> {
    let heard = |task: SubTask<()>| {
        let error = task.result().expect_err("it cannot succeed");
        (error.kind().to_owned(), error.message().to_owned())
    };
    let mut tasks = vec![
        submit("no_such_task", &()),
        submit("square", &"text"),
        submit("square", &1i64),
        submit("fail", &"on purpose"),
        submit("fail", &"panic"),
    ];
    while tasks.len() <= fan_out as usize {
        tasks.push(submit("fail", &"one of many"));
    }
    let last = tasks.split_off(5).pop().expect("the fan-out is more than five");
    tasks.into_iter().chain([last]).map(heard).collect()
}
