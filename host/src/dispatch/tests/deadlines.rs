//! Tasks that do not begin or end in time.

use super::*;

#[test]
fn a_task_that_its_worker_cannot_end_is_ended_with_it() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_millis(10));
    bench.submit(1, 2);
    let probe = |bench: &mut Bench, slice| {
        bench.now = bench.dispatcher.next_deadline().expect("a busy worker is looked at");
        assert_eq!(bench.handle(Event::Tick), [Action::Probe(worker(0, 1))]);
        let seen = Probe { running: Some(TaskId(1)), slice, waits: false, asleep: None, resident: None };
        bench.handle(Event::Probed { worker: worker(0, 1), seen }).to_vec_debug()
    };
    // A task that is suspended now and then is not stuck, however long it takes.
    for slice in 0..20 {
        assert_eq!(probe(&mut bench, slice), "[]");
    }
    let began = bench.now;
    let actions = loop {
        let actions = probe(&mut bench, 19);
        if actions != "[]" {
            break actions;
        }
    };
    assert!(actions.contains("Kill"), "{actions}");
    assert!(bench.now - began >= TIMEOUT && bench.now - began < TIMEOUT + GRACE + 2 * PROBE.1);
    let actions = bench.exited(worker(0, 1), BY_POOL, &[1], Some(1));
    assert_eq!(failed(actions), [(1, &TaskError::Timeout { clock: Clock::Run, limit: TIMEOUT })]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(2, 1)], "its neighbour runs again");
}

#[test]
fn a_worker_that_has_tasks_and_begins_none_is_ended_and_they_run_again() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 2);
    let probed = |waits| Event::Probed {
        worker: worker(0, 1),
        seen: Probe { running: None, slice: 0, waits, asleep: None, resident: None },
    };
    bench.handle(probed(false));
    // A task that waits for the parent is no reason: its worker serves.
    bench.now += TIMEOUT + GRACE;
    assert_eq!(bench.handle(probed(true)), []);
    bench.handle(probed(false));
    bench.now += TIMEOUT + GRACE;
    assert_eq!(bench.handle(probed(false)), [Action::Kill(worker(0, 1))]);
    let actions = bench.exited(worker(0, 1), BY_POOL, &[], None);
    assert_eq!(failed(actions), []);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(0, 1)], "as if nothing had happened");
}

#[test]
fn tasks_must_begin_and_end_in_time() {
    let mut bench = Bench::ready(1);
    let (queue, total) = (Duration::from_millis(10), Duration::from_millis(20));
    let with_deadlines = |bench: &Bench, first, count| {
        let mut range = range(first, count);
        range.policy.begin_by = Some((bench.now + queue, queue));
        range.policy.end_by = Some((bench.now + total, total));
        range
    };
    let range = with_deadlines(&bench, 0, 1);
    bench.handle(Event::Submitted(range));
    let range = with_deadlines(&bench, 1, 5);
    bench.handle(Event::Submitted(range));
    bench.now += queue;
    let late = TaskError::Timeout { clock: Clock::Queue, limit: queue };
    let actions = bench.handle(Event::Tick);
    assert_eq!(failed(actions), [(1, &late)]);
    assert!(matches!(actions[0], Action::Fail { range, .. } if range.count == 5));
    // The first has begun, and so it has till the end of all its time.
    assert!(
        matches!(&actions[1], Action::Recall { why: Recall::Late, tasks, .. } if tasks[0].0 == TaskId(0))
    );
    bench.handle(Event::Recalled { worker: worker(0, 1), taken: vec![], why: Recall::Late });
    bench.now += total - queue;
    assert!(matches!(bench.handle(Event::Tick), [Action::Recall { why: Recall::End, .. }, ..]));
    let actions = bench.handle(Event::Recalled { worker: worker(0, 1), taken: vec![], why: Recall::End });
    assert!(matches!(actions, [Action::EndTask { .. }]));
    let actions = bench.done(0, 0, Duration::ZERO);
    let slow = TaskError::Timeout { clock: Clock::Total, limit: total };
    assert!(matches!(&actions[0], Action::Complete { end, .. } if end.reason.as_ref() == Some(&slow)));
}

const HOUR: Duration = Duration::from_secs(3600);

/// A range whose tasks must have ended by the bench's clock plus `limit`.
fn with_total(bench: &Bench, limit: Duration, range: Range) -> Event {
    let end_by = Some((bench.now + limit, limit));
    Event::Submitted(Range { policy: TaskPolicy { end_by, ..range.policy }, ..range })
}

/// Submits a million tasks in windows, each of which ends before the next one is submitted.
fn a_million_tasks_leave_no_deadlines(window: u64) {
    let mut bench = Bench::ready(1);
    for first in (0..1_000_000).step_by(usize::try_from(window).unwrap()) {
        for task in first..first + window {
            bench.now += Duration::from_micros(1);
            let submitted = with_total(&bench, HOUR, range(task, 1));
            bench.handle(submitted);
        }
        assert!(bench.dispatcher.deadlines.len() as u64 <= window);
        while let Some((TaskId(task), _)) = { bench.dispatcher.tasks_of(worker(0, 1)).next() } {
            bench.done(0, task, Duration::from_micros(10));
        }
        assert_eq!(bench.dispatcher.deadlines.len(), 0);
    }
}

#[test]
fn deadlines_are_removed_with_each_task() {
    a_million_tasks_leave_no_deadlines(1);
}

#[test]
fn deadlines_are_removed_with_windows_of_tasks() {
    a_million_tasks_leave_no_deadlines(100);
}

#[test]
fn batches_with_a_common_deadline_are_one_record() {
    let mut bench = Bench::new(fixed(1));
    for first in (0..100_000).step_by(100) {
        let submitted = with_total(&bench, HOUR, range(first, 100));
        bench.handle(submitted);
    }
    assert_eq!(bench.dispatcher.deadlines.len(), 1);
    bench.now += HOUR;
    let slow = TaskError::Timeout { clock: Clock::Total, limit: HOUR };
    assert_eq!(failed(bench.handle(Event::Tick)), [(0, &slow)], "they waited as one range, too");
    assert_eq!((bench.dispatcher.queued(), bench.dispatcher.deadlines.len()), (0, 0));
}

#[test]
fn an_expiry_looks_at_its_own_tasks_alone() {
    let mut bench = Bench::new(fixed(1));
    for task in 0..100_000 {
        let later = HOUR + Duration::from_micros(task);
        let limit = if task == 50_000 { TIMEOUT } else { later };
        let submitted = with_total(&bench, limit, range(task, 1));
        bench.handle(submitted);
    }
    bench.now += TIMEOUT;
    let slow = TaskError::Timeout { clock: Clock::Total, limit: TIMEOUT };
    assert_eq!(failed(bench.handle(Event::Tick)), [(50_000, &slow)]);
    assert_eq!(bench.dispatcher.guests[&HOME].waiting.looked_at(), 1);
}

#[test]
fn tasks_in_flight_to_one_worker_are_ended_together_and_told_once() {
    let mut bench = Bench::ready(1);
    let mut chunks = range(0, 20);
    chunks.policy.chunk = Some(10);
    let submitted = with_total(&bench, TIMEOUT, chunks);
    bench.handle(submitted);
    bench.now += TIMEOUT;
    let actions = bench.handle(Event::Tick);
    let [Action::Recall { tasks, why: Recall::End, .. }, Action::Probe(_)] = actions else {
        panic!("{actions:?}")
    };
    assert_eq!(tasks.len(), 20);
    let taken = (3..20).map(TaskId).collect();
    let recalled = |taken| Event::Recalled { worker: worker(0, 1), taken, why: Recall::End };
    let actions = bench.handle(recalled(taken));
    assert_eq!(failed(actions).len(), 17);
    let told = |action: &&Action| matches!(action, Action::EndTask { .. });
    assert_eq!(actions.iter().filter(told).count(), 3);
    assert_eq!(bench.handle(recalled(vec![])), []);
    for task in 0..3 {
        bench.done(0, task, Duration::ZERO);
    }
    assert_eq!(bench.dispatcher.deadlines.len(), 0);
}

#[test]
fn a_task_that_neither_begins_nor_ends_in_time_leaves_no_record() {
    let mut bench = Bench::ready(1);
    let mut both = range(0, 1);
    both.policy.begin_by = Some((bench.now + TIMEOUT, TIMEOUT));
    both.policy.end_by = both.policy.begin_by;
    bench.handle(Event::Submitted(both));
    bench.now += TIMEOUT;
    bench.handle(Event::Tick);
    let late = TaskError::Timeout { clock: Clock::Queue, limit: TIMEOUT };
    let recalled = |taken, why| Event::Recalled { worker: worker(0, 1), taken, why };
    assert_eq!(failed(bench.handle(recalled(vec![TaskId(0)], Recall::Late))), [(0, &late)]);
    bench.handle(recalled(vec![], Recall::End));
    assert_eq!(bench.dispatcher.deadlines.len(), 0);
}
