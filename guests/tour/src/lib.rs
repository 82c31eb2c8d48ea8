//! The functions of the tour, which follows the common tutorials on processes.

use std::sync::Mutex;
use std::time::Duration;

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

/// Sleeps for a time, prints that it has succeeded, and returns.
#[wpool_guest::task]
fn sub_progress(milliseconds: u64) -> String {
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    wpool_guest::info!("sub_progress success");
    "ok".to_owned()
}

/// Prints its number and its process id, sleeps for a random time below `milliseconds`, and prints how long it took.
#[wpool_guest::task]
fn long_task(number: u32, milliseconds: u64) {
    let began = wpool_guest::now();
    wpool_guest::info!("Run task {number} in process {}", pids().0);
    wpool_guest::sleep(Duration::from_millis(wpool_guest::random::<u64>() % milliseconds));
    wpool_guest::info!("Task {number} runs {:.2} seconds", began.elapsed().as_secs_f64());
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

/// A value that is made when a task uses it first: each task has a new instance of it.
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

/// Writes the squares of numbers into a shared array and their sum into a shared value, and prints both.
#[wpool_guest::task]
fn squares_and_sum(numbers: Vec<i64>, squares: SharedArray<i64>, sum: Value<i64>) -> Result<(), ObjectError> {
    let own: Vec<i64> = numbers.iter().map(|number| number * number).collect();
    squares.write(0, &own)?;
    sum.set(&own.iter().sum())?;
    wpool_guest::info!("the array (in the process): {:?}", squares.to_vec()?);
    wpool_guest::info!("the sum (in the process): {}", sum.get()?);
    Ok(())
}

/// Appends a record.
#[wpool_guest::task]
fn add_record(record: (String, u32), records: List<(String, u32)>) -> Result<(), ObjectError> {
    records.append(&record)?;
    wpool_guest::info!("New record added!");
    Ok(())
}

/// Prints each record.
#[wpool_guest::task]
fn show_records(records: List<(String, u32)>) -> Result<(), ObjectError> {
    for (name, score) in records.to_vec()? {
        wpool_guest::info!("Name: {name}, score: {score}");
    }
    Ok(())
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

/// Prints the elements of a queue while there are any.
#[wpool_guest::task]
fn print_queue(from: Receiver<i64>) -> Result<(), ObjectError> {
    while !from.empty()? {
        wpool_guest::info!("{}", from.get()?);
    }
    wpool_guest::info!("the queue is empty");
    Ok(())
}

/// Sends messages and prints each, then waits for one message and prints it.
#[wpool_guest::task]
fn send_messages(pipe: Connection<String>) -> Result<(), ObjectError> {
    for message in ["hello", "hey", "hru?", "ECHO", "END"] {
        pipe.send(&message.to_owned())?;
        wpool_guest::info!("sent: {message}");
    }
    wpool_guest::info!("came back: {}", pipe.recv()?);
    Ok(())
}

/// Prints the messages that it gets, answers ECHO, and stops at END.
#[wpool_guest::task]
fn receive_messages(pipe: Connection<String>) -> Result<(), ObjectError> {
    loop {
        let message = pipe.recv()?;
        wpool_guest::info!("received: {message}");
        match message.as_str() {
            "ECHO" => pipe.send(&format!("{message} from receiver!"))?,
            "END" => return Ok(()),
            _ => {}
        }
    }
}

/// Puts a value into a queue, and sleeps.
#[wpool_guest::task]
fn produce(into: Sender<String>, milliseconds: u64) -> Result<(), ObjectError> {
    into.put(&"a".to_owned())?;
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    Ok(())
}

/// Sleeps, takes a value out of a queue, and prints it.
#[wpool_guest::task]
fn consume(from: Receiver<String>, milliseconds: u64) -> Result<(), ObjectError> {
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    wpool_guest::info!("receive data: {}", from.get()?);
    Ok(())
}

/// Sends a value through a pipe, and sleeps.
#[wpool_guest::task]
fn send_one(into: Connection<String>, milliseconds: u64) -> Result<(), ObjectError> {
    into.send(&"a".to_owned())?;
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    Ok(())
}

/// Sleeps, receives a value from a pipe, and prints it.
#[wpool_guest::task]
fn receive_one(from: Connection<String>, milliseconds: u64) -> Result<(), ObjectError> {
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    wpool_guest::info!("receive data: {}", from.recv()?);
    Ok(())
}

/// The process id of the worker, and that of the program that it belongs to.
fn pids() -> (u32, u32) {
    wpool_guest::worker().map_or((0, 0), |worker| (worker.pid, worker.parent_pid))
}

/// The square of a number; prints the number and the process id.
#[wpool_guest::task]
fn square_with_pid(number: i64) -> i64 {
    wpool_guest::info!("{number} in process {}", pids().0);
    number * number
}

/// Sleeps, and returns its number.
#[wpool_guest::task]
fn sleep_for(number: u32, milliseconds: u64) -> u32 {
    wpool_guest::sleep(Duration::from_millis(milliseconds));
    number
}

/// Puts the letters of a word into a queue, and prints both process ids.
#[wpool_guest::task]
fn write_word(word: String, into: Sender<char>) -> Result<(), ObjectError> {
    let (pid, parent) = pids();
    wpool_guest::info!("writer: process {pid} of {parent}");
    word.chars().try_for_each(|letter| into.put(&letter))
}

/// Takes as many letters out of a queue as it holds, and prints each with both process ids.
#[wpool_guest::task]
fn read_word(from: Receiver<char>) -> Result<(), ObjectError> {
    let (pid, parent) = pids();
    for _ in 0..from.qsize()? {
        wpool_guest::info!("reader: {} in process {pid} of {parent}", from.get()?);
    }
    Ok(())
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
