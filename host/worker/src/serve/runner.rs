//! Runs tasks in instances, and keeps the instance that the next task may use.

use std::cell::RefCell;
use std::io;

use wpool_wire::ids::TaskId;
use wpool_wire::limits::Isolation;
use wpool_wire::message::{Done, Outcome};

use super::batch::QueuedTask;
use crate::instance::{GuestModule, IdleInstance};
use crate::outcome::Figures;
use crate::state::{HandleEntry, HandleTable, TaskSpec, TaskState, WorkerState};

/// The guest of a worker, with all that its tasks need.
pub(crate) struct Runner {
    guest: GuestModule,
    shared: WorkerState,
    isolation: Isolation,
    /// The instance for the next task, if there is one.
    prewarmed: RefCell<Option<PrewarmedInstance>>,
}

/// An instance that waits for a task.
struct PrewarmedInstance {
    instance: IdleInstance,
    /// Whether an earlier task has used it, which an isolation of batches or workers allows.
    used: bool,
}

impl Runner {
    pub(crate) fn new(guest: GuestModule, shared: WorkerState, isolation: Isolation) -> Self {
        Self { guest, shared, isolation, prewarmed: RefCell::default() }
    }

    pub(super) fn guest(&self) -> &GuestModule {
        &self.guest
    }

    pub(super) fn shared(&self) -> &WorkerState {
        &self.shared
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Returns the state of an instance that is made now.
    pub(super) fn new_state(&self) -> TaskState {
        TaskState::new(&self.shared)
    }

    /// Makes an instance for the next task, unless there is one.
    pub(super) fn prewarm(&self) {
        let mut prewarmed = self.prewarmed.borrow_mut();
        if prewarmed.is_none() {
            let instance = self.guest.prewarm(self.new_state());
            *prewarmed = instance.map(|instance| PrewarmedInstance { instance, used: false });
        }
    }

    /// Drops the instance for the next task, which then gets a new one.
    pub(super) fn drop_prewarmed(&self) {
        self.prewarmed.replace(None);
    }

    /// Runs one task to its end, and adds its record to the output. `flush` sends the record at once.
    pub(super) async fn run(
        &self,
        task: QueuedTask,
        handles: Vec<HandleEntry>,
        flush: bool,
    ) -> io::Result<()> {
        let QueuedTask { spec, function, arguments, range, .. } = task;
        let report = |outcome: Outcome<'_>, figures: Figures<'_>| {
            self.shared.output.done(&record(spec.id, outcome, &figures))?;
            // The caller need not wait until the instance is cleaned up.
            if flush { self.shared.output.flush() } else { Ok(()) }
        };
        let count = u32::try_from(handles.len()).map_err(io::Error::other)?;
        let instance = self.instance_for(&spec, HandleTable::new(handles)).await;
        let (reported, kept) =
            self.guest.run(instance, function, Some((&arguments[range], count)), report).await;
        if self.isolation != Isolation::Task {
            self.prewarmed.replace(kept.map(|instance| PrewarmedInstance { instance, used: true }));
        }
        reported
    }

    async fn instance_for(&self, spec: &TaskSpec, handles: HandleTable) -> IdleInstance {
        let prewarmed = self.prewarmed.take();
        let (mut instance, used) = match prewarmed {
            Some(PrewarmedInstance { instance, used }) => (instance, used),
            None => (self.guest.instantiate(self.new_state()).await, false),
        };
        instance.start(spec, handles, self.shared.limits.fuel.filter(|_| used));
        instance
    }
}

fn record<'r>(id: TaskId, outcome: Outcome<'r>, figures: &Figures<'r>) -> Done<'r> {
    Done {
        id,
        outcome,
        run_ns: figures.run_ns,
        peak_memory: figures.peak_memory,
        fuel: figures.fuel,
        log: &figures.log.bytes,
        log_dropped: figures.log.dropped,
    }
}
