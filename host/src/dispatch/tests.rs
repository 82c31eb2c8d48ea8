//! The dispatcher under a clock of the test's own: single stories, then random ones with invariants.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(1);
const CRASH: WorkerExit = WorkerExit::Signal { signal: 11, by_pool: false };
const OUTSIDE: WorkerExit = WorkerExit::Signal { signal: 9, by_pool: false };

/// A dispatcher, its clock, and the actions of the last event.
struct Bench {
    dispatcher: Dispatcher,
    now: Instant,
    actions: Vec<Action>,
}

impl Bench {
    fn new(workers: u16) -> Self {
        let mut actions = Vec::new();
        let dispatcher = Dispatcher::new(Settings { workers, timeout: Some(TIMEOUT) }, &mut actions);
        Self { dispatcher, now: Instant::now(), actions }
    }

    /// With all workers ready.
    fn ready(workers: u16) -> Self {
        let mut bench = Self::new(workers);
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

fn range(first: u64, count: u32) -> Range {
    Range {
        first: TaskId(first),
        count,
        job: JobId(1),
        index: first,
        function: 0,
        deaths: 0,
        losses: 0,
        alone: false,
    }
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
        assert!(actions.contains(&Action::Spawn(worker(0, generation + 1))));
        let actions = bench.handle(Event::WorkerReady(worker(0, generation + 1)));
        assert_eq!(sent(actions, worker(0, generation + 1)), [(0, 1)]);
    }
    let actions = bench.exited(worker(0, 3), OUTSIDE, &[0], Some(0));
    let lost = TaskError::WorkerLost { cause: OUTSIDE, phase: Phase::Running };
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
    let lost = TaskError::WorkerLost { cause: CRASH, phase: Phase::Running };
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
        bench
            .handle(Event::Probed { worker: worker(0, 1), running: Some(TaskId(1)), slice, begun: true })
            .to_vec_debug()
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
    let killed = WorkerExit::Signal { signal: 9, by_pool: true };
    let actions = bench.exited(worker(0, 1), killed, &[1], Some(1));
    assert_eq!(failed(actions), [(1, &TaskError::Timeout { clock: Clock::Run, limit: TIMEOUT })]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(2, 1)], "its neighbour runs again");
}

#[test]
fn a_worker_that_has_tasks_and_begins_none_is_ended_and_they_run_again() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 2);
    let probed = |begun| Event::Probed { worker: worker(0, 1), running: None, slice: 0, begun };
    bench.handle(probed(false));
    // A task that has begun and waits is no reason: its worker serves.
    bench.now += TIMEOUT + GRACE;
    assert_eq!(bench.handle(probed(true)), []);
    bench.handle(probed(false));
    bench.now += TIMEOUT + GRACE;
    assert_eq!(bench.handle(probed(false)), [Action::Kill(worker(0, 1))]);
    let by_pool = WorkerExit::Signal { signal: 9, by_pool: true };
    let actions = bench.exited(worker(0, 1), by_pool, &[], None);
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
fn workers_that_never_start_fail_the_tasks_with_the_reason() {
    let mut bench = Bench::new(1);
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
        assert_eq!(bench.handle(Event::Tick), [Action::Spawn(worker(0, generation))]);
    };
    assert_eq!(error, TaskError::NoWorker { message: message.clone() });
    assert_eq!(failed(bench.submit(3, 1)), [(3, &TaskError::NoWorker { message })]);
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
                Action::Spawn(worker) => assert!(self.starting.insert(worker)),
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
                        assert!(!range.alone || held.len() == 1, "a suspect has company");
                    }
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
                Action::Complete { index, .. } => {
                    assert_eq!(Some(index), done);
                    self.settle(index);
                }
                Action::Kill(worker) | Action::Stop(worker) => {
                    self.ending.insert(worker);
                }
                Action::Probe(_) => {}
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
        steps in prop::collection::vec((0u8..10, any::<u16>(), 1u64..3000), 1..300),
    ) {
        let mut actions = Vec::new();
        let settings = Settings { workers, timeout: None };
        let mut dispatcher = Dispatcher::new(settings, &mut actions);
        let mut model = Model::default();
        model.apply(actions, None);
        let mut now = Instant::now();
        for (kind, pick, micros) in steps {
            now += Duration::from_micros(micros);
            let choose = |from: Vec<WorkerId>| from.get(usize::from(pick) % from.len().max(1)).copied();
            match kind {
                0 | 1 => {
                    let count = u32::from(pick % 40) + 1;
                    let first = model.submitted;
                    model.submitted += u64::from(count);
                    let range = Range { job: JobId(u64::from(pick % 3)), ..range(first, count) };
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
                _ => run(&mut dispatcher, &mut model, Event::CancelJob(JobId(u64::from(pick % 5))), now),
            }
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
