//! The number of workers, and when they are started and stopped.

use super::*;

#[test]
fn workers_that_never_start_fail_the_tasks_with_the_reason_until_one_does() {
    let mut bench = Bench::new(fixed(1));
    bench.submit(0, 3);
    let message = "no such file".to_owned();
    let mut generation = 1;
    let error = loop {
        let event = Event::SpawnFailed { worker: worker(0, generation), message: message.clone() };
        if let [Action::Fail { error, .. }] = bench.handle(event) {
            break error.clone();
        }
        bench.now = bench.dispatcher.next_deadline().expect("a new attempt is due");
        generation += 1;
        assert_eq!(spawned(bench.handle(Event::Tick)), [(worker(0, generation), HOME)]);
    };
    assert_eq!(error, TaskError::NoWorker { message: message.clone() });
    assert_eq!(failed(bench.submit(3, 1)), [(3, &TaskError::NoWorker { message })], "it fails fast");
    bench.now = bench.dispatcher.next_deadline().expect("it is tried again");
    assert_eq!(spawned(bench.handle(Event::Tick)), [(worker(0, generation + 1), HOME)]);
    assert_eq!(failed(bench.submit(4, 1)), []);
    let actions = bench.handle(Event::WorkerReady(worker(0, generation + 1)));
    assert_eq!(sent(actions, worker(0, generation + 1)), [(4, 1)], "whatever was wrong was mended");
}

#[test]
fn a_block_that_has_elapsed_stays_a_deadline() {
    let mut bench = Bench::new(fixed(1));
    bench.handle(Event::Load { guest: OTHER, weight: 1, depth: 0 });
    bench.submit(0, 1);
    // While no worker of the first guest may be started, its slot is taken by the other one.
    let message = "no such file".to_owned();
    let actions = bench.handle(Event::SpawnFailed { worker: worker(0, 1), message });
    assert_eq!(spawned(actions), [(worker(0, 2), OTHER)]);
    bench.handle(Event::WorkerReady(worker(0, 2)));
    bench.now += TIMEOUT;
    assert!(bench.dispatcher.next_deadline().is_some_and(|at| at <= bench.now), "a worker may be started");
    assert_eq!(bench.handle(Event::Tick), [Action::Stop(worker(0, 2))]);
    let actions = bench.exited(worker(0, 2), WorkerExit::Code(0), &[], None);
    assert_eq!(spawned(actions), [(worker(0, 3), HOME)]);
}

#[test]
fn an_overloaded_worker_gets_help_when_the_breaker_allows_it_and_no_tick_is_due_before() {
    let mut bench = Bench::new(Settings { min: 1, ..fixed(2) });
    bench.handle(Event::WorkerReady(worker(0, 1)));
    let mut chunks = range(0, 10);
    chunks.policy.chunk = Some(10);
    bench.handle(Event::Submitted(chunks));
    bench.now = bench.dispatcher.next_deadline().expect("it has several tasks and says nothing");
    assert_eq!(spawned(bench.handle(Event::Tick)), [(worker(1, 1), HOME)]);
    let message = "no such file".to_owned();
    bench.handle(Event::SpawnFailed { worker: worker(1, 1), message });
    let next = bench.dispatcher.next_deadline().expect("it is tried again");
    assert!(next > bench.now, "the driver would tick for ever");
    bench.now = next;
    assert_eq!(spawned(bench.handle(Event::Tick)), [(worker(1, 2), HOME)]);
}

#[test]
fn workers_that_crash_one_after_the_other_are_not_replaced_for_ever() {
    let mut bench = Bench::ready(1);
    let mut generation = 1;
    let error = loop {
        bench.submit(u64::from(generation), 1);
        // The task is to blame, and its end is no proof that workers work.
        bench.exited(worker(0, generation), CRASH, &[u64::from(generation)], None);
        generation += 1;
        assert!(generation < 50, "the breaker never opens");
        if spawned(&bench.actions).is_empty() {
            let actions = bench.submit(u64::from(generation), 1);
            break failed(actions)[0].1.clone();
        }
        bench.handle(Event::WorkerReady(worker(0, generation)));
    };
    assert_eq!(error, TaskError::NoWorker { message: CRASH.to_string() });
}

#[test]
fn workers_are_started_when_tasks_wait_and_stopped_when_idle() {
    let settings = Settings { idle: Some(TIMEOUT), min: 1, ..fixed(4) };
    let mut bench = Bench::new(settings);
    assert_eq!(spawned(&bench.actions), [(worker(0, 1), HOME)], "the least number is there from the start");
    bench.handle(Event::WorkerReady(worker(0, 1)));
    assert_eq!(spawned(bench.submit(0, 1)), [], "an idle worker is used before a new one is started");
    assert_eq!(spawned(bench.submit(1, 1)).len(), 1);
    assert_eq!(spawned(bench.submit(2, 90)).len(), 2, "never more than the greatest number");
    for slot in 1..4 {
        bench.handle(Event::WorkerReady(worker(slot, 1)));
    }
    bench.handle(Event::CancelPending);
    for slot in 0..4 {
        for task in 0..4 {
            bench.done(slot, task, Duration::from_millis(2));
        }
    }
    let mut stopped = 0;
    while let Some(at) = bench.dispatcher.next_deadline().filter(|at| *at > bench.now) {
        bench.now = at;
        let actions = bench.handle(Event::Tick);
        stopped += actions.iter().filter(|action| matches!(action, Action::Stop(_))).count();
    }
    assert_eq!(stopped, 3, "one stays");
}

#[test]
fn a_worker_is_replaced_after_its_last_task_and_not_before() {
    let mut bench = Bench::new(Settings { max_tasks: Some(3), ..fixed(1) });
    bench.handle(Event::WorkerReady(worker(0, 1)));
    bench.submit(0, 5);
    assert_eq!(sent(bench.done(0, 0, Duration::from_micros(1)), worker(0, 1)), [(1, 2)], "two are left");
    bench.done(0, 1, Duration::ZERO);
    assert_eq!(bench.done(0, 2, Duration::ZERO).last(), Some(&Action::Stop(worker(0, 1))));
    let actions = bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None);
    assert_eq!(spawned(actions), [(worker(0, 2), HOME)]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(3, 2)]);
}

#[test]
fn a_worker_that_is_old_or_large_is_stopped_after_its_last_task() {
    let mut bench = Bench::new(Settings { max_age: Some(TIMEOUT), max_memory: Some(1000), ..fixed(2) });
    for slot in 0..2 {
        bench.handle(Event::WorkerReady(worker(slot, 1)));
    }
    bench.submit(0, 2);
    let large = Probe { running: None, slice: 0, waits: true, asleep: None, resident: Some(1001) };
    assert_eq!(bench.handle(Event::Probed { worker: worker(0, 1), seen: large }), []);
    let stopped = |actions: &[Action], slot| actions.contains(&Action::Stop(worker(slot, 1)));
    let first = if sent(bench.submit(2, 1), worker(0, 1)).is_empty() { 0 } else { 1 };
    assert!((0..2).any(|task| stopped(bench.done(first, task, Duration::ZERO), 0)));
    bench.now += TIMEOUT;
    bench.handle(Event::Tick);
    assert!((0..3).any(|task| stopped(bench.done(1, task, Duration::ZERO), 1)));
}

#[test]
fn a_worker_that_has_had_no_task_is_never_too_old() {
    let mut bench = Bench::new(Settings { max_age: Some(Duration::ZERO), ..fixed(1) });
    bench.handle(Event::WorkerReady(worker(0, 1)));
    bench.now += TIMEOUT;
    assert_eq!(bench.handle(Event::Tick), [], "its replacement would be no younger for long");
    assert_eq!(bench.dispatcher.next_deadline(), None);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::ZERO);
    assert!(bench.handle(Event::Tick).contains(&Action::Stop(worker(0, 1))));
}

#[test]
fn the_number_of_workers_can_be_changed_while_they_work() {
    let mut bench = Bench::ready(3);
    bench.submit(0, 10);
    assert_eq!(bench.handle(Event::Resize { max: 1 }), [], "no task is interrupted");
    let mut stopped = 0;
    for slot in 0..3 {
        for task in 0..3 {
            stopped +=
                bench.done(slot, task, TIMEOUT).iter().filter(|a| matches!(a, Action::Stop(_))).count();
        }
    }
    assert_eq!(stopped, 2);
    for slot in 0..3 {
        if bench.dispatcher.tasks_of(worker(slot, 1)).count() == 0 {
            assert_eq!(spawned(bench.exited(worker(slot, 1), WorkerExit::Code(0), &[], None)), []);
        }
    }
    assert_eq!(spawned(bench.handle(Event::Resize { max: 5 })).len(), 4);
}
