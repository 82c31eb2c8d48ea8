//! What workers ask for on behalf of their tasks, and what they are answered.
//!
//! Nothing of it is believed: the worker must have the task, the task must have begun, and what it asks for must be
//! within what it was granted. Else it is the worker that is ended, for only the worker can have said it.

use std::time::Instant;

use wpool_abi::object::Item;
use wpool_abi::{SubTaskFailure, SubTaskOutcome};

use super::connection::Poller;
use super::core::{Core, Shared};
use super::family::{Ended, OutOfTurn, Quota, Refusal, Wanted, failure};
use super::future::Completed;
use super::hosted::{Call, Hosted};
use super::jobs::{Arguments, Delivery, Job};
use super::objects::Asked;
use super::table::granted;
use crate::dispatch::{Event, Range};
use crate::error::TaskError;
use crate::ids::{TaskId, WorkerId};
use crate::manager::Owner;
use wpool_wire::limits::{Limits, MAX_EMITTED};
use wpool_wire::message::{
    Answer, Ask, BadMessage, Credit, Flow, POST_SIZE, Request, encode, handle_numbers, to_worker,
};

/// Handles all requests of a frame under one lock.
pub(super) fn requests(shared: &Shared, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
    shared.with(|core| {
        let mut rest = payload;
        while !rest.is_empty() {
            let (request, after) = postcard::take_from_bytes::<Request<'_>>(rest)
                .map_err(|error| BadMessage(error.to_string()))?;
            rest = after;
            core.request(worker, request, &shared.poller)?;
        }
        Ok(())
    })
}

impl Shared {
    /// Tells a task how many values it may have emitted by now.
    pub(super) fn grant(&self, task: TaskId, emits: u64) {
        self.with(|core| {
            let Some((worker, _)) = core.dispatcher.holder(task) else { return };
            let credit = Credit { task, of: Flow::Emits, total: emits };
            core.tell_worker(worker, &self.poller, to_worker::CREDIT, |out| encode(&credit, out));
        });
    }
}

impl Core {
    fn request(
        &mut self,
        worker: WorkerId,
        Request { task, ask }: Request<'_>,
        poller: &Poller,
    ) -> Result<(), BadMessage> {
        let range = self.asking(worker, task)?;
        match ask {
            Ask::Emit { of, value } => {
                self.handle(Event::Acted { worker, task }, Instant::now(), poller);
                self.emitted(task, of, value)
            }
            Ask::Submit { number, name, takes, returns, arguments, handles } => {
                self.handle(Event::Acted { worker, task }, Instant::now(), poller);
                let grants = self.objects.handed_out(worker, task, handle_numbers(handles))?;
                let arguments = Arguments { bytes: arguments.to_vec(), grants };
                let wish = Wish { number, name, takes, returns, arguments };
                self.sub_task(task, range, wish, poller)
            }
            Ask::Outcome { number } => {
                let ended = match self.families.take(task, number) {
                    Wanted::Later(sub_task) => {
                        self.handle(Event::Suspended { worker, task }, Instant::now(), poller);
                        self.objects.store.depends(Owner::Task(task), Owner::Task(sub_task));
                        return Ok(());
                    }
                    Wanted::Now(ended) => ended,
                    Wanted::Nothing => Ended::failed(
                        "no_sub_task",
                        format!("there is no sub-task number {number}, or its outcome was taken"),
                    ),
                };
                self.tell_outcome(worker, task, ended, poller);
                Ok(())
            }
            Ask::Call { handle, patience, call } => {
                let asked = Asked::new(handle, call, Some(patience));
                self.ask_object(worker, task, range, asked, poller)
            }
            Ask::Post { handle, call } if call.len() <= POST_SIZE => {
                self.ask_object(worker, task, range, Asked::new(handle, call, None), poller)
            }
            Ask::Post { .. } => Err(BadMessage(format!("task {task} posted more than it was allowed to"))),
            Ask::Flush => self.ask_object(worker, task, range, Asked::Flush, poller),
        }
    }

    /// The task that a worker speaks for, which it must have and have begun.
    fn asking(&self, worker: WorkerId, task: TaskId) -> Result<Range, BadMessage> {
        let known = self.dispatcher.task_of(worker, task).filter(|&(claim, _)| {
            let connection = self.workers.get(&worker);
            connection.is_some_and(|connection| connection.control.has_begun(claim, task))
        });
        let (_, range) =
            known.ok_or_else(|| BadMessage(format!("a request of task {task}, which it does not run")))?;
        Ok(range)
    }

    fn emitted(&mut self, task: TaskId, of: u64, value: &[u8]) -> Result<(), BadMessage> {
        let flood = || BadMessage(format!("task {task} emitted what it was not allowed to"));
        let state = self.emits.get(&task).filter(|_| value.len() <= MAX_EMITTED as usize);
        let waker = state.ok_or_else(flood)?.push(of, value).map_err(|_| flood())?;
        self.outbox.extend(waker.map(Delivery::Wake));
        Ok(())
    }

    /// A task submits another one. What is wrong with that is the other one's outcome.
    fn sub_task(
        &mut self,
        parent: TaskId,
        range: Range,
        wish: Wish<'_>,
        poller: &Poller,
    ) -> Result<(), BadMessage> {
        let out_of_turn = || BadMessage(format!("task {parent} submitted what it was not allowed to"));
        let hosted = self.guests.get(&range.guest).cloned().ok_or_else(out_of_turn)?;
        let quota = quota(&hosted.limits).ok_or_else(out_of_turn)?;
        if wish.arguments.bytes.len() > hosted.limits.arguments as usize {
            return Err(out_of_turn());
        }
        let size = wish.arguments.bytes.len() + size_of_val(wish.arguments.grants.as_slice());
        let checked = self.families.check(parent, range.terms.depth, wish.number, size, quota);
        let checked = checked.map_err(|OutOfTurn| out_of_turn())?;
        match checked.and_then(|()| wish.function(&hosted)) {
            Ok(function) => {
                let depth = range.terms.depth + 1;
                let mut options = hosted.options;
                (options.priority, options.queue_timeout) = (range.terms.priority, None);
                let call = Call { hosted, function, options };
                let job =
                    Job::Sub { args: wish.arguments, parent, number: wish.number, submitted: Instant::now() };
                // The dispatcher may send it at once, so it must be known before.
                self.families.started(parent, self.next_task(), size);
                self.submit_job(&call, job, depth, None, poller);
            }
            Err(refusal) => {
                self.families.refused(parent, Ended::refused(&refusal));
            }
        }
        Ok(())
    }

    /// A sub-task has ended: its parent hears of it, now or when it asks.
    pub(super) fn sub_task_ended(
        &mut self,
        parent: TaskId,
        number: u32,
        completed: Completed,
        poller: &Poller,
    ) {
        let Some((worker, _)) = self.dispatcher.holder(parent) else { return };
        let held = self
            .dispatcher
            .task_of(worker, parent)
            .and_then(|(_, range)| quota(&self.guests.get(&range.guest)?.limits).map(|quota| quota.held));
        let awaited = self.families.ended(parent, number, completed.into(), held.unwrap_or(0));
        if let Some(ended) = awaited {
            self.objects.store.depends_no_more(Owner::Task(parent));
            self.handle(Event::Resumed { worker, task: parent }, Instant::now(), poller);
            self.tell_outcome(worker, parent, ended, poller);
        }
    }

    /// Tells a task how a sub-task has ended; the handles that came with it are its own now.
    fn tell_outcome(&mut self, worker: WorkerId, task: TaskId, ended: Ended, poller: &Poller) {
        let (outcome, had) = match ended {
            Ended::Value { bytes, grants } => {
                let (had, numbers) = self.objects.take_up(worker, task, grants);
                let outcome = match numbers {
                    Ok(handles) => SubTaskOutcome::Value(Item { bytes, handles }),
                    Err(error) => SubTaskOutcome::Failed(failure("quota", error.to_string())),
                };
                (outcome, had)
            }
            Ended::Failed(failure) => (SubTaskOutcome::Failed(failure), usize::MAX),
        };
        let mut bytes = Vec::new();
        encode(&outcome, &mut bytes);
        self.answer(worker, task, &bytes, had, poller);
    }

    /// Gives a task what it has asked for, and the handles that it was granted since it had so many.
    pub(super) fn answer(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        bytes: &[u8],
        had: usize,
        poller: &Poller,
    ) {
        let Some(connection) = self.workers.get_mut(&worker) else { return };
        let grants = self.objects.granted_since(task, had);
        grants.iter().for_each(|grant| connection.share(grant));
        let answer = Answer { task, bytes, granted: grants.iter().map(granted).collect() };
        connection.out.frame(to_worker::ANSWER, |out| encode(&answer, out));
        connection.flush(worker, poller);
        self.answered = true;
    }

    pub(super) fn tell_worker(
        &mut self,
        worker: WorkerId,
        poller: &Poller,
        kind: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if let Some(connection) = self.workers.get_mut(&worker) {
            connection.out.frame(kind, write);
            connection.flush(worker, poller);
        }
    }
}

/// A sub-task, as a task asks for it.
struct Wish<'a> {
    number: u32,
    name: &'a str,
    takes: u64,
    returns: u64,
    arguments: Arguments,
}

impl Wish<'_> {
    /// The function that is meant, if the guest has it and it takes and returns what the task believes.
    fn function(&self, hosted: &Hosted) -> Result<u32, Refusal> {
        let unknown = || Refusal::UnknownTask(self.name.chars().take(100).collect());
        let number = hosted.guest.number_of(self.name).map_err(|_| unknown())?;
        let (takes, returns) = hosted.guest.tasks()[number].fingerprints();
        let wrong = |what| Refusal::WrongType { task: self.name.to_owned(), what };
        match (takes == self.takes, returns == self.returns) {
            (false, _) => Err(wrong("takes")),
            (_, false) => Err(wrong("returns")),
            _ => Ok(u32::try_from(number).expect("a guest has few tasks")),
        }
    }
}

/// What the tasks of a guest may submit; none if they may not.
fn quota(limits: &Limits) -> Option<Quota> {
    let held = u64::from(limits.arguments) + u64::from(limits.result);
    limits.sub_tasks.map(|sub_tasks| Quota { sub_tasks, held })
}

impl From<Completed> for Ended {
    fn from(completed: Completed) -> Self {
        let error = match completed.result {
            Ok(bytes) => {
                let grants = completed
                    .carried
                    .map(|mut carried| std::mem::take(&mut carried.grants))
                    .unwrap_or_default();
                return Ended::Value { bytes, grants };
            }
            Err(error) => error,
        };
        let (kind, message) = (error.kind().to_owned(), error.to_string());
        let value = match error {
            TaskError::Guest(error) => error.value,
            _ => None,
        };
        Ended::Failed(SubTaskFailure { kind, message, value })
    }
}
