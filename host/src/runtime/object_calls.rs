//! Calls of shared objects: carried out in a task's order, answered when the store says so.
//!
//! A task's requests are checked here again, whatever its worker has checked.

use std::time::{Duration, Instant};

use wpool_abi::object::{Call, MAX_HANDLES, ObjectError, Reply, Wait};
use wpool_wire::message::{BadMessage, Credit, Flow, encode, to_worker};

use super::effects::Delivery;
use super::objects::HostCalled;
use super::sessions::{CreditExceeded, Request};
use super::state::State;
use crate::dispatch::{Event, Range};
use crate::ids::{TaskId, WorkerId};
use crate::manager::{Answer, Called, Grant, Owner, Stored, Ticket};

/// The deadline of a call that waits. One that the clock cannot represent is none.
pub(crate) fn until(wait: Wait, default: Option<Duration>, now: Instant) -> Wait<Instant> {
    let timeout = match wait {
        Wait::NonBlocking => return Wait::NonBlocking,
        Wait::Timeout(nanos) => Some(Duration::from_nanos(nanos)),
        Wait::Forever => default,
    };
    timeout.and_then(|timeout| now.checked_add(timeout)).map_or(Wait::Forever, Wait::Timeout)
}

fn deadline(wait: Wait<Instant>) -> Option<Instant> {
    match wait {
        Wait::Timeout(at) => Some(at),
        Wait::NonBlocking | Wait::Forever => None,
    }
}

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
            self.handle(Event::Acted { worker, task }, Instant::now());
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
            if session.waits.is_some() {
                return;
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

    /// Makes a task's call, if its handle allows it. A post waits as long as it takes.
    fn call_for(
        &mut self,
        task: TaskId,
        handle: u32,
        call: Result<Call, ObjectError>,
        wait: Option<Wait>,
    ) -> Called {
        let Some(session) = self.sessions.get_mut(task) else {
            return Called::Answered(Err(ObjectError::BadHandle));
        };
        match call.and_then(|call| session.permitted(handle, call)) {
            Ok((grant, call)) => {
                session.last_call = Some((grant.id(), call.verb()));
                let wait = until(wait.unwrap_or(Wait::Forever), grant.timeout(), Instant::now());
                self.wake_driver_by(deadline(wait));
                self.objects.store.call(Owner::Task(task), grant.id(), call, wait)
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
                if let Some((object, verb)) = session.last_call {
                    self.objects.store.give_back(Owner::Task(task), object, verb, reply);
                }
                Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles")))
            }
            answer => answer.map(|reply| session.receive(reply)),
        };
        if suspended {
            self.handle(Event::Resumed { worker, task }, Instant::now());
        }
        let mut bytes = Vec::new();
        encode(&answer, &mut bytes);
        self.send_answer(worker, task, &bytes, before);
    }

    /// Passes on the answers of calls that have waited, and removes objects that no grant is left on. Either may bring
    /// about more of both.
    pub(super) fn deliver_answers_and_remove_released(&mut self) {
        loop {
            let answered = self.objects.store.take_answered();
            let released = self.objects.released.take();
            for (barrier, round) in self.objects.store.take_pending_actions() {
                let action = self.objects.action(barrier);
                let run = action.map(|action| Delivery::RunAction { action, barrier, round });
                self.effects.deliveries.extend(run);
            }
            if answered.is_empty() && released.is_empty() {
                return;
            }
            for (ticket, owner, answer) in answered {
                match owner {
                    Owner::Host(_) => {
                        let call = self.objects.take_call(ticket);
                        self.effects.deliveries.extend(call.map(|call| Delivery::Answer(call, answer)));
                    }
                    Owner::Task(task) => self.task_answered(task, ticket, answer),
                }
            }
            for id in released {
                self.links.unshare(id.memory());
                let action = self.objects.remove(id);
                self.effects.deliveries.extend(action.map(Delivery::DropAction));
            }
        }
    }

    fn task_answered(&mut self, task: TaskId, ticket: Ticket, answer: Answer) {
        let Some(session) = self.sessions.get_mut(task) else { return };
        let Some((_, wanted)) = session.waits.take_if(|(waits, _)| *waits == ticket) else { return };
        self.answered(task, wanted, answer);
        self.work_off(task);
    }

    /// A call by the host. With `timed` the driver ends it at its deadline; else the caller keeps its own time.
    pub(crate) fn host_call(
        &mut self,
        owner: Owner,
        grant: &Grant,
        call: Call<Stored>,
        wait: Wait<Instant>,
        timed: bool,
    ) -> HostCalled {
        // When everything has ended no other call can end a wait. A call that need not wait still succeeds.
        let finished = self.is_finished() && wait != Wait::NonBlocking;
        let wait = if finished { Wait::NonBlocking } else { wait };
        if !grant.rights.contain(call.verb().needs()) {
            return HostCalled::Answered(Err(ObjectError::NoRight));
        }
        let called = self.objects.call(owner, grant.id(), call, wait);
        if let (HostCalled::Waits(..), true) = (&called, timed) {
            self.wake_driver_by(deadline(wait));
        }
        match called {
            HostCalled::Answered(Err(error)) if finished && would_wait(&error) => {
                HostCalled::Answered(Err(ObjectError::PoolClosed))
            }
            called => called,
        }
    }
}

/// Whether a call that may wait would not have got this error.
fn would_wait(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Full | ObjectError::Empty | ObjectError::Held | ObjectError::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_deadline_and_the_objects_own_is_the_default() {
        let (now, default) = (Instant::now(), Some(Duration::from_secs(5)));
        assert_eq!(until(Wait::NonBlocking, default, now), Wait::NonBlocking);
        assert_eq!(until(Wait::Timeout(7), default, now), Wait::Timeout(now + Duration::from_nanos(7)));
        assert_eq!(until(Wait::Forever, default, now), Wait::Timeout(now + Duration::from_secs(5)));
        assert_eq!(until(Wait::Forever, None, now), Wait::Forever);
    }
}
