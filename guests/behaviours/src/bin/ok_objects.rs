//! Uses every kind of shared object.
#![no_main]

use std::time::Duration;

use wpool_guest::{
    Array, Barrier, Condition, Connection, Dict, Event, List, Lock, Namespace, ObjectError, Queue, RLock,
    Receiver, Semaphore, Sender, Value,
};

/// Puts the numbers below `below` into a queue.
#[wpool_guest::task]
fn produce(below: u32, into: Sender<u32>) -> Result<(), ObjectErrorText> {
    (0..below).try_for_each(|n| into.put(&n)).map_err(text)
}

/// Puts the numbers from `first` up to `end` into a queue, many at a time.
#[wpool_guest::task]
fn produce_many(first: u32, end: u32, into: Sender<u32>) -> Result<(), ObjectErrorText> {
    let numbers: Vec<u32> = (first..end).collect();
    numbers.chunks(1000).try_for_each(|chunk| into.put_many(chunk)).map_err(text)
}

/// Takes numbers until the queue is closed, and returns them.
#[wpool_guest::task]
fn consume(from: Receiver<u32>) -> Result<Vec<u32>, ObjectErrorText> {
    let mut all = Vec::new();
    loop {
        match from.get_many(1000) {
            Ok(mut numbers) => all.append(&mut numbers),
            Err(ObjectError::Closed) => return Ok(all),
            Err(error) => return Err(text(error)),
        }
    }
}

/// Takes one number, and fails afterwards if `fails` is true.
#[wpool_guest::task]
fn take(from: Receiver<u32>, fails: bool) -> Result<(u32, bool), ObjectErrorText> {
    let delivery = from.get_marked().map_err(text)?;
    if fails { Err("as it was told".to_owned()) } else { Ok((delivery.value, delivery.again)) }
}

type ObjectErrorText = String;

fn text(error: ObjectError) -> ObjectErrorText {
    error.to_string()
}

/// Adds `amount` to a balance `times` times, with a lock or without.
#[wpool_guest::task]
fn deposit(times: u32, amount: i64, balance: Value<i64>, lock: Option<Lock>) -> Result<(), ObjectErrorText> {
    for _ in 0..times {
        let guard = lock.as_ref().map(Lock::acquire).transpose().map_err(text)?;
        let before = balance.get().map_err(text)?;
        balance.set(&(before + amount)).map_err(text)?;
        drop(guard);
    }
    Ok(())
}

/// Acquires two locks one after the other, the second when the event is set.
#[wpool_guest::task]
fn two_locks(first: Lock, second: Lock, held: Semaphore, go: Event) -> Result<bool, ObjectErrorText> {
    let _first = first.acquire().map_err(text)?;
    held.release(1).map_err(text)?;
    go.wait().map_err(text)?;
    second.acquire().map(|guard| guard.poisoned()).map_err(text)
}

/// Acquires a lock, sets the event, and keeps the lock without end.
#[wpool_guest::task]
fn hold(lock: Lock, held: Event) -> Result<(), ObjectErrorText> {
    let _guard = lock.acquire().map_err(text)?;
    held.set().map_err(text)?;
    loop {
        std::hint::black_box(0);
    }
}

/// Releases the semaphore to signal that it runs, and waits without end for the given object.
#[wpool_guest::task]
#[expect(clippy::too_many_arguments, reason = "there are so many ways")]
fn wait_in(
    how: String,
    queue: Queue<u32>,
    lock: Lock,
    event: Event,
    barrier: Barrier,
    condition: Condition,
    pipe: Connection<String>,
    there: Semaphore,
) -> Result<(), ObjectErrorText> {
    there.release(1).map_err(text)?;
    match how.as_str() {
        "get" => queue.get().map(drop),
        "put" => queue.put_many(&[1; 100]),
        "join" => queue.join(),
        "lock" => lock.acquire().map(drop),
        "event" => event.wait(),
        "barrier" => barrier.wait().map(drop),
        "condition" => condition.acquire().and_then(|guard| guard.wait()),
        _ => pipe.recv().map(drop),
    }
    .map_err(text)
}

/// Sends back each message in upper case, until END.
#[wpool_guest::task]
fn echo(pipe: Connection<String>) -> Result<u32, ObjectErrorText> {
    for count in 0.. {
        let message = pipe.recv().map_err(text)?;
        if message == "END" {
            return Ok(count);
        }
        pipe.send(&message.to_uppercase()).map_err(text)?;
    }
    Ok(0)
}

/// Waits at a barrier `count` times, and returns its position in the order of arrival of each round.
#[wpool_guest::task]
fn rounds(barrier: Barrier, count: u32) -> Result<Vec<u64>, ObjectErrorText> {
    (0..count).map(|_| barrier.wait().map_err(text)).collect()
}

/// Does one thing with each object, and returns the results.
#[wpool_guest::task]
fn everything(
    queue: Queue<String>,
    dict: Dict<String, u32>,
    list: List<u32>,
    array: Array<u32>,
    namespace: Namespace,
    rlock: RLock,
    semaphore: Semaphore,
) -> Result<Vec<String>, ObjectErrorText> {
    let mut seen = Vec::new();
    let mut see = |what: String| seen.push(what);
    queue.put(&"one".to_owned()).map_err(text)?;
    see(format!("queue {:?} {:?}", queue.qsize(), queue.get_nowait()));
    see(format!("empty {:?} {:?}", queue.empty(), queue.get_timeout(Duration::from_millis(5))));
    see(format!("dict {:?} {:?}", dict.insert(&"a".to_owned(), &2), dict.get(&"a".to_owned())));
    dict.set(&"b".to_owned(), &3).map_err(text)?;
    see(format!("items {:?}", dict.items()));
    list.extend(&[1, 2, 3]).map_err(text)?;
    see(format!("list {:?} {:?} {:?}", list.get(-1), list.pop(0), list.to_vec()));
    array.set(1, &9).map_err(text)?;
    see(format!("array {:?} {:?}", array.to_vec(), array.get(5)));
    namespace.set("name", &7u64).map_err(text)?;
    see(format!("namespace {:?} {:?}", namespace.get::<u64>("name"), namespace.get::<i32>("name")));
    let (outer, inner) = (rlock.acquire().map_err(text)?, rlock.acquire().map_err(text)?);
    see(format!("rlock {:?}", rlock.locked()));
    drop((outer, inner));
    see(format!("released {:?}", rlock.locked()));
    let held = semaphore.acquire().map_err(text)?;
    see(format!("semaphore {:?}", semaphore.get_value()));
    // The task ends while it holds the semaphore.
    std::mem::forget(held);
    // The error of a posted call is part of the answer to the next call.
    array.set(5, &1).map_err(text)?;
    see(format!("earlier {:?} {:?}", array.len(), array.len()));
    Ok(seen)
}

/// Answers each question into the queue that came with it.
#[wpool_guest::task]
fn answer(questions: Receiver<(String, Sender<String>)>) -> Result<u32, ObjectErrorText> {
    let mut count = 0;
    while let Ok((question, reply)) = questions.get() {
        reply.put(&format!("{question}!")).map_err(text)?;
        count += 1;
    }
    Ok(count)
}

/// Puts a number and gets it back, `times` times.
#[wpool_guest::task]
fn put_and_get(times: u32, queue: Queue<u32>) -> Result<(), ObjectErrorText> {
    for n in 0..times {
        queue.put(&n).map_err(text)?;
        if queue.get().map_err(text)? != n {
            return Err("another number".to_owned());
        }
    }
    Ok(())
}

/// Sets `times` keys.
#[wpool_guest::task]
fn set_keys(times: u32, dict: Dict<u32, u32>) -> Result<(), ObjectErrorText> {
    (0..times).try_for_each(|n| dict.set(&(n % 1000), &n)).map_err(text)
}

/// Puts a thousand numbers together and gets them together, `times` times.
#[wpool_guest::task]
fn thousands(times: u32, queue: Queue<u32>) -> Result<(), ObjectErrorText> {
    let numbers: Vec<u32> = (0..1000).collect();
    for _ in 0..times {
        queue.put_many(&numbers).map_err(text)?;
        if queue.get_many(1000).map_err(text)? != numbers {
            return Err("other numbers".to_owned());
        }
    }
    Ok(())
}

/// Posts a wrong call, and takes a number twice: the first time it gets the error of the posted call, then the number.
#[wpool_guest::task]
fn wrong_before_taking(array: Array<u32>, from: Receiver<u32>) -> Result<(String, u32), ObjectErrorText> {
    array.set(99, &1).map_err(text)?;
    let told = from.get().expect_err("it is told first");
    Ok((text(told), from.get().map_err(text)?))
}

/// Takes one number.
#[wpool_guest::task]
fn wait_for_one(from: Receiver<u32>) -> Result<u32, ObjectError> {
    from.get()
}

/// Sends a message, and returns the one from the other end.
#[wpool_guest::task]
fn swap(pipe: Connection<String>, message: String) -> Result<String, ObjectError> {
    pipe.send(&message)?;
    pipe.recv()
}

/// Sends one message, and ends.
#[wpool_guest::task]
fn send_and_go(pipe: Connection<String>) -> Result<u32, ObjectError> {
    pipe.send(&"bye".to_owned()).map(|()| 0)
}

/// Returns whether a lock is held.
#[wpool_guest::task]
fn sees_locked(lock: Lock) -> Result<bool, ObjectError> {
    lock.locked()
}

/// Acquires a lock, sets `held`, and releases the lock when `go` is set.
#[wpool_guest::task]
fn hold_until(lock: Lock, held: Event, go: Event) -> Result<(), ObjectError> {
    let _guard = lock.acquire()?;
    held.set()?;
    go.wait()
}

/// Releases the semaphore to signal that it runs, and waits for an event.
#[wpool_guest::task]
fn wait_for_event(event: Event, there: Semaphore) -> Result<(), ObjectError> {
    there.release(1)?;
    event.wait()
}

/// Adds one `times` times, each time atomically.
#[wpool_guest::task]
fn update(times: u32, value: Value<i64>) -> Result<(), ObjectError> {
    (0..times).try_for_each(|_| value.update(|value| value + 1).map(drop))
}

/// Returns the errors of a queue of capacity one and of a lock.
#[wpool_guest::task]
fn errors(to: Sender<u32>, from: Receiver<u32>, lock: Lock) -> Vec<String> {
    let soon = Duration::from_millis(5);
    let mut seen = vec![format!("{:?}", from.get_nowait()), format!("{:?}", from.get_timeout(soon))];
    seen.push(format!("{:?}", to.put_nowait(&1)));
    seen.push(format!("{:?}", to.put_nowait(&2)));
    seen.push(format!("{:?}", to.put_timeout(&2, soon)));
    let _guard = lock.acquire();
    seen.push(format!("{:?}", lock.try_acquire().err()));
    seen
}

/// Puts a text of `bytes` bytes.
#[wpool_guest::task]
fn put_large(bytes: u32, into: Sender<String>) -> Result<(), ObjectError> {
    into.put(&"x".repeat(bytes as usize))
}

/// Puts the numbers below `count`, each with the producer's number.
#[wpool_guest::task]
fn produce_marked(own: u32, count: u32, into: Sender<(u32, u32)>) -> Result<(), ObjectError> {
    let mut next = 0;
    while next < count {
        let end = count.min(next + 500);
        let values: Vec<(u32, u32)> = (next..end).map(|n| (own, n)).collect();
        into.put_many(&values)?;
        next = end;
    }
    Ok(())
}

/// Returns the number of values of each producer. Fails if the values of one were not in order.
#[wpool_guest::task]
fn check_order(producers: u32, from: Receiver<(u32, u32)>) -> Result<Vec<u32>, String> {
    let mut next = vec![0; producers as usize];
    loop {
        let values = match from.get_many(1000) {
            Ok(values) => values,
            Err(ObjectError::Closed) => return Ok(next),
            Err(error) => return Err(error.to_string()),
        };
        for (producer, n) in values {
            if next[producer as usize] != n {
                return Err(format!("{n} of producer {producer} came after {}", next[producer as usize]));
            }
            next[producer as usize] += 1;
        }
    }
}
