//! Tasks whose worker has exited: retried, suspected, or to blame.

use super::*;

#[test]
fn a_worker_ended_from_outside_costs_nothing_twice_and_then_the_task() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    for generation in 1..=2 {
        let actions = bench.exited(worker(0, generation), OUTSIDE, &[0], Some(0));
        assert_eq!(failed(actions), []);
        assert_eq!(spawned(actions), [(worker(0, generation + 1), HOME)]);
        let actions = bench.handle(Event::WorkerReady(worker(0, generation + 1)));
        assert_eq!(sent(actions, worker(0, generation + 1)), [(0, 1)]);
    }
    let actions = bench.exited(worker(0, 3), OUTSIDE, &[0], Some(0));
    let earlier = vec![OUTSIDE, OUTSIDE];
    let lost = TaskError::WorkerLost { cause: OUTSIDE, phase: Phase::Running, earlier };
    assert_eq!(failed(actions), [(0, &lost)]);
}

#[test]
fn tasks_that_had_not_begun_are_retried_without_limit() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    for generation in 1..10 {
        assert_eq!(failed(bench.exited(worker(0, generation), CRASH, &[], None)), []);
        bench.handle(Event::WorkerReady(worker(0, generation + 1)));
    }
}

#[test]
fn a_crash_is_attributed_to_a_task_only_if_it_ran_alone() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_micros(10));
    bench.submit(1, 5);
    // Three had begun (two of them suspended), and the page says that task 2 was running.
    assert_eq!(failed(bench.exited(worker(0, 1), CRASH, &[1, 2, 3], Some(2))), []);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(2, 1)], "the suspect runs alone");
    let actions = bench.exited(worker(0, 2), CRASH, &[2], Some(2));
    let lost = TaskError::WorkerLost { cause: CRASH, phase: Phase::Running, earlier: vec![CRASH] };
    assert_eq!(failed(actions), [(2, &lost)]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 3)));
    assert_eq!(sent(actions, worker(0, 3)), [(1, 1), (3, 1), (4, 2)], "the others run again, in order");
}

#[test]
fn a_lone_task_that_crashes_its_worker_is_blamed_at_once() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 1);
    let slot = if sent(&bench.actions, worker(0, 1)).is_empty() { 1 } else { 0 };
    let actions = bench.exited(worker(slot, 1), CRASH, &[0], Some(0));
    assert_eq!(failed(actions).len(), 1);
}

#[test]
fn a_task_that_has_acted_is_not_retried_when_another_one_was_stuck() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_millis(10));
    bench.submit(1, 2);
    bench.dispatcher.acted(worker(0, 1), TaskId(2));
    let killed = (0..1000).any(|_| {
        bench.now = bench.dispatcher.next_deadline().expect("a busy worker is looked at");
        bench.handle(Event::Tick);
        let seen = Probe { running: Some(TaskId(1)), slice: 1, waits: false, asleep: None, resident: None };
        bench.handle(Event::Probed { worker: worker(0, 1), seen }).contains(&Action::Kill(worker(0, 1)))
    });
    assert!(killed);
    let actions = bench.exited(worker(0, 1), BY_POOL, &[1, 2], Some(1));
    let timeout = TaskError::Timeout { clock: Clock::Run, limit: TIMEOUT };
    let lost = TaskError::WorkerLost { cause: BY_POOL, phase: Phase::Suspended, earlier: vec![] };
    assert_eq!(failed(actions), [(1, &timeout), (2, &lost)]);
}

#[test]
fn news_of_an_earlier_worker_have_no_effect() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.exited(worker(0, 1), OUTSIDE, &[0], Some(0));
    bench.handle(Event::WorkerReady(worker(0, 2)));
    assert!(bench.done(0, 0, Duration::ZERO).is_empty(), "generation 1 is gone");
    assert!(bench.exited(worker(0, 1), CRASH, &[0], Some(0)).is_empty());
}

#[test]
fn a_task_that_a_worker_does_not_have_is_a_violation() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 2);
    let other = if sent(&bench.actions, worker(0, 1)) == [(0, 1)] { 1 } else { 0 };
    let what = "it ended a task that it does not have";
    assert_eq!(bench.done(other, 0, Duration::ZERO), [Action::Violation { worker: worker(other, 1), what }]);
    assert_eq!(bench.done(other, 77, Duration::ZERO), [Action::Violation { worker: worker(other, 1), what }]);
}

#[test]
fn a_retried_task_that_is_cancelled_leaves_no_record() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.exited(worker(0, 1), OUTSIDE, &[0], Some(0));
    assert_eq!(bench.dispatcher.earlier_exits.len(), 1);
    assert_eq!(failed(bench.handle(Event::Cancel(TaskId(0)))), [(0, &TaskError::Cancelled)]);
    assert_eq!(bench.dispatcher.earlier_exits.len(), 0);
}
