//! The assignment of tasks to workers, and tasks that are taken back.

use super::*;

#[test]
fn every_worker_gets_one_task_until_something_was_measured() {
    let mut bench = Bench::ready(2);
    let actions = bench.submit(0, 10).to_vec_debug();
    assert_eq!(actions.matches("Send").count(), 2);
    assert_eq!(bench.dispatcher.queued(), 8);
}

#[test]
fn short_tasks_travel_in_batches_and_long_ones_alone() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 10_000);
    let short = Duration::from_micros(10);
    let actions = bench.done(0, 0, short);
    assert_eq!(sent(actions, worker(0, 1)), [(1, 200)], "twice a millisecond of work");

    let mut bench = Bench::ready(1);
    bench.submit(0, 100);
    let actions = bench.done(0, 0, Duration::from_millis(30));
    assert_eq!(sent(actions, worker(0, 1)), [(1, 2)], "one that runs and one that waits");
}

#[test]
fn a_task_behind_a_long_one_is_stolen_for_an_idle_worker() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 1);
    let long = Duration::from_millis(10);
    for slot in 0..2 {
        bench.done(slot, 0, long);
    }
    let actions = bench.submit(1, 4);
    let (busy, idle) = (sent(actions, worker(0, 1)), sent(actions, worker(1, 1)));
    assert_eq!((busy.len(), idle.len()), (1, 1), "two tasks for each of the two");
    bench.done(1, idle[0].0, long);
    let actions = bench.done(1, idle[0].0 + 1, long);
    let waiting = TaskId(busy[0].0 + 1);
    let [_, Action::Recall { worker: victim, tasks, why: Recall::Steal }] = actions else {
        panic!("{actions:?}")
    };
    assert_eq!((victim.slot, tasks[0].0), (0, waiting));
    // It has begun meanwhile: asking again would be in vain.
    assert!(
        bench.handle(Event::Recalled { worker: worker(0, 1), taken: vec![], why: Recall::Steal }).is_empty()
    );
    let taken = vec![waiting];
    let actions = bench.handle(Event::Recalled { worker: worker(0, 1), taken, why: Recall::Steal });
    assert_eq!(sent(actions, worker(1, 1)), [(waiting.0, 1)]);
}

#[test]
fn tasks_of_higher_priority_are_sent_first() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    let mut urgent = range(3, 1);
    urgent.policy.priority = 1;
    bench.handle(Event::Submitted(urgent));
    let actions = bench.done(0, 0, Duration::from_millis(5));
    assert_eq!(sent(actions, worker(0, 1)), [(3, 1), (1, 1)]);
}

#[test]
fn a_chunk_has_the_size_that_was_asked_for() {
    let mut bench = Bench::ready(1);
    let mut chunks = range(0, 100);
    chunks.policy.chunk = Some(10);
    bench.handle(Event::Submitted(chunks));
    assert_eq!(sent(&bench.actions, worker(0, 1)), [(0, 20)], "one that runs and one that waits");
}
