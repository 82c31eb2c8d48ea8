//! The dispatcher under a clock of the test's own: single stories, then random ones with invariants.

mod families;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::deadlines::{GRACE, PROBE};
use super::*;
use crate::error::{Clock, Phase};

const TIMEOUT: Duration = Duration::from_secs(1);
const CRASH: WorkerExit = WorkerExit::Signal { signal: 11, by_pool: false };
const OUTSIDE: WorkerExit = WorkerExit::Signal { signal: 9, by_pool: false };
const BY_POOL: WorkerExit = WorkerExit::Signal { signal: 9, by_pool: true };
const HOME: GuestKey = GuestKey(0);
const OTHER: GuestKey = GuestKey(1);

/// A dispatcher, its clock, and the actions of the last event.
struct Bench {
    dispatcher: Dispatcher,
    now: Instant,
    actions: Vec<Action>,
}

/// So many workers, always.
fn fixed(workers: u16) -> Settings {
    Settings { min: workers, max: workers, idle: None, max_tasks: None, max_age: None, max_memory: None }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let mut bench =
            Self { dispatcher: Dispatcher::new(settings), now: Instant::now(), actions: Vec::new() };
        bench.handle(Event::Load { guest: HOME, weight: 1, depth: 0 });
        bench
    }

    /// With all workers ready.
    fn ready(workers: u16) -> Self {
        let mut bench = Self::new(fixed(workers));
        for slot in 0..workers {
            bench.handle(Event::WorkerReady(worker(slot, 1)));
        }
        bench
    }

    fn handle(&mut self, event: Event) -> &[Action] {
        self.actions.clear();
        self.dispatcher.handle(event, self.now, &mut self.actions);
        &self.actions
    }

    fn submit(&mut self, first: u64, count: u32) -> &[Action] {
        self.handle(Event::Submitted(range(first, count)))
    }

    fn done(&mut self, slot: u16, task: u64, run: Duration) -> &[Action] {
        self.handle(Event::Done { worker: worker(slot, 1), tasks: vec![(TaskId(task), run)] })
    }

    fn exited(
        &mut self,
        worker: WorkerId,
        exit: WorkerExit,
        begun: &[u64],
        running: Option<u64>,
    ) -> &[Action] {
        let begun = begun.iter().map(|&task| TaskId(task)).collect();
        let running = running.map(TaskId);
        self.handle(Event::WorkerExited { worker, exit, begun, running, message: None })
    }
}

fn worker(slot: u16, generation: u32) -> WorkerId {
    WorkerId { slot, generation }
}

pub(super) fn range(first: u64, count: u32) -> Range {
    Range {
        first: TaskId(first),
        count,
        job: JobId(1),
        index: first,
        guest: HOME,
        function: 0,
        policy: TaskPolicy { run_timeout: Some(TIMEOUT), max_retries: 2, ..TaskPolicy::default() },
        past: Past::default(),
    }
}

fn of(guest: GuestKey, range: Range) -> Range {
    Range { guest, ..range }
}

fn spawned(actions: &[Action]) -> Vec<(WorkerId, GuestKey)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Spawn { worker, guest } => Some((*worker, *guest)),
            _ => None,
        })
        .collect()
}

/// First task and number of tasks of each range that was sent to a worker.
fn sent(actions: &[Action], to: WorkerId) -> Vec<(u64, u32)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { worker, range, .. } if *worker == to => Some((range.first.0, range.count)),
            _ => None,
        })
        .collect()
}

fn failed(actions: &[Action]) -> Vec<(u64, &TaskError)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Fail { range, error } => Some((range.first.0, error)),
            _ => None,
        })
        .collect()
}

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
fn what_waits_behind_a_long_task_is_taken_back_for_an_idle_worker() {
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
fn a_queued_task_is_cancelled_and_a_sent_one_recalled() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    assert_eq!(failed(bench.handle(Event::Cancel(TaskId(2)))), [(2, &TaskError::Cancelled)]);
    let recall = bench.handle(Event::Cancel(TaskId(0))).to_vec_debug();
    assert!(recall.contains("Recall") && recall.contains("Cancel"), "{recall}");
    let taken = vec![TaskId(0)];
    let actions = bench.handle(Event::Recalled { worker: worker(0, 1), taken, why: Recall::Cancel });
    assert_eq!(failed(actions), [(0, &TaskError::Cancelled)]);
    assert_eq!(sent(actions, worker(0, 1)), [(1, 1)], "the place is free");
    assert!(bench.handle(Event::Cancel(TaskId(0))).is_empty(), "once is enough");
}

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
fn tasks_that_had_not_begun_are_never_charged() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    for generation in 1..10 {
        assert_eq!(failed(bench.exited(worker(0, generation), CRASH, &[], None)), []);
        bench.handle(Event::WorkerReady(worker(0, generation + 1)));
    }
}

#[test]
fn a_crash_is_blamed_on_a_task_only_when_it_ran_alone() {
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
fn a_task_that_its_worker_cannot_end_is_ended_with_it() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_millis(10));
    bench.submit(1, 2);
    let probe = |bench: &mut Bench, slice| {
        bench.now = bench.dispatcher.next_deadline().expect("a busy worker is looked at");
        assert_eq!(bench.handle(Event::Tick), [Action::Probe(worker(0, 1))]);
        let seen = Probe { running: Some(TaskId(1)), slice, begun: true, resident: None };
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
fn who_has_acted_does_not_run_again_beside_one_that_was_stuck() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_millis(10));
    bench.submit(1, 2);
    bench.handle(Event::Acted { worker: worker(0, 1), task: TaskId(2) });
    let killed = (0..1000).any(|_| {
        bench.now = bench.dispatcher.next_deadline().expect("a busy worker is looked at");
        bench.handle(Event::Tick);
        let seen = Probe { running: Some(TaskId(1)), slice: 1, begun: true, resident: None };
        bench.handle(Event::Probed { worker: worker(0, 1), seen }).contains(&Action::Kill(worker(0, 1)))
    });
    assert!(killed);
    let actions = bench.exited(worker(0, 1), BY_POOL, &[1, 2], Some(1));
    let timeout = TaskError::Timeout { clock: Clock::Run, limit: TIMEOUT };
    let lost = TaskError::WorkerLost { cause: BY_POOL, phase: Phase::Suspended, earlier: vec![] };
    assert_eq!(failed(actions), [(1, &timeout), (2, &lost)]);
}

#[test]
fn a_worker_that_has_tasks_and_begins_none_is_ended_and_they_run_again() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 2);
    let probed = |begun| Event::Probed {
        worker: worker(0, 1),
        seen: Probe { running: None, slice: 0, begun, resident: None },
    };
    bench.handle(probed(false));
    // A task that has begun and waits is no reason: its worker serves.
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
fn news_of_an_earlier_worker_reach_nobody() {
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
fn a_rest_that_is_over_is_not_slept_through() {
    let mut bench = Bench::new(fixed(1));
    bench.handle(Event::Load { guest: OTHER, weight: 1, depth: 0 });
    bench.submit(0, 1);
    // While the first guest rests, its place is kept warm by the other.
    let message = "no such file".to_owned();
    let actions = bench.handle(Event::SpawnFailed { worker: worker(0, 1), message });
    assert_eq!(spawned(actions), [(worker(0, 2), OTHER)]);
    bench.handle(Event::WorkerReady(worker(0, 2)));
    bench.now += TIMEOUT;
    assert!(bench.dispatcher.next_deadline().is_some_and(|at| at <= bench.now), "the rest is over");
    assert_eq!(bench.handle(Event::Tick), [Action::Stop(worker(0, 2))]);
    let actions = bench.exited(worker(0, 2), WorkerExit::Code(0), &[], None);
    assert_eq!(spawned(actions), [(worker(0, 3), HOME)]);
}

#[test]
fn a_slow_worker_is_relieved_when_somebody_can_be_started_and_not_asked_about_before() {
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
    assert!(next > bench.now, "the driver would ask for ever");
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
fn workers_start_when_tasks_wait_and_go_when_idle() {
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
fn a_worker_goes_after_so_many_tasks_and_not_before() {
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
fn a_worker_that_is_old_or_large_goes_when_it_has_done_what_it_has() {
    let mut bench = Bench::new(Settings { max_age: Some(TIMEOUT), max_memory: Some(1000), ..fixed(2) });
    for slot in 0..2 {
        bench.handle(Event::WorkerReady(worker(slot, 1)));
    }
    bench.submit(0, 2);
    let large = Probe { running: None, slice: 0, begun: true, resident: Some(1001) };
    assert_eq!(bench.handle(Event::Probed { worker: worker(0, 1), seen: large }), []);
    let stopped = |actions: &[Action], slot| actions.contains(&Action::Stop(worker(slot, 1)));
    let first = if sent(bench.submit(2, 1), worker(0, 1)).is_empty() { 0 } else { 1 };
    assert!((0..2).any(|task| stopped(bench.done(first, task, Duration::ZERO), 0)));
    bench.now += TIMEOUT;
    bench.handle(Event::Tick);
    assert!((0..3).any(|task| stopped(bench.done(1, task, Duration::ZERO), 1)));
}

#[test]
fn the_number_of_workers_can_be_changed_while_they_work() {
    let mut bench = Bench::ready(3);
    bench.submit(0, 10);
    assert_eq!(bench.handle(Event::Resize { max: 1 }), [], "nobody is interrupted");
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

#[test]
fn a_task_that_is_killed_is_taken_back_or_told_to_end_or_ended_with_its_worker() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    assert_eq!(failed(bench.handle(Event::Kill(TaskId(2)))), [(2, &TaskError::Cancelled)]);
    // It has begun, so it cannot be taken back, and is told to end.
    bench.handle(Event::Kill(TaskId(0)));
    let recalled = |taken| Event::Recalled { worker: worker(0, 1), taken, why: Recall::End };
    assert_eq!(
        bench.handle(recalled(vec![])),
        [Action::EndTask { worker: worker(0, 1), task: TaskId(0), claim: 0 }]
    );
    assert_eq!(bench.handle(Event::Kill(TaskId(0))), [], "once is enough");
    let actions = bench.done(0, 0, Duration::ZERO);
    assert!(matches!(
        &actions[0],
        Action::Complete { end: TaskEnd { reason: Some(TaskError::Killed), .. }, .. }
    ));
    // This one does not listen.
    bench.handle(Event::Kill(TaskId(1)));
    bench.handle(recalled(vec![]));
    bench.now = bench.dispatcher.next_deadline().unwrap();
    while !bench.handle(Event::Tick).contains(&Action::Kill(worker(0, 1))) {
        bench.now = bench.dispatcher.next_deadline().expect("it is ended by force");
    }
    assert_eq!(failed(bench.exited(worker(0, 1), BY_POOL, &[1], Some(1))), [(1, &TaskError::Killed)]);
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

#[test]
fn the_urgent_go_before_what_waits() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    let mut urgent = range(3, 1);
    urgent.policy.priority = 1;
    bench.handle(Event::Submitted(urgent));
    let actions = bench.done(0, 0, Duration::from_millis(5));
    assert_eq!(sent(actions, worker(0, 1)), [(3, 1), (1, 1)]);
}

#[test]
fn a_chunk_is_as_large_as_somebody_wants() {
    let mut bench = Bench::ready(1);
    let mut chunks = range(0, 100);
    chunks.policy.chunk = Some(10);
    bench.handle(Event::Submitted(chunks));
    assert_eq!(sent(&bench.actions, worker(0, 1)), [(0, 20)], "one that runs and one that waits");
}

#[test]
fn an_idle_worker_of_one_guest_makes_place_for_another() {
    let mut bench = Bench::ready(1);
    bench.handle(Event::Load { guest: OTHER, weight: 1, depth: 0 });
    let actions = bench.handle(Event::Submitted(of(OTHER, range(0, 1))));
    assert_eq!(actions, [Action::Stop(worker(0, 1))]);
    let actions = bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None);
    assert_eq!(spawned(actions), [(worker(0, 2), OTHER)]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(0, 1)]);
    assert_eq!(spawned(bench.done(0, 0, Duration::ZERO)), [], "it stays warm");
}

/// Who got how much time of one worker, with two guests that always have work.
fn shares(weights: [u32; 2]) -> [u32; 2] {
    let mut bench = Bench::new(fixed(1));
    bench.handle(Event::Load { guest: HOME, weight: weights[0], depth: 0 });
    bench.handle(Event::Load { guest: OTHER, weight: weights[1], depth: 0 });
    bench.handle(Event::Submitted(of(HOME, range(0, 5000))));
    bench.handle(Event::Submitted(Range { job: JobId(2), ..of(OTHER, range(5000, 5000)) }));
    let mut ended = [0, 0];
    let mut generation = 1;
    bench.handle(Event::WorkerReady(worker(0, 1)));
    for _ in 0..4000 {
        let held: Vec<TaskId> =
            bench.dispatcher.tasks_of(worker(0, generation)).map(|(task, _)| task).collect();
        let Some(&task) = held.first() else {
            bench.exited(worker(0, generation), WorkerExit::Code(0), &[], None);
            generation += 1;
            bench.handle(Event::WorkerReady(worker(0, generation)));
            continue;
        };
        ended[usize::from(task.0 >= 5000)] += 1;
        let tasks = vec![(task, Duration::from_millis(3))];
        let actions = bench.handle(Event::Done { worker: worker(0, generation), tasks }).to_vec_debug();
        if actions.contains("Recall") {
            let taken = held[1..].to_vec();
            bench.handle(Event::Recalled { worker: worker(0, generation), taken, why: Recall::Steal });
        }
    }
    ended
}

#[test]
fn guests_share_the_time_by_their_weights() {
    let [a, b] = shares([1, 1]);
    assert!(a.abs_diff(b) < 200, "{a} and {b}");
    let [a, b] = shares([1, 3]);
    assert!((a * 3).abs_diff(b) < 600, "{a} and {b}");
}

#[test]
fn an_unloaded_guest_finishes_and_goes() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 2);
    bench.handle(Event::Unload(HOME));
    assert_eq!(failed(bench.submit(2, 1)), [(2, &TaskError::GuestUnloaded)]);
    bench.done(0, 0, Duration::ZERO);
    assert_eq!(bench.done(0, 1, Duration::ZERO).last(), Some(&Action::Stop(worker(0, 1))));
    assert_eq!(bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None), [Action::Unloaded(HOME)]);
}

#[test]
fn closing_finishes_what_is_there_and_lets_the_workers_go() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 3);
    assert!(bench.handle(Event::Close).is_empty());
    bench.done(
        0,
        if sent(&bench.actions, worker(0, 1)).is_empty() { 0 } else { 1 },
        Duration::from_millis(1),
    );
    let mut stopped = 0;
    for task in 0..3 {
        for slot in 0..2 {
            stopped += bench
                .done(slot, task, Duration::from_millis(1))
                .iter()
                .filter(|a| matches!(a, Action::Stop(_)))
                .count();
        }
    }
    assert_eq!(stopped, 2);
    bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None);
    assert!(!bench.dispatcher.is_finished());
    bench.exited(worker(1, 1), WorkerExit::Code(0), &[], None);
    assert!(bench.dispatcher.is_finished());
}

#[test]
fn terminating_fails_everything_at_once() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 100);
    let actions = bench.handle(Event::Terminate);
    let tasks: u32 =
        actions.iter().map(|a| if let Action::Fail { range, .. } = a { range.count } else { 0 }).sum();
    assert_eq!(tasks, 100);
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::Kill(_))).count(), 2);
    assert_eq!(failed(bench.submit(100, 1)), [(100, &TaskError::PoolClosed)]);
}

trait DebugText {
    fn to_vec_debug(&self) -> String;
}

impl DebugText for [Action] {
    fn to_vec_debug(&self) -> String {
        format!("{self:?}")
    }
}

/// A pool whose workers and owners behave at random, as far as real ones can.
#[derive(Default)]
struct Model {
    submitted: u64,
    settled: BTreeSet<u64>,
    /// What each worker holds: task, and whether it has begun.
    held: BTreeMap<WorkerId, BTreeMap<u64, bool>>,
    starting: BTreeSet<WorkerId>,
    serves: BTreeMap<WorkerId, GuestKey>,
    ending: BTreeSet<WorkerId>,
}

impl Model {
    fn settle(&mut self, task: u64) {
        assert!(task < self.submitted, "task {task} was never submitted");
        assert!(self.settled.insert(task), "task {task} ended twice");
    }

    /// Does what the dispatcher says, and hands back what follows from it at once.
    fn apply(&mut self, actions: Vec<Action>, done: Option<u64>) -> Vec<Event> {
        let mut follow = Vec::new();
        for action in actions {
            match action {
                Action::Spawn { worker, guest } => {
                    assert!(self.starting.insert(worker));
                    self.serves.insert(worker, guest);
                }
                Action::Send { worker, range, .. } => {
                    for n in 0..u64::from(range.count) {
                        let task = range.first.0 + n;
                        assert!(!self.settled.contains(&task), "task {task} runs after its end");
                        assert!(
                            self.held.values().all(|held| !held.contains_key(&task)),
                            "task {task} is in two places"
                        );
                        let held = self.held.get_mut(&worker).expect("only a ready worker is sent tasks");
                        held.insert(task, false);
                        assert!(!range.past.alone || held.len() == 1, "a suspect has company");
                    }
                    assert_eq!(self.serves[&worker], range.guest, "a worker serves one guest");
                }
                Action::Recall { worker, tasks, why } => {
                    let held = self.held.get_mut(&worker).expect("a ready worker");
                    let taken: Vec<TaskId> = tasks
                        .into_iter()
                        .map(|(task, _)| task)
                        .filter(|task| held.get(&task.0) == Some(&false))
                        .collect();
                    held.retain(|task, _| !taken.contains(&TaskId(*task)));
                    follow.push(Event::Recalled { worker, taken, why });
                }
                Action::Fail { range, .. } => {
                    (0..u64::from(range.count)).for_each(|n| self.settle(range.first.0 + n));
                }
                Action::Complete { end: TaskEnd { index, .. }, .. } => {
                    assert_eq!(Some(index), done);
                    self.settle(index);
                }
                Action::Kill(worker) | Action::Stop(worker) => {
                    self.ending.insert(worker);
                }
                Action::Probe(_) | Action::EndTask { .. } | Action::Unloaded(_) => {}
                Action::Violation { worker, what } => panic!("worker {worker} is honest, but {what}"),
            }
        }
        follow
    }
}

fn run(dispatcher: &mut Dispatcher, model: &mut Model, event: Event, now: Instant) {
    let done = match &event {
        Event::Done { tasks, .. } => Some(tasks[0].0.0),
        _ => None,
    };
    let mut pending = vec![(event, done)];
    while let Some((event, done)) = pending.pop() {
        let mut actions = Vec::new();
        dispatcher.handle(event, now, &mut actions);
        pending.extend(model.apply(actions, done).into_iter().map(|event| (event, None)));
    }
}

fn exit(dispatcher: &mut Dispatcher, model: &mut Model, worker: WorkerId, exit: WorkerExit, now: Instant) {
    model.starting.remove(&worker);
    model.ending.remove(&worker);
    let held = model.held.remove(&worker).unwrap_or_default();
    let begun: Vec<TaskId> =
        held.iter().filter(|(_, begun)| **begun).map(|(task, _)| TaskId(*task)).collect();
    let running = begun.last().copied();
    run(dispatcher, model, Event::WorkerExited { worker, exit, begun, running, message: None }, now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens, each task ends once, runs in one place at a time, and nothing is left over.
    #[test]
    fn every_task_ends_exactly_once(
        workers in 1u16..4,
        min in 0u16..4,
        max_tasks in prop::option::of(1u32..20),
        idle in prop::option::of(1u64..20),
        steps in prop::collection::vec((0u8..15, any::<u16>(), 1u64..3000), 1..300),
    ) {
        let idle = idle.map(Duration::from_millis);
        let settings = Settings { min: min.min(workers), idle, max_tasks, ..fixed(workers) };
        let mut dispatcher = Dispatcher::new(settings);
        let mut model = Model::default();
        let mut now = Instant::now();
        for guest in [HOME, OTHER] {
            run(&mut dispatcher, &mut model, Event::Load { guest, weight: 1 + guest.0, depth: 0 }, now);
        }
        for (kind, pick, micros) in steps {
            now += Duration::from_micros(micros);
            let choose = |from: Vec<WorkerId>| from.get(usize::from(pick) % from.len().max(1)).copied();
            match kind {
                0 | 1 => {
                    let count = u32::from(pick % 40) + 1;
                    let first = model.submitted;
                    model.submitted += u64::from(count);
                    let guest = if pick % 5 == 0 { OTHER } else { HOME };
                    let mut range = Range { job: JobId(u64::from(pick % 3)), guest, ..range(first, count) };
                    range.policy.priority = i32::from(pick % 2);
                    let limit = Duration::from_millis(u64::from(pick % 7));
                    range.policy.begin_by = (pick % 4 == 1).then(|| (now + limit, limit));
                    range.policy.end_by = (pick % 4 == 2).then(|| (now + 2 * limit, 2 * limit));
                    range.policy.chunk = (pick % 3 == 1).then(|| u32::from(pick % 9) + 1);
                    run(&mut dispatcher, &mut model, Event::Submitted(range), now);
                }
                2 | 3 => if let Some(worker) = choose(model.starting.iter().copied().collect()) {
                    model.starting.remove(&worker);
                    if !model.ending.contains(&worker) {
                        model.held.insert(worker, BTreeMap::new());
                        run(&mut dispatcher, &mut model, Event::WorkerReady(worker), now);
                    }
                },
                4..=6 => if let Some(worker) = choose(model.held.keys().copied().collect()) {
                    // Begin the first that has not begun, end one that has.
                    let held = model.held.get_mut(&worker).unwrap();
                    if let Some(begun) = held.values_mut().find(|begun| !**begun) {
                        *begun = true;
                    }
                    let ended = held.iter().filter(|(_, begun)| **begun).map(|(task, _)| *task).nth(usize::from(pick % 3));
                    if let Some(task) = ended {
                        held.remove(&task);
                        let run_time = Duration::from_micros(micros);
                        run(&mut dispatcher, &mut model, Event::Done { worker, tasks: vec![(TaskId(task), run_time)] }, now);
                    }
                },
                7 => {
                    let crash = if pick % 2 == 0 { CRASH } else { OUTSIDE };
                    if let Some(worker) = choose(model.held.keys().copied().collect()) {
                        exit(&mut dispatcher, &mut model, worker, crash, now);
                    }
                }
                8 => if model.submitted > 0 {
                    let task = TaskId(u64::from(pick) % model.submitted);
                    run(&mut dispatcher, &mut model, Event::Cancel(task), now);
                },
                9 => run(&mut dispatcher, &mut model, Event::CancelJob(JobId(u64::from(pick % 5))), now),
                10 => if model.submitted > 0 {
                    let task = TaskId(u64::from(pick) % model.submitted);
                    run(&mut dispatcher, &mut model, Event::Kill(task), now);
                },
                11 => run(&mut dispatcher, &mut model, Event::Resize { max: pick % 5 + 1 }, now),
                12 => if let Some(worker) = choose(model.ending.iter().copied().collect()) {
                    exit(&mut dispatcher, &mut model, worker, WorkerExit::Code(0), now);
                },
                13 => if let Some(worker) = choose(model.held.keys().copied().collect()) {
                    let seen = Probe { running: None, slice: u64::from(pick % 2), begun: pick % 3 == 0, resident: None };
                    run(&mut dispatcher, &mut model, Event::Probed { worker, seen }, now);
                },
                _ => run(&mut dispatcher, &mut model, Event::Tick, now),
            }
            assert!(model.starting.len() + model.held.len() <= 5 + usize::from(workers), "too many workers");
        }
        // Now everybody behaves, and everything ends.
        run(&mut dispatcher, &mut model, Event::Close, now);
        for _ in 0..100_000 {
            if dispatcher.is_finished() {
                break;
            }
            now += Duration::from_millis(1);
            for worker in model.ending.clone() {
                exit(&mut dispatcher, &mut model, worker, WorkerExit::Code(0), now);
            }
            for worker in std::mem::take(&mut model.starting) {
                model.held.insert(worker, BTreeMap::new());
                run(&mut dispatcher, &mut model, Event::WorkerReady(worker), now);
            }
            let all: Vec<(WorkerId, u64)> =
                model.held.iter().flat_map(|(worker, held)| held.keys().map(|task| (*worker, *task))).collect();
            for (worker, task) in all {
                // It may have been taken back since.
                if model.held.get_mut(&worker).is_some_and(|held| held.remove(&task).is_some()) {
                    run(&mut dispatcher, &mut model, Event::Done { worker, tasks: vec![(TaskId(task), Duration::from_micros(50))] }, now);
                }
            }
            if let Some(at) = dispatcher.next_deadline() {
                now = now.max(at);
                run(&mut dispatcher, &mut model, Event::Tick, now);
            }
        }
        assert!(dispatcher.is_finished(), "{dispatcher:?}");
        assert_eq!(model.settled.len() as u64, model.submitted);
    }
}
