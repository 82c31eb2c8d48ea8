//! The requests of running tasks, and their answers.
//!
//! Every request is checked: the worker must have the task, the task must have begun, and the request must be within
//! what the task was granted. Otherwise the worker is ended, as only the worker can have made it up.

use std::time::Instant;

use wpool_abi::object::{Item, MAX_POST_SIZE};
use wpool_abi::{SubTaskFailure, SubTaskOutcome};
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{
    self, Answer, Ask, BadMessage, Credit, Flow, LogPart, encode, handle_indices, to_worker,
};

use super::completed::Completed;
use super::jobs::{Arguments, Job, next_tasks};
use super::pool_guest::{PoolGuest, TaskCall};
use super::sessions::Request;
use super::state::State;
use crate::dispatch::subtasks::{ProtocolViolation, Quota, Refusal, SubTaskEnd, Wanted};
use crate::dispatch::{Event, Range};
use crate::error::TaskError;
use crate::ids::{Place, TaskId, WorkerId};
use crate::manager::Stored;

/// While a worker has this many bytes of answers that it has not read, calls of its tasks are refused.
const MAX_UNSENT: usize = 128 << 20;
/// A worker that asks this often meanwhile, and reads nothing, breaks the protocol.
const MAX_ASKED_BEHIND: u32 = 10_000;

/// A sub-task, as a task asks for it.
struct SubTaskRequest<'a> {
    /// The index among the sub-tasks of its parent.
    index: u32,
    name: &'a str,
    /// Fingerprints of the parameters and the result.
    takes: u64,
    returns: u64,
    arguments: Arguments,
}

impl State {
    /// Carries out what a worker asks for on behalf of a task.
    pub(super) fn request(
        &mut self,
        worker: WorkerId,
        message::Request { task, ask }: message::Request<'_>,
    ) -> Result<(), BadMessage> {
        let range = self.asking(worker, task)?;
        if self.is_behind(worker)
            && let Some(link) = self.links.get_mut(worker)
        {
            link.asked_behind += 1;
        }
        match ask {
            Ask::Emit { fingerprint, value } => {
                self.dispatcher.acted(worker, task);
                self.emitted(task, fingerprint, value)
            }
            Ask::Submit { index, name, takes, returns, arguments, handles } => {
                self.dispatcher.acted(worker, task);
                let grants = self.sessions.resolve(worker, task, handle_indices(handles))?;
                let arguments = Arguments { bytes: arguments.to_vec(), grants };
                self.submit_sub_task(task, range, SubTaskRequest { index, name, takes, returns, arguments })
            }
            Ask::Outcome { index } => self.outcome_wanted(worker, task, &range, index),
            Ask::Call { handle, wait, call } => {
                self.object_request(worker, task, range, Request::new(handle, call, Some(wait)))
            }
            Ask::Post { handle, call } if call.len() <= MAX_POST_SIZE => {
                self.object_request(worker, task, range, Request::new(handle, call, None))
            }
            Ask::Post { .. } => Err(BadMessage(format!("task {task} posted more than it was allowed to"))),
            Ask::Flush => self.object_request(worker, task, range, Request::Flush),
        }
    }

    /// The range of the task that a worker speaks for. The worker must have the task, the task must have begun, and the
    /// worker must read its answers: then it never has many before it.
    pub(super) fn asking(&self, worker: WorkerId, task: TaskId) -> Result<Range, BadMessage> {
        let known = self.dispatcher.task_of(worker, task).zip(self.links.get(worker));
        match known.filter(|((claim, _), link)| link.control.has_started(*claim, task)) {
            None => Err(BadMessage(format!("a request of task {task}, which it does not run"))),
            Some((_, link)) if link.asked_behind > MAX_ASKED_BEHIND => {
                Err(BadMessage(format!("task {task} asks without reading what it was answered")))
            }
            Some(((_, range), _)) => Ok(range),
        }
    }

    /// Whether a worker has so many answers to read that its tasks get no more.
    pub(super) fn is_behind(&self, worker: WorkerId) -> bool {
        self.links.get(worker).is_some_and(|link| link.unsent_answers() > MAX_UNSENT)
    }

    /// A running task has logged something, whose place in its log was checked.
    pub(super) fn logged(&mut self, worker: WorkerId, part: &LogPart<'_>) -> Result<(), BadMessage> {
        let range = self.asking(worker, part.task)?;
        match self.jobs.get(range.job) {
            Some(Job::Single { future, .. }) => future.logged(part.offset, part.bytes),
            Some(Job::Map(map)) => {
                if let Some(logs) = &map.call.logs {
                    logs.push(range.index + (part.task.0 - range.first.0), part.offset, part.bytes);
                }
            }
            Some(Job::SubTask { .. }) | None => {}
        }
        Ok(())
    }

    fn emitted(&mut self, task: TaskId, fingerprint: u64, value: &[u8]) -> Result<(), BadMessage> {
        let exceeded = || BadMessage(format!("task {task} emitted what it was not allowed to"));
        let cell = self.emits.get(&task).filter(|_| value.len() <= MAX_EMITTED as usize);
        let waker = cell.ok_or_else(exceeded)?.push(fingerprint, value).map_err(|_| exceeded())?;
        self.effects.wake(waker);
        Ok(())
    }

    /// A task submits a sub-task. A refusal becomes the sub-task's outcome.
    fn submit_sub_task(
        &mut self,
        parent: TaskId,
        range: Range,
        request: SubTaskRequest<'_>,
    ) -> Result<(), BadMessage> {
        let violation = || BadMessage(format!("task {parent} submitted what it was not allowed to"));
        let guest = self.guests.get(&range.guest).cloned().ok_or_else(violation)?;
        let quota = quota(&guest.limits).ok_or_else(violation)?;
        let Arguments { bytes, grants } = &request.arguments;
        if bytes.len() > guest.limits.arguments as usize {
            return Err(violation());
        }
        let size = bytes.len() + size_of_val(grants.as_slice());
        let checked = self.subtasks.check(parent, range.policy.depth, request.index, size, quota);
        let checked = checked.map_err(|ProtocolViolation| violation())?;
        match checked.and_then(|()| request.function(&guest)) {
            Ok(function) => {
                let depth = range.policy.depth + 1;
                let mut options = guest.options;
                (options.priority, options.queue_timeout) = (range.policy.priority, None);
                let call = TaskCall { guest, function, options, logs: None };
                let SubTaskRequest { index, arguments, .. } = request;
                let place = self.place(parent, &range).of_sub_task(index);
                let job = Job::SubTask { arguments, parent, index, place, submitted: Instant::now() };
                // The dispatcher may send it at once, so it must be known before.
                let task = next_tasks(1);
                self.subtasks.started(parent, task, size);
                self.submit_job(task, &call, job, depth, None);
            }
            Err(refusal) => self.subtasks.refused(parent, SubTaskEnd::refused(&refusal)),
        }
        Ok(())
    }

    /// The place of a task of a range.
    fn place(&self, task: TaskId, range: &Range) -> Place {
        let index = range.index + (task.0 - range.first.0);
        self.jobs.get(range.job).map_or_else(Place::default, |job| job.place(range.job, index))
    }

    /// A task waits for the outcome of a sub-task, or gets it if it is there.
    fn outcome_wanted(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        range: &Range,
        index: u32,
    ) -> Result<(), BadMessage> {
        let violation = || BadMessage(format!("task {task} asked for an outcome out of turn"));
        self.guests.get(&range.guest).and_then(|guest| quota(&guest.limits)).ok_or_else(violation)?;
        if self.is_behind(worker) {
            self.send_outcome(worker, task, SubTaskEnd::failed("quota", behind()));
            return Ok(());
        }
        let end = match self.subtasks.take(task, index).map_err(|ProtocolViolation| violation())? {
            Wanted::Later(sub_task) => {
                // What the servers learn of the task goes when its session does.
                self.sessions.get_or_open(task, worker);
                self.handle(Event::Suspended { worker, task }, Instant::now());
                self.set_dependency(task, Some(sub_task));
                return Ok(());
            }
            Wanted::Now(end) => end,
            Wanted::Nothing => SubTaskEnd::failed(
                "no_sub_task",
                format!("there is no sub-task number {index}, or its outcome was taken"),
            ),
        };
        self.send_outcome(worker, task, end);
        Ok(())
    }

    /// A sub-task has ended: its parent is told now if it waits, and else when it asks.
    pub(super) fn sub_task_ended(&mut self, parent: TaskId, index: u32, completed: Completed) {
        let Some((worker, _)) = self.dispatcher.holder(parent) else { return };
        let held = self
            .dispatcher
            .task_of(worker, parent)
            .and_then(|(_, range)| quota(&self.guests.get(&range.guest)?.limits).map(|quota| quota.held));
        if let Some(end) = self.subtasks.ended(parent, index, completed.into(), held.unwrap_or(0)) {
            self.set_dependency(parent, None);
            self.effects.follow_up(Event::Resumed { worker, task: parent });
            self.send_outcome(worker, parent, end);
        }
    }

    /// Tells a task how a sub-task has ended. The handles that come with a value are the task's own from now on.
    fn send_outcome(&mut self, worker: WorkerId, task: TaskId, end: SubTaskEnd) {
        let (outcome, before) = match end {
            SubTaskEnd::Value(Stored { bytes, handles }) => {
                let (before, indices) = self.sessions.receive(worker, task, handles);
                let outcome = match indices {
                    Ok(handles) => SubTaskOutcome::Value(Item { bytes, handles }),
                    Err(error) => {
                        let (kind, message) = ("quota".to_owned(), error.to_string());
                        SubTaskOutcome::Failed(SubTaskFailure { kind, message, value: None })
                    }
                };
                (outcome, before)
            }
            SubTaskEnd::Failed(failure) => (SubTaskOutcome::Failed(failure), usize::MAX),
        };
        let mut bytes = Vec::new();
        encode(&outcome, &mut bytes);
        self.send_answer(worker, task, &bytes, before);
    }

    /// Sends a task what it waits for, with the handles that it was granted since it had `before` of them.
    pub(super) fn send_answer(&mut self, worker: WorkerId, task: TaskId, bytes: &[u8], before: usize) {
        let Some(link) = self.links.writer(worker) else { return };
        let grants = self.sessions.granted_since(task, before);
        grants.iter().for_each(|grant| link.share(grant));
        let answer =
            Answer { task, bytes, granted: grants.iter().map(super::handle_table::granted).collect() };
        link.answer(&answer);
        self.effects.answered = true;
    }

    /// Tells a task the total of values that it may have emitted by now.
    pub(super) fn grant_emits(&mut self, task: TaskId, total: u64) {
        let Some((worker, _)) = self.dispatcher.holder(task) else { return };
        let credit = Credit { task, flow: Flow::Emits, total };
        self.links.send(worker, to_worker::CREDIT, |out| encode(&credit, out));
    }
}

impl SubTaskRequest<'_> {
    /// The function that is meant, if the guest has it and it takes and returns what the task believes.
    fn function(&self, guest: &PoolGuest) -> Result<u32, Refusal> {
        let unknown = || Refusal::UnknownTask(self.name.chars().take(100).collect());
        let function = guest.guest.index_of(self.name).ok_or_else(unknown)?;
        let (takes, returns) = guest.guest.tasks()[function as usize].fingerprints();
        let wrong = |what| Refusal::WrongType { task: self.name.to_owned(), what };
        match (takes == self.takes, returns == self.returns) {
            (false, _) => Err(wrong("takes")),
            (_, false) => Err(wrong("returns")),
            _ => Ok(function),
        }
    }
}

/// Why a task of a worker that does not read its answers gets no more.
pub(super) fn behind() -> String {
    format!("the task's worker has {MAX_UNSENT} bytes of answers to read")
}

/// The sub-tasks that the tasks of a guest may submit; `None` allows none.
fn quota(limits: &Limits) -> Option<Quota> {
    let held = u64::from(limits.arguments) + u64::from(limits.result);
    limits.sub_tasks.map(|sub_tasks| Quota { sub_tasks, held })
}

impl From<Completed> for SubTaskEnd {
    fn from(completed: Completed) -> Self {
        let error = match completed.result {
            Ok(bytes) => return SubTaskEnd::Value(Stored { bytes, handles: completed.grants.into_vec() }),
            Err(error) => error,
        };
        let (kind, message) = (error.kind().to_owned(), error.to_string());
        let value = match error {
            TaskError::Guest(error) => error.value,
            _ => None,
        };
        SubTaskEnd::Failed(SubTaskFailure { kind, message, value })
    }
}
