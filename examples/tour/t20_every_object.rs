//! Every shared object, used once by a task and once by this program.

use std::error::Error;

use serde::Serialize;
use wpool::{
    Array, Barrier, Condition, Connection, Dict, Event, Guest, List, Lock, Namespace, PipeMode, Pool, Queue,
    RLock, Schema, Semaphore, SharedArray, Value,
};
use wpool_examples::{guest, say};

#[derive(Serialize, Schema)]
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

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let manager = pool.manager();
    let (here, there) = manager.pipe::<String>(PipeMode::Duplex);
    let all = Everything {
        queue: manager.queue(1),
        pipe: there,
        lock: manager.lock(),
        rlock: manager.rlock(),
        semaphore: manager.semaphore(2),
        condition: manager.condition(),
        event: manager.event(),
        barrier: manager.barrier_with(2, || say("all have come to the barrier")),
        dict: manager.dict(),
        list: manager.list(),
        namespace: manager.namespace(),
        value: manager.value(&6)?,
        array: manager.array(&[7, 8])?,
        shared: manager.shared_array(1)?,
    };
    let task = pool.task::<Everything, ()>("use_everything")?.submit(&all)?;
    let held = all.condition.acquire()?;
    all.event.set()?;
    held.wait()?;
    drop(held);
    say(&format!("locked: {} and {}", all.lock.locked()?, all.rlock.locked()?));
    say(&format!("semaphore: {}", all.semaphore.get_value()?));
    say(&format!("dict: {:?}, list: {:?}", all.dict.items()?, all.list.to_vec()?));
    say(&format!("namespace: {}, value: {}", all.namespace.get::<String>("name")?, all.value.get()?));
    say(&format!("array: {:?}, shared array: {:?}", all.array.to_vec()?, all.shared.to_vec()?));
    here.send(&"a pipe".to_owned())?;
    say(&format!("pipe: {}", here.recv()?));
    say(&format!("queue: {}", all.queue.get()?));
    all.barrier.wait()?;
    task.result()?;
    Ok(())
}
