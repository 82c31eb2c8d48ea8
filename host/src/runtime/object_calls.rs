//! Calls of shared objects: carried out in a task's order, answered when the store says so.
//!
//! A task's requests are checked here again, whatever its worker has checked.

use std::time::Instant;

use wpool_abi::object::{MAX_HANDLES, ObjectError, Reply, Wait};
use wpool_wire::message::{BadMessage, Credit, Flow, encode, to_worker};

use super::requests::behind;
use super::sessions::{CreditExceeded, Request};
use super::state::State;
use crate::dispatch::{Event, Range};
use crate::ids::{TaskId, WorkerId};
use crate::manager::{Answer, Called, Owner, Ticket};
use crate::server::{Mail, ObjectServer, SharedObjects, until};

impl State {
    /// A task asks something of a shared object.
    pub(super) fn object_request(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        range: Range,
        mut request: Request,
    ) -> Result<(), BadMessage> {
        let limit = self.guests.get(&range.guest).and_then(|guest| guest.limits.calls);
        if self.is_behind(worker)
            && let Request::Call { call, .. } = &mut request
        {
            *call = Err(ObjectError::Quota(behind()));
        }
        let session = self.sessions.get_or_open(task, worker);
        if let (Request::Call { call, .. }, Some(limit)) = (&mut request, limit)
            && !session.rate.take(limit, Instant::now())
        {
            *call = Err(ObjectError::Quota(format!("a task may make {limit} calls a second")));
        }
        let added = session.add(request);
        added.map_err(|CreditExceeded| {
            BadMessage(format!("task {task} asked for more than it was allowed to"))
        })?;
        if !std::mem::replace(&mut session.acted, true) {
            self.dispatcher.acted(worker, task);
        }
        self.work_off(task);
        // A task without its answer yet is suspended, and keeps no other from running.
        if let Some(session) = self.sessions.get_mut(task).filter(|session| session.awaits_answer) {
            session.suspended = true;
            self.handle(Event::Suspended { worker, task }, Instant::now());
        }
        Ok(())
    }

    /// Carries out a task's requests in their order, until one has to wait.
    fn work_off(&mut self, task: TaskId) {
        while let Some(session) = self.sessions.get_mut(task) {
            if session.waits.is_some() || session.is_postponed {
                return;
            }
            let Some(request) = session.backlog.front() else { return };
            // Most calls are about one value, and cost no look at the clock.
            let cost = session.cost(request);
            if cost.is_some_and(|cost| !self.heavy.pay(cost, Instant::now())) {
                session.is_postponed = true;
                self.heavy.postpone(task);
                return self.wake_driver_by(self.heavy.next_due());
            }
            let Some(request) = session.backlog.pop_front() else { return };
            let wanted = request.wants_answer();
            // The error of an earlier post is told before the call is carried out: what the call takes would be lost.
            if let Some(earlier) = session.earlier.take_if(|_| wanted) {
                self.answered(task, wanted, Err(ObjectError::Earlier(Box::new(earlier))));
                continue;
            }
            let Request::Call { handle, call, wait } = request else {
                self.answered(task, wanted, Ok(Reply::Done));
                continue;
            };
            match self.call_for(task, handle, call, wait) {
                Called::Answered(answer) => self.answered(task, wanted, answer),
                Called::Waits(ticket) => {
                    if let Some(session) = self.sessions.get_mut(task) {
                        session.waits = Some((ticket, wanted));
                    }
                }
            }
        }
    }

    /// Makes the calls that waited until this process has time for them, in their order.
    pub(super) fn resume_postponed(&mut self, now: Instant) {
        while let Some(task) = self.heavy.next_postponed(now) {
            if let Some(session) = self.sessions.get_mut(task) {
                session.is_postponed = false;
                self.work_off(task);
            }
        }
    }

    /// Makes a task's call, if its handle allows it. A post waits as long as it takes.
    fn call_for(
        &mut self,
        task: TaskId,
        handle: u32,
        call: Result<Box<[u8]>, ObjectError>,
        wait: Option<Wait>,
    ) -> Called {
        let Some(session) = self.sessions.get_mut(task) else {
            return Called::Answered(Err(ObjectError::BadHandle));
        };
        match call.and_then(|call| session.permitted(handle, Request::decode(&call)?)) {
            Ok((grant, call)) => {
                let wait = until(wait.unwrap_or(Wait::Forever), grant.timeout(), Instant::now());
                let Some(server) = ObjectServer::of(&grant) else {
                    return Called::Answered(Err(ObjectError::BadHandle));
                };
                session.last_call = Some((handle, call.verb()));
                let (called, outbox) =
                    server.task_call((task, &self.servers.mailbox), grant.id(), call, wait);
                self.effects.send(outbox);
                called
            }
            Err(error) => Called::Answered(Err(error)),
        }
    }

    /// A task's call has its answer, which goes to the task if it is `wanted`.
    fn answered(&mut self, task: TaskId, wanted: bool, answer: Answer) {
        let Some(session) = self.sessions.get_mut(task) else { return };
        let worker = session.worker;
        if !wanted {
            if let Some(total) = session.post_done(answer.map(drop)) {
                let credit = Credit { task, flow: Flow::Posts, total };
                self.links.send(worker, to_worker::CREDIT, |out| encode(&credit, out));
            }
            return;
        }
        session.awaits_answer = false;
        let suspended = std::mem::take(&mut session.suspended);
        let before = session.table.len();
        let answer = match answer {
            Ok(reply) if !session.table.has_room(&reply) => {
                // The object gets back what the call has taken.
                if let Some((handle, verb)) = session.last_call
                    && let Ok(grant) = session.table.get(handle)
                    && let Some(server) = ObjectServer::of(grant)
                {
                    let ((), outbox) = server.give_back(Owner::Task(task), grant.id(), verb, Ok(reply));
                    self.effects.send(outbox);
                }
                Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles")))
            }
            Ok(reply) => {
                let before = session.table.len();
                let reply = session.receive(reply);
                self.servers.attach(session.table.since(before), &mut self.effects);
                Ok(reply)
            }
            Err(error) => Err(error),
        };
        if suspended {
            self.handle(Event::Resumed { worker, task }, Instant::now());
        }
        let mut bytes = Vec::new();
        encode(&answer, &mut bytes);
        self.send_answer(worker, task, &bytes, before);
    }

    /// Reads what the servers have to tell, and has them remove objects that no grant is left on. Either may bring about
    /// more of both.
    pub(super) fn read_mail(&mut self) {
        loop {
            let mail = self.servers.mailbox.take();
            let removed = self.servers.remove_released();
            if mail.is_empty() && removed.is_empty() {
                return;
            }
            removed.into_iter().for_each(|outbox| self.effects.send(outbox));
            for mail in mail {
                match mail {
                    Mail::Answered(task, ticket, answer) => self.task_answered(task, ticket, answer),
                    Mail::Removed(memory) => self.links.unshare(memory),
                }
            }
        }
    }

    /// A task with handles has ended.
    pub(super) fn end_at_servers(&mut self, task: TaskId, success: bool) {
        self.at_all_servers(|objects| objects.end_task(task, success));
    }

    /// A task waits for a sub-task, or for none any more. Each server knows it, as any of them may have the lock that
    /// closes a cycle.
    pub(super) fn set_dependency(&mut self, task: TaskId, sub_task: Option<TaskId>) {
        self.at_all_servers(|objects| match sub_task {
            Some(sub_task) => objects.store.set_dependency(Owner::Task(task), Owner::Task(sub_task)),
            None => objects.store.clear_dependency(Owner::Task(task)),
        });
    }

    fn at_all_servers(&mut self, act: impl Fn(&mut SharedObjects)) {
        for server in self.servers.all() {
            let ((), outbox) = server.turn(&act);
            self.effects.send(outbox);
        }
    }

    fn task_answered(&mut self, task: TaskId, ticket: Ticket, answer: Answer) {
        let Some(session) = self.sessions.get_mut(task) else { return };
        let Some((_, wanted)) = session.waits.take_if(|(waits, _)| *waits == ticket) else { return };
        self.answered(task, wanted, answer);
        self.work_off(task);
    }
}
