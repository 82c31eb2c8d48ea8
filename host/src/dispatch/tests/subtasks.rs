//! Tasks that await sub-tasks: stories, then random trees with invariants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::{any, prop, proptest};

use super::*;
use wpool_wire::control::MAX_STARTED;

/// A bench whose guest may have sub-tasks down to `depth`.
fn bench(workers: u16, depth: u8) -> Bench {
    let mut bench = Bench::ready(workers);
    bench.handle(Event::Load { guest: HOME, weight: 1, depth });
    bench
}

fn at(depth: u8, first: u64, count: u32) -> Event {
    let mut range = range(first, count);
    range.policy.depth = depth;
    Event::Submitted(range)
}

#[test]
fn a_slot_for_started_tasks_stays_free_for_each_depth_below() {
    let mut bench = bench(1, 3);
    bench.submit(0, 1);
    let actions = bench.done(0, 0, Duration::from_nanos(1));
    assert_eq!(sent(actions, worker(0, 1)), []);
    let actions = bench.submit(1, 1000);
    assert_eq!(sent(actions, worker(0, 1)), [(1, MAX_STARTED - 3)]);
    for (depth, first) in [(2, 2000), (1, 3000), (3, 4000)] {
        let actions = bench.handle(at(depth, first, 9));
        let fits = if depth == 2 {
            vec![(first, 2)]
        } else if depth == 3 {
            vec![(first, 1)]
        } else {
            vec![]
        };
        assert_eq!(sent(actions, worker(0, 1)), fits, "depth {depth}");
    }
}

#[test]
fn a_retiring_worker_gets_only_sub_tasks_that_its_tasks_may_await() {
    let mut bench = Bench::new(Settings { max_tasks: Some(1), ..fixed(1) });
    bench.handle(Event::Load { guest: HOME, weight: 1, depth: 2 });
    bench.handle(Event::WorkerReady(worker(0, 1)));
    bench.submit(0, 3);
    bench.handle(at(1, 10, 1));
    assert!(bench.actions.is_empty(), "it has its task, which does not wait");
    let actions = bench.handle(Event::Suspended { worker: worker(0, 1), task: TaskId(0) });
    assert_eq!(sent(actions, worker(0, 1)), [(10, 1)]);
    bench.done(0, 10, Duration::ZERO);
    bench.handle(Event::Resumed { worker: worker(0, 1), task: TaskId(0) });
    assert_eq!(bench.done(0, 0, Duration::ZERO).last(), Some(&Action::Stop(worker(0, 1))));
}

#[test]
fn a_worker_full_of_suspended_tasks_gets_no_others() {
    let mut bench = Bench::ready(2);
    let waiting: u64 = MAX_STARTED.into();
    for task in 0..waiting {
        // Both have room, and the first is chosen; all tasks before are suspended.
        bench.submit(task, 1);
        let holder = if sent(&bench.actions, worker(0, 1)).is_empty() { 1 } else { 0 };
        assert_eq!(holder, 0, "task {task}");
        if task + 1 < waiting {
            bench.handle(Event::Suspended { worker: worker(0, 1), task: TaskId(task) });
        }
    }
    let actions = bench.submit(waiting, 1);
    assert_eq!(sent(actions, worker(1, 1)), [(waiting, 1)]);
    bench.done(1, waiting, Duration::from_nanos(1));
    // Short tasks are sent ahead, and one of those before them waits, too.
    let actions = bench.submit(waiting + 1, 1);
    assert_eq!(sent(actions, worker(1, 1)).len() + sent(actions, worker(0, 1)).len(), 1);
    bench.handle(Event::Suspended { worker: worker(0, 1), task: TaskId(waiting - 1) });
    bench.submit(waiting + 2, 1);
    assert!(sent(&bench.actions, worker(0, 1)).is_empty(), "it is full");
}

#[test]
fn no_task_is_stolen_for_a_worker_without_room() {
    let mut bench = Bench::new(fixed(2));
    bench.handle(Event::Load { guest: HOME, weight: 1, depth: 1 });
    bench.handle(Event::WorkerReady(worker(0, 1)));
    bench.submit(0, 1);
    bench.done(0, 0, Duration::from_nanos(1));
    for task in 1..u64::from(MAX_STARTED) {
        bench.submit(task, 1);
        bench.handle(Event::Suspended { worker: worker(0, 1), task: TaskId(task) });
    }
    bench.handle(Event::WorkerReady(worker(1, 1)));
    let actions = bench.submit(1000, 10);
    assert_eq!(sent(actions, worker(1, 1)).iter().map(|(_, count)| count).sum::<u32>(), 10);
    assert!(
        !actions.to_vec_debug().contains("Recall"),
        "the other worker is idle, and no task can start there: {actions:?}"
    );
}

#[test]
fn a_task_that_has_acted_is_not_retried() {
    let mut bench = bench(1, 1);
    bench.submit(0, 1);
    bench.dispatcher.acted(worker(0, 1), TaskId(0));
    let actions = bench.exited(worker(0, 1), OUTSIDE, &[0], Some(0));
    assert!(matches!(failed(actions)[..], [(0, TaskError::WorkerLost { .. })]), "{actions:?}");
}

#[test]
fn a_sub_task_that_brings_its_worker_down_is_not_run_alone() {
    let mut bench = bench(2, 1);
    bench.submit(0, 1);
    bench.handle(at(1, 1, 1));
    let actions = bench.exited(worker(1, 1), CRASH, &[1], Some(1));
    assert!(matches!(failed(actions)[..], [(1, TaskError::WorkerLost { .. })]), "{actions:?}");
}

/// A task of a tree.
#[derive(Debug, Clone)]
struct Node {
    parent: Option<u64>,
    depth: u8,
    /// Sub-tasks that have not ended.
    left: BTreeSet<u64>,
    ended: bool,
}

/// A worker: the tasks that have not begun, in order, and those that have.
#[derive(Debug, Default)]
struct Worker {
    queue: VecDeque<u64>,
    begun: BTreeSet<u64>,
}

/// A pool whose tasks submit others and wait for all of them.
struct Forest {
    dispatcher: Dispatcher,
    now: Instant,
    nodes: Vec<Node>,
    workers: BTreeMap<WorkerId, Worker>,
    starting: BTreeSet<WorkerId>,
    ending: BTreeSet<WorkerId>,
    /// How many sub-tasks each of the next tasks submits.
    widths: VecDeque<u8>,
    deepest: u8,
}

impl Forest {
    fn run(&mut self, event: Event) {
        let mut pending = VecDeque::from([event]);
        let mut steps = 0;
        while let Some(event) = pending.pop_front() {
            steps += 1;
            assert!(steps < 100_000, "events follow from one another for ever: {event:?}");
            let mut actions = Vec::new();
            self.dispatcher.handle(event, self.now, &mut actions);
            for action in actions {
                self.apply(action, &mut pending);
            }
        }
    }

    fn apply(&mut self, action: Action, pending: &mut VecDeque<Event>) {
        match action {
            Action::Spawn { worker, .. } => drop(self.starting.insert(worker)),
            Action::Send { worker, range, .. } => {
                let state = self.workers.get_mut(&worker).expect("only a ready worker is sent tasks");
                state.queue.extend(range.tasks().map(|task| task.0));
                assert!(state.queue.len() + state.begun.len() <= MAX_STARTED as usize, "each task can start");
            }
            Action::Recall { worker, tasks, why } => {
                let state = self.workers.get_mut(&worker).expect("a ready worker");
                let taken: Vec<TaskId> = tasks
                    .into_iter()
                    .map(|(task, _)| task)
                    .filter(|task| state.queue.contains(&task.0))
                    .collect();
                state.queue.retain(|task| !taken.contains(&TaskId(*task)));
                pending.push_back(Event::Recalled { worker, taken, why });
            }
            Action::EndTask { worker, task, .. } => {
                if self.workers.get_mut(&worker).is_some_and(|state| state.begun.remove(&task.0)) {
                    pending.push_back(Event::Done { worker, tasks: vec![(task, Duration::ZERO)] });
                }
            }
            Action::Complete { end: TaskEnd { task, .. }, .. } => self.end(task.0, pending),
            Action::Fail { range, .. } => range.tasks().for_each(|task| self.end(task.0, pending)),
            Action::Kill(worker) | Action::Stop(worker) => drop(self.ending.insert(worker)),
            Action::Probe(_) | Action::Unloaded(_) => {}
            Action::Violation { worker, what } => panic!("worker {worker} is honest, but {what}"),
        }
    }

    fn end(&mut self, task: u64, pending: &mut VecDeque<Event>) {
        let node = &mut self.nodes[usize::try_from(task).unwrap()];
        assert!(!std::mem::replace(&mut node.ended, true), "task {task} ended twice");
        let (parent, left) = (node.parent, std::mem::take(&mut node.left));
        pending.extend(left.into_iter().map(|child| Event::Kill(TaskId(child))));
        if let Some(parent) = parent {
            self.nodes[usize::try_from(parent).unwrap()].left.remove(&task);
        }
    }

    fn submit(&mut self, parent: Option<u64>, depth: u8) -> Event {
        let task = self.nodes.len() as u64;
        self.nodes.push(Node { parent, depth, left: BTreeSet::new(), ended: false });
        if let Some(parent) = parent {
            self.nodes[usize::try_from(parent).unwrap()].left.insert(task);
        }
        at(depth, task, 1)
    }

    /// A worker begins its next task, or ends one that waits for nothing.
    fn turn(&mut self, worker: WorkerId, begins: bool) {
        let Some(state) = self.workers.get_mut(&worker) else { return };
        if begins && let Some(task) = state.queue.pop_front() {
            state.begun.insert(task);
            let depth = self.nodes[usize::try_from(task).unwrap()].depth;
            let width = if depth < self.deepest { self.widths.pop_front().unwrap_or(0) } else { 0 };
            for _ in 0..width {
                self.dispatcher.acted(worker, TaskId(task));
                let event = self.submit(Some(task), depth + 1);
                self.run(event);
            }
            if width > 0 {
                self.run(Event::Suspended { worker, task: TaskId(task) });
            }
            return;
        }
        let ready = state
            .begun
            .iter()
            .copied()
            .find(|task| self.nodes[usize::try_from(*task).unwrap()].left.is_empty());
        if let Some(task) = ready {
            state.begun.remove(&task);
            self.run(Event::Resumed { worker, task: TaskId(task) });
            self.run(Event::Done { worker, tasks: vec![(TaskId(task), Duration::from_micros(9))] });
        }
    }

    fn ready(&mut self, worker: WorkerId) {
        self.starting.remove(&worker);
        if !self.ending.contains(&worker) {
            self.workers.insert(worker, Worker::default());
            self.run(Event::WorkerReady(worker));
        }
    }

    fn exit(&mut self, worker: WorkerId, exit: WorkerExit) {
        self.starting.remove(&worker);
        self.ending.remove(&worker);
        let state = self.workers.remove(&worker).unwrap_or_default();
        let begun: Vec<TaskId> = state.begun.into_iter().map(TaskId).collect();
        let running = begun.last().copied();
        self.run(Event::WorkerExited { worker, exit, begun, running, message: None });
    }

    /// All workers behave until everything has ended.
    fn finish(&mut self) {
        for _ in 0..5_000 {
            if self.dispatcher.is_finished() {
                return;
            }
            self.now += Duration::from_millis(1);
            for worker in self.ending.clone() {
                self.exit(worker, WorkerExit::Code(0));
            }
            for worker in self.starting.clone() {
                self.ready(worker);
            }
            for worker in self.workers.keys().copied().collect::<Vec<_>>() {
                self.turn(worker, true);
                self.turn(worker, false);
            }
            if let Some(at) = self.dispatcher.next_deadline() {
                self.now = self.now.max(at);
                self.run(Event::Tick);
            }
        }
        panic!("it does not come to its end: {:?}", self.dispatcher);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// However wide and deep the trees are, and whichever worker exits, no task waits for ever.
    #[test]
    fn every_tree_comes_to_its_end(
        workers in 1u16..4,
        deepest in 1u8..7,
        max_tasks in prop::option::of(1u32..20),
        roots in 1usize..150,
        widths in prop::collection::vec(0u8..7, 0..400),
        steps in prop::collection::vec((0u8..12, any::<u16>()), 0..300),
    ) {
        let dispatcher = Dispatcher::new(Settings { max_tasks, ..fixed(workers) });
        let mut forest = Forest {
            dispatcher,
            now: Instant::now(),
            nodes: Vec::new(),
            workers: BTreeMap::new(),
            starting: BTreeSet::new(),
            ending: BTreeSet::new(),
            widths: widths.into(),
            deepest,
        };
        forest.run(Event::Load { guest: HOME, weight: 1, depth: deepest });
        for _ in 0..roots {
            let event = forest.submit(None, 0);
            forest.run(event);
        }
        for (kind, pick) in steps {
            forest.now += Duration::from_micros(u64::from(pick) % 2000);
            let choose = |from: Vec<WorkerId>| from.get(usize::from(pick) % from.len().max(1)).copied();
            let worker = choose(forest.workers.keys().copied().collect());
            match (kind, worker) {
                (0..=7, Some(worker)) => forest.turn(worker, kind % 2 == 0),
                (8, Some(worker)) if pick % 4 == 0 => {
                    forest.exit(worker, if pick % 8 == 0 { CRASH } else { OUTSIDE });
                }
                (9, _) => forest.run(Event::Kill(TaskId(u64::from(pick) % forest.nodes.len() as u64))),
                (10, _) => forest.run(Event::Resize { max: pick % 4 + 1 }),
                _ => match choose(forest.starting.iter().copied().collect()) {
                    Some(worker) => forest.ready(worker),
                    None => forest.run(Event::Tick),
                },
            }
        }
        forest.run(Event::Close);
        forest.finish();
        assert!(forest.nodes.iter().all(|node| node.ended));
    }
}
