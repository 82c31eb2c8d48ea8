//! The functions of the tour, which follows the common tutorials on processes.

use std::sync::Mutex;

use wpool_guest::{
    Array, Barrier, Condition, Connection, Dict, Event, List, Lock, Namespace, ObjectError, Queue, RLock,
    Receiver, Semaphore, Sender, SharedArray, SubTaskError, Value, submit,
};

/// A global list: of this instance, as a process has its own.
static RESULT: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// Returns its argument.
#[wpool_guest::task]
fn echo(number: i64) -> i64 {
    number
}

// ANCHOR: square
/// The square of a number.
#[wpool_guest::task]
fn square(number: i64) -> i64 {
    number * number
}
// ANCHOR_END: square

/// The square of a number, after `rounds` rounds of computation.
#[wpool_guest::task]
fn slow_square(number: i64, rounds: u64) -> i64 {
    compute(rounds);
    number * number
}

/// Prints the square of a number.
#[wpool_guest::task]
fn print_square(number: i64) {
    wpool_guest::info!("Square: {}", number * number);
}

/// Prints the cube of a number.
#[wpool_guest::task]
fn print_cube(number: i64) {
    wpool_guest::info!("Cube: {}", number * number * number);
}

/// Appends the squares of numbers to the global list, and prints it.
#[wpool_guest::task]
fn append_squares(numbers: Vec<i64>) {
    let mut list = RESULT.lock().expect("one task at a time");
    list.extend(numbers.iter().map(|number| number * number));
    wpool_guest::info!("result (in the process): {list:?}");
}

/// Computes for `rounds` rounds.
fn compute(rounds: u64) {
    (0..rounds).for_each(|round| {
        std::hint::black_box(round);
    });
}

/// Works for a time, and returns its number.
#[wpool_guest::task]
fn work_for(number: u32, rounds: u64) -> u32 {
    compute(rounds);
    number
}

/// Works for a time, prints that it has succeeded, and returns.
#[wpool_guest::task]
fn sub_progress(rounds: u64) -> String {
    compute(rounds);
    wpool_guest::info!("sub_progress success");
    "ok".to_owned()
}

/// Prints its number before and after its work.
#[wpool_guest::task]
fn long_task(number: u32, rounds: u64) {
    wpool_guest::info!("Run task {number}");
    compute(rounds);
    wpool_guest::info!("Task {number} ends");
}

/// A number that logs when it is decoded and encoded.
struct Traced(i64);

impl wpool_guest::Schema for Traced {
    fn describe(types: &mut wpool_guest::TypeTable) -> u32 {
        i64::describe(types)
    }
}

impl<'de> serde::Deserialize<'de> for Traced {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        wpool_guest::info!("{number}: 4. decoded in a worker");
        Ok(Traced(number))
    }
}

impl serde::Serialize for Traced {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wpool_guest::info!("{}: 7. the result is encoded", self.0);
        (self.0 * self.0).serialize(serializer)
    }
}

/// What a task's module makes when it is used first: each task has a new instance of it.
static IMPORTED: std::sync::Once = std::sync::Once::new();

/// The square of a number, with a line for each step in the worker.
#[wpool_guest::task]
fn ten_steps(item: Traced) -> Traced {
    IMPORTED.call_once(|| wpool_guest::info!("{}: 5. imported: the function's module is new here", item.0));
    wpool_guest::info!("{}: 6. run, beside others", item.0);
    item
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

/// Adds `amount` to a balance, and waits for another party between reading and writing.
#[wpool_guest::task]
fn deposit_together(amount: i64, balance: Value<i64>, meet: Barrier) -> Result<(), ObjectError> {
    let before = balance.get()?;
    meet.wait()?;
    balance.set(&(before + amount))
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
