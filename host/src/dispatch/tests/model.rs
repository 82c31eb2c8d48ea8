//! A pool whose workers and callers behave at random: each task ends exactly once, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{any, prop, proptest};

use super::*;

/// A dispatcher, and the world that it decides on.
struct Model {
    dispatcher: Dispatcher,
    now: Instant,
    submitted: u64,
    ended: BTreeSet<u64>,
    /// The tasks that each worker has, and whether they have begun.
    held: BTreeMap<WorkerId, BTreeMap<u64, bool>>,
    starting: BTreeSet<WorkerId>,
    serves: BTreeMap<WorkerId, GuestKey>,
    ending: BTreeSet<WorkerId>,
}

impl Model {
    fn new(settings: Settings) -> Self {
        let mut model = Self {
            dispatcher: Dispatcher::new(settings),
            now: Instant::now(),
            submitted: 0,
            ended: BTreeSet::new(),
            held: BTreeMap::new(),
            starting: BTreeSet::new(),
            serves: BTreeMap::new(),
            ending: BTreeSet::new(),
        };
        for guest in [HOME, OTHER] {
            model.run(Event::Load { guest, weight: 1 + guest.0, depth: 0 });
        }
        model
    }

    fn run(&mut self, event: Event) {
        let done = match &event {
            Event::Done { tasks, .. } => Some(tasks[0].0.0),
            _ => None,
        };
        let mut pending = vec![(event, done)];
        while let Some((event, done)) = pending.pop() {
            let mut actions = Vec::new();
            self.dispatcher.handle(event, self.now, &mut actions);
            for action in actions {
                pending.extend(self.apply(action, done).map(|event| (event, None)));
            }
        }
        let live = self.submitted - self.ended.len() as u64;
        assert!(self.dispatcher.deadlines.len() as u64 <= 4 * live, "records outlive their tasks");
    }

    /// Performs an action, and returns the event that follows from it at once.
    fn apply(&mut self, action: Action, done: Option<u64>) -> Option<Event> {
        match action {
            Action::Spawn { worker, guest } => {
                assert!(self.starting.insert(worker));
                self.serves.insert(worker, guest);
            }
            Action::Send { worker, range, .. } => self.send(worker, range),
            Action::Recall { worker, tasks, why } => return Some(self.recall(worker, &tasks, why)),
            Action::Fail { range, .. } => range.tasks().for_each(|task| self.end(task.0)),
            Action::Complete { end: TaskEnd { index, .. }, .. } => {
                assert_eq!(Some(index), done);
                self.end(index);
            }
            Action::Kill(worker) | Action::Stop(worker) => {
                self.ending.insert(worker);
            }
            Action::Probe(_) | Action::EndTask { .. } | Action::Unloaded(_) => {}
            Action::Violation { worker, what } => panic!("worker {worker} is honest, but {what}"),
        }
        None
    }

    fn send(&mut self, worker: WorkerId, range: Range) {
        for TaskId(task) in range.tasks() {
            assert!(!self.ended.contains(&task), "task {task} runs after its end");
            assert!(self.held.values().all(|held| !held.contains_key(&task)), "task {task} is in two places");
            let held = self.held.get_mut(&worker).expect("only a ready worker is sent tasks");
            held.insert(task, false);
            assert!(!range.history.suspect || held.len() == 1, "a suspect has company");
        }
        assert_eq!(self.serves[&worker], range.guest, "a worker serves one guest");
    }

    fn recall(&mut self, worker: WorkerId, tasks: &[(TaskId, u32)], why: Recall) -> Event {
        let held = self.held.get_mut(&worker).expect("a ready worker");
        let tasks = tasks.iter().map(|(task, _)| *task);
        let taken: Vec<TaskId> = tasks.filter(|task| held.get(&task.0) == Some(&false)).collect();
        held.retain(|task, _| !taken.contains(&TaskId(*task)));
        Event::Recalled { worker, taken, why }
    }

    fn end(&mut self, task: u64) {
        assert!(task < self.submitted, "task {task} was never submitted");
        assert!(self.ended.insert(task), "task {task} ended twice");
    }

    fn submit(&mut self, pick: u16) {
        let count = u32::from(pick % 40) + 1;
        let guest = if pick.is_multiple_of(5) { OTHER } else { HOME };
        let mut range = Range { job: JobId(u64::from(pick % 3)), guest, ..range(self.submitted, count) };
        self.submitted += u64::from(count);
        let limit = Duration::from_millis(u64::from(pick % 7));
        range.policy.priority = i32::from(pick % 2);
        range.policy.begin_by = (pick % 4 == 1 || pick.is_multiple_of(9)).then(|| (self.now + limit, limit));
        range.policy.end_by =
            (pick % 4 == 2 || pick.is_multiple_of(9)).then(|| (self.now + 2 * limit, 2 * limit));
        range.policy.chunk = (pick % 3 == 1).then(|| u32::from(pick % 9) + 1);
        self.run(Event::Submitted(range));
    }

    fn ready(&mut self, worker: WorkerId) {
        self.starting.remove(&worker);
        if !self.ending.contains(&worker) {
            self.held.insert(worker, BTreeMap::new());
            self.run(Event::WorkerReady(worker));
        }
    }

    /// A worker begins the first task that has not begun, and ends one that has.
    fn turn(&mut self, worker: WorkerId, pick: u16, run: Duration) {
        let held = self.held.get_mut(&worker).expect("the worker is ready");
        if let Some(begun) = held.values_mut().find(|begun| !**begun) {
            *begun = true;
        }
        let mut begun = held.iter().filter(|(_, begun)| **begun).map(|(task, _)| *task);
        if let Some(task) = begun.nth(usize::from(pick % 3)) {
            self.done(worker, task, run);
        }
    }

    /// A worker ends a task, unless the task has been taken back.
    fn done(&mut self, worker: WorkerId, task: u64, run: Duration) {
        if self.held.get_mut(&worker).is_some_and(|held| held.remove(&task).is_some()) {
            self.run(Event::Done { worker, tasks: vec![(TaskId(task), run)] });
        }
    }

    fn exit(&mut self, worker: WorkerId, exit: WorkerExit) {
        self.starting.remove(&worker);
        self.ending.remove(&worker);
        let held = self.held.remove(&worker).unwrap_or_default();
        let begun: Vec<TaskId> =
            held.iter().filter(|(_, begun)| **begun).map(|(task, _)| TaskId(*task)).collect();
        let running = begun.last().copied();
        self.run(Event::WorkerExited { worker, exit, begun, running, message: None });
    }

    fn step(&mut self, kind: u8, pick: u16, micros: u64) {
        let choose = |from: Vec<WorkerId>| from.get(usize::from(pick) % from.len().max(1)).copied();
        let held = choose(self.held.keys().copied().collect());
        let task = u64::from(pick).checked_rem(self.submitted).map(TaskId);
        match (kind, held, task) {
            (0 | 1, ..) => self.submit(pick),
            (2 | 3, ..) => {
                choose(self.starting.iter().copied().collect()).into_iter().for_each(|w| self.ready(w));
            }
            (4..=6, Some(worker), _) => self.turn(worker, pick, Duration::from_micros(micros)),
            (7, Some(worker), _) => self.exit(worker, if pick.is_multiple_of(2) { CRASH } else { OUTSIDE }),
            (8, _, Some(task)) => self.run(Event::Cancel(task)),
            (9, ..) => self.run(Event::CancelJob(JobId(u64::from(pick % 5)))),
            (10, _, Some(task)) => self.run(Event::Kill(task)),
            (11, ..) => self.run(Event::Resize { max: pick % 5 + 1 }),
            (12, ..) => {
                let worker = choose(self.ending.iter().copied().collect());
                worker.into_iter().for_each(|worker| self.exit(worker, WorkerExit::Code(0)));
            }
            (13, Some(worker), _) => {
                let (slice, waits) = (u64::from(pick % 2), pick.is_multiple_of(3));
                let seen = Probe { running: None, slice, waits, asleep: None, resident: None };
                self.run(Event::Probed { worker, seen });
            }
            (14, ..) => self.run(Event::Tick),
            _ => {}
        }
    }

    /// All workers behave until everything has ended.
    fn finish(&mut self) {
        self.run(Event::Close);
        for _ in 0..100_000 {
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
            let held = self.held.iter();
            let all: Vec<(WorkerId, u64)> =
                held.flat_map(|(worker, held)| held.keys().map(|task| (*worker, *task))).collect();
            for (worker, task) in all {
                self.done(worker, task, Duration::from_micros(50));
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
        let mut model = Model::new(Settings { min: min.min(workers), idle, max_tasks, ..fixed(workers) });
        for (kind, pick, micros) in steps {
            model.now += Duration::from_micros(micros);
            model.step(kind, pick, micros);
            let processes = model.starting.len() + model.held.len();
            assert!(processes <= 5 + usize::from(workers), "too many workers");
        }
        model.finish();
        assert_eq!(model.ended.len() as u64, model.submitted);
        assert_eq!((model.dispatcher.deadlines.len(), model.dispatcher.earlier_exits.len()), (0, 0));
    }
}
