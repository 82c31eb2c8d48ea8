//! The functions of the tour, which follows the common tutorials on processes.

use std::sync::Mutex;

use wpool_guest::{
    Array, Barrier, Condition, Connection, Dict, Event, List, Lock, Namespace, ObjectError, Queue, RLock,
    Receiver, Semaphore, Sender, SharedArray, SubTaskError, Value, submit,
};

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The square of a number.
#[wpool_guest::task]
fn square(number: i64) -> i64 {
    number * number
}

/// The cube of a number.
#[wpool_guest::task]
fn cube(number: i64) -> i64 {
    number * number * number
}

/// The square of a number, after `rounds` rounds of computation.
#[wpool_guest::task]
fn slow_square(number: i64, rounds: u64) -> i64 {
    (0..rounds).for_each(|round| {
        std::hint::black_box(round);
    });
    number * number
}

/// Adds messages to this process's list, and returns the number of messages in it.
#[wpool_guest::task]
fn fill(messages: Vec<String>) -> usize {
    let mut list = MESSAGES.lock().expect("one task at a time");
    list.extend(messages);
    list.len()
}

/// The number of characters of a message.
#[wpool_guest::task]
fn measure(message: &str) -> usize {
    message.chars().count()
}

/// Divides, and traps if `by` is zero.
#[wpool_guest::task]
fn divide(number: i64, by: i64) -> i64 {
    number / by
}

/// Counts to a number, and emits each number on the way.
#[wpool_guest::task]
fn count(to: u32) -> u32 {
    (1..=to).for_each(|reached| wpool_guest::emit(&reached));
    to
}

/// A Fibonacci number, by two sub-tasks for each but the first two.
#[wpool_guest::task]
fn fibonacci(n: u32) -> Result<u64, SubTaskError> {
    if n < 2 {
        return Ok(n.into());
    }
    let (left, right) = (submit::<u64>("fibonacci", &(n - 1)), submit::<u64>("fibonacci", &(n - 2)));
    Ok(left.result()? + right.result()?)
}

/// Writes the squares of numbers into a shared array, and their sum into a shared value.
#[wpool_guest::task]
fn squares_and_sum(numbers: Vec<i64>, squares: SharedArray<i64>, sum: Value<i64>) -> Result<(), ObjectError> {
    let own: Vec<i64> = numbers.iter().map(|number| number * number).collect();
    squares.write(0, &own)?;
    sum.set(&own.iter().sum())
}

/// Appends a record.
#[wpool_guest::task]
fn add_record(record: (String, u32), records: List<(String, u32)>) -> Result<(), ObjectError> {
    records.append(&record)
}

/// A line for each record.
#[wpool_guest::task]
fn show_records(records: List<(String, u32)>) -> Result<Vec<String>, ObjectError> {
    Ok(records.to_vec()?.iter().map(|(name, score)| format!("{name}: {score}")).collect())
}

/// Puts the squares of numbers into a queue.
#[wpool_guest::task]
fn put_squares(numbers: Vec<i64>, into: Sender<i64>) -> Result<(), ObjectError> {
    numbers.iter().try_for_each(|number| into.put(&(number * number)))
}

/// Takes numbers from a queue until it is closed.
#[wpool_guest::task]
fn take_all(from: Receiver<i64>) -> Result<Vec<i64>, ObjectError> {
    let mut taken = Vec::new();
    loop {
        match from.get() {
            Ok(number) => taken.push(number),
            Err(ObjectError::Closed) => return Ok(taken),
            Err(error) => return Err(error),
        }
    }
}

/// Sends back each message, until END.
#[wpool_guest::task]
fn echo_until_end(pipe: Connection<String>) -> Result<u32, ObjectError> {
    let mut count = 0;
    loop {
        let message = pipe.recv()?;
        if message == "END" {
            return Ok(count);
        }
        pipe.send(&message)?;
        count += 1;
    }
}

/// Adds `amount` to a balance `times` times, with a lock or without.
#[wpool_guest::task]
fn deposit(times: u32, amount: i64, balance: Value<i64>, lock: Option<Lock>) -> Result<(), ObjectError> {
    for _ in 0..times {
        let _held = lock.as_ref().map(Lock::acquire).transpose()?;
        balance.set(&(balance.get()? + amount))?;
    }
    Ok(())
}

/// One of each object.
#[derive(serde::Deserialize, wpool_guest::Schema)]
struct Everything {
    queue: Queue<String>,
    pipe: Connection<String>,
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    dict: Dict<String, u32>,
    list: List<u32>,
    namespace: Namespace,
    value: Value<u32>,
    array: Array<u32>,
    shared: SharedArray<u32>,
}

/// Does one thing with each object, together with the program that submitted it.
#[wpool_guest::task]
fn use_everything(all: Everything) -> Result<(), ObjectError> {
    all.event.wait()?;
    {
        let _held = all.lock.acquire()?;
        let (_once, _twice) = (all.rlock.acquire()?, all.rlock.acquire()?);
        let _one_of_two = all.semaphore.acquire()?;
        all.dict.set(&"answer".to_owned(), &42)?;
        all.list.extend(&[1, 2, 3])?;
        all.namespace.set("name", &"wpool".to_owned())?;
        all.value.update(|value| value + 1)?;
        all.array.set(-1, &9)?;
        all.shared.fetch_add(0, 5)?;
    }
    all.condition.acquire()?.notify_all()?;
    let question = all.pipe.recv()?;
    all.pipe.send(&format!("{question} indeed"))?;
    all.queue.put(&"all done".to_owned())?;
    all.barrier.wait().map(drop)
}
