//! Frames of workers, turned into events and requests: what [`WorkerNews`] tells a pool.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_wire::codec::Frame;
use wpool_wire::control::CLAIMS;
use wpool_wire::message::{
    BadMessage, Done, Fatal, LogPart, Outcome, Ready, Request, decode, from_worker, take_record,
};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

use super::Runtime;
use super::completed::{Completed, Figures, ResultGrants, TaskLog};
use super::link::{Conversation, EXIT_TIMEOUT};
use super::reactor::WorkerNews;
use super::state::{EndedTask, Lifecycle, State};
use crate::dispatch::Event;
use crate::error::TaskError;
use crate::ids::{TaskId, WorkerId};
use crate::outcome::Ended;
use wpool_wire::limits::Limits;

/// The records of a frame that are handled in one turn. A worker has no more tasks at a time.
const MAX_RECORDS: usize = CLAIMS as usize;

/// The characters of a worker's text that are kept.
const MAX_TEXT: usize = 1000;

/// A text of a worker, cut to a length that can be kept for every task.
fn brief(text: &str) -> String {
    text.chars().take(MAX_TEXT).flat_map(char::escape_debug).collect()
}

/// Tells a pool the news of its workers.
pub(super) struct News<'a>(pub(super) &'a Runtime);

impl WorkerNews for News<'_> {
    type Conversation = Conversation;

    fn frame(
        &mut self,
        worker: WorkerId,
        conversation: &mut Conversation,
        frame: &Frame<'_>,
    ) -> Result<(), BadMessage> {
        let payload = frame.payload;
        match (frame.kind, conversation.is_ready) {
            (from_worker::READY, false) => {
                conversation.is_ready = true;
                self.ready(worker, payload)
            }
            (from_worker::DONE | from_worker::REQUEST | from_worker::LOG, true) if payload.is_empty() => {
                Err(BadMessage(format!("an empty frame of kind {}", frame.kind)))
            }
            (from_worker::DONE, true) => self.done(worker, payload, conversation),
            (from_worker::SUSPENDED, true) => self.suspended(worker, payload),
            (from_worker::RESUMED, true) => self.tell(payload, |task| Event::Resumed { worker, task }),
            (from_worker::REQUEST, true) => self.requests(worker, payload),
            (from_worker::LOG, true) => self.logs(worker, payload, conversation),
            (from_worker::FATAL, _) if !conversation.is_fatal => {
                conversation.is_fatal = true;
                self.fatal(worker, payload)
            }
            (kind, _) => Err(BadMessage(format!("a frame of kind {kind} out of turn"))),
        }
    }

    fn violated(&mut self, worker: WorkerId, what: String) {
        self.0.with(|state| state.violated(worker, what));
    }

    fn writable(&mut self, worker: WorkerId) {
        self.0.with(|state| state.links.writable(worker, self.0.reactor.interest()));
    }

    fn closed(&mut self, worker: WorkerId) {
        self.0.with(|state| {
            if let Some(link) = state.links.get_mut(worker) {
                link.expect_exit(Instant::now() + EXIT_TIMEOUT);
                state.effects.wake_driver = true;
            }
        });
    }

    fn exited(&mut self, worker: WorkerId) {
        self.0.with(|state| exited(state, worker));
    }
}

impl News<'_> {
    fn tell<T: DeserializeOwned>(
        &self,
        payload: &[u8],
        event: impl FnOnce(T) -> Event,
    ) -> Result<(), BadMessage> {
        self.0.tell(event(decode(payload)?));
        Ok(())
    }

    /// A task that runs waits.
    fn suspended(&self, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
        let task: TaskId = decode(payload)?;
        self.0.with(|state| {
            state.asking(worker, task)?;
            state.handle(Event::Suspended { worker, task }, Instant::now());
            Ok(())
        })
    }

    fn ready(&self, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
        let ready: Ready = decode(payload)?;
        self.0.with(|state| {
            if let Some(link) = state.links.get_mut(worker) {
                link.hello_answered();
            }
            if (ready.protocol, ready.build.as_str()) == (PROTOCOL_VERSION, BUILD) {
                tracing::debug!(%worker, sandbox = ?ready.sandbox, "a worker is ready");
                state.handle(Event::WorkerReady(worker), Instant::now());
            } else if let Some(link) = state.links.get_mut(worker) {
                link.set_exit_reason(format!(
                    "it is build {} with protocol {}, this is {BUILD} with {PROTOCOL_VERSION}",
                    brief(&ready.build),
                    ready.protocol
                ));
                link.kill();
            }
        });
        Ok(())
    }

    fn fatal(&self, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
        let Fatal { message } = decode(payload)?;
        let message = brief(&message);
        tracing::error!(%worker, message, "a worker gave up");
        self.0.with(|state| {
            if let Some(link) = state.links.get_mut(worker) {
                link.set_exit_reason(message);
                link.expect_exit(Instant::now() + EXIT_TIMEOUT);
                state.effects.wake_driver = true;
            }
        });
        Ok(())
    }

    /// Carries out the requests of a frame, many in one turn.
    fn requests(&self, worker: WorkerId, payload: &[u8]) -> Result<(), BadMessage> {
        let mut rest = payload;
        while !rest.is_empty() {
            self.0.with(|state| {
                for _ in 0..MAX_RECORDS {
                    if rest.is_empty() {
                        break;
                    }
                    let request: Request<'_> = take_record(&mut rest)?;
                    state.request(worker, request)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Handles all parts of logs in a frame in one turn. A worker cannot send more of a log than the log may have.
    fn logs(
        &self,
        worker: WorkerId,
        payload: &[u8],
        conversation: &mut Conversation,
    ) -> Result<(), BadMessage> {
        self.0.with(|state| {
            let mut rest = payload;
            while !rest.is_empty() {
                let part: LogPart<'_> = take_record(&mut rest)?;
                let sent = conversation.logged.entry(part.task).or_default();
                let follows = part.offset == *sent && !part.bytes.is_empty();
                *sent = sent.saturating_add(part.bytes.len() as u64);
                if !follows || *sent > u64::from(conversation.limits.log) {
                    return Err(BadMessage(format!("task {} logged what it was not allowed to", part.task)));
                }
                state.logged(worker, &part)?;
            }
            Ok(())
        })
    }

    /// Handles all records of a frame in one turn. They are read and copied before it, without the lock.
    fn done(
        &self,
        worker: WorkerId,
        payload: &[u8],
        conversation: &mut Conversation,
    ) -> Result<(), BadMessage> {
        let mut rest = payload;
        let (mut tasks, mut with_handles) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            if tasks.len() >= MAX_RECORDS {
                return Err(BadMessage("more tasks have ended than a worker can have".to_owned()));
            }
            let record: Done<'_> = take_record(&mut rest)?;
            if let Outcome::Value(_, handles @ [_, ..]) = record.outcome {
                with_handles.push((tasks.len(), handles));
            }
            if !conversation.logged.is_empty() {
                conversation.logged.remove(&record.id);
            }
            tasks.push(ended(record, &conversation.limits));
        }
        self.0.with(|state| {
            for (index, handles) in with_handles {
                tasks[index].completed.grants = state.result_grants(worker, tasks[index].task, handles)?;
            }
            state.done(worker, tasks);
            Ok(())
        })
    }
}

/// A record as the pool keeps it. The worker's log is cut to the limit, whatever the worker has cut.
fn ended(record: Done<'_>, limits: &Limits) -> EndedTask {
    let kept = record.log.len().min(limits.log as usize);
    let log = TaskLog {
        bytes: record.log[..kept].to_vec(),
        dropped: record.log_dropped.saturating_add((record.log.len() - kept) as u64),
    };
    let run = Duration::from_nanos(record.run_ns);
    let figures = Figures { run, peak_memory: record.peak_memory, fuel: record.fuel, ..Figures::default() };
    // A placeholder: the result is made with the policy of the task, which the dispatcher has.
    let result = Err(TaskError::PoolClosed);
    let completed = Completed { result, figures, log, grants: ResultGrants::default() };
    EndedTask { task: record.id, run, ended: Ended::new(record.outcome, limits), completed }
}

/// A worker's process has ended, and everything that it sent was handled.
fn exited(state: &mut State, worker: WorkerId) {
    let Some(exit) = state.links.get_mut(worker).and_then(|link| link.exit()) else { return };
    let Some(link) = state.links.remove(worker) else { return };
    let message = link.exit_reason().map(|reason| format!("{exit}: {reason}"));
    tracing::debug!(%worker, %exit, ?message, "a worker ended");
    let held = state.dispatcher.tasks_of(worker);
    let begun =
        held.filter(|&(task, claim)| link.control.has_started(claim, task)).map(|(task, _)| task).collect();
    let (running, _) = link.control.running();
    if !link.was_told_to_stop() && state.lifecycle == Lifecycle::Open {
        state.stats.workers_lost += 1;
    }
    state.handle(Event::WorkerExited { worker, exit, begun, running, message }, Instant::now());
}
