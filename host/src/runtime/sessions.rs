//! The session of one task with shared objects: its handles, and its calls on their way.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use wpool_abi::object::{Call, Item, MAX_HANDLES, ObjectError, Reply, Verb, Wait};
use wpool_wire::message::{BadMessage, POSTS, decode};

use super::handle_table::HandleTable;
use super::token_bucket::TokenBucket;
use crate::ids::{TaskId, WorkerId};
use crate::manager::{Grant, Reach, Stored, Ticket};
use crate::server::ObjectServer;

/// A task's request to the shared objects.
pub(super) enum Request {
    /// A call as the guest has written it. Without `wait` it is a post, which has no answer. It is decoded when its turn
    /// comes: decoded values can take many times the memory.
    Call { handle: u32, call: Result<Box<[u8]>, ObjectError>, wait: Option<Wait> },
    /// Asks for an answer when all posts so far are done.
    Flush,
}

impl Request {
    /// A call as a guest has written it.
    pub(super) fn new(handle: u32, call: &[u8], wait: Option<Wait>) -> Self {
        Request::Call { handle, call: Ok(call.into()), wait }
    }

    /// Reads a call.
    pub(super) fn decode(call: &[u8]) -> Result<Call, ObjectError> {
        decode::<Call>(call).map_err(|error| ObjectError::BadValue(error.to_string()))
    }

    /// Whether the task waits for the answer.
    pub(super) fn wants_answer(&self) -> bool {
        !matches!(self, Request::Call { wait: None, .. })
    }
}

/// The session of one task: its handles, and its requests.
pub(super) struct Session {
    pub(super) worker: WorkerId,
    pub(super) table: HandleTable,
    /// The call that waits in the store, and whether the task wants its answer.
    pub(super) waits: Option<(Ticket, bool)>,
    /// The handle and the verb of the last call.
    pub(super) last_call: Option<(u32, Verb)>,
    /// Requests that were not carried out yet, in order.
    pub(super) backlog: VecDeque<Request>,
    /// The next request waits until there is time for it.
    pub(super) is_postponed: bool,
    /// The task waits for an answer.
    pub(super) awaits_answer: bool,
    /// The dispatcher was told that the task is suspended for that.
    pub(super) suspended: bool,
    /// The first error of a post that the task was not told yet.
    pub(super) earlier: Option<ObjectError>,
    /// Posts that are not done.
    open: u64,
    /// The total of posts so far.
    posted: u64,
    /// The total of posts that the task may have made by now.
    granted: u64,
    /// The dispatcher was told that the task has acted.
    pub(super) acted: bool,
    pub(super) rate: TokenBucket,
}

impl Session {
    pub(super) fn new(worker: WorkerId, grants: Vec<Grant>) -> Self {
        Self {
            worker,
            table: HandleTable::new(grants),
            waits: None,
            last_call: None,
            backlog: VecDeque::new(),
            is_postponed: false,
            awaits_answer: false,
            suspended: false,
            earlier: None,
            open: 0,
            posted: 0,
            granted: POSTS,
            acted: false,
            rate: TokenBucket::default(),
        }
    }

    /// Takes a request in. An error is one that an honest worker does not make: a task that waits for an answer asks
    /// for nothing else meanwhile, and posts only what it was granted.
    pub(super) fn add(&mut self, request: Request) -> Result<(), CreditExceeded> {
        if self.awaits_answer || (!request.wants_answer() && self.open >= POSTS) {
            return Err(CreditExceeded);
        }
        if request.wants_answer() {
            self.awaits_answer = true;
        } else {
            self.open += 1;
        }
        self.backlog.push_back(request);
        Ok(())
    }

    /// A post is done. Returns the total that the task may have made by now, if it is to be told.
    pub(super) fn post_done(&mut self, result: Result<(), ObjectError>) -> Option<u64> {
        self.posted += 1;
        self.open -= 1;
        if let Err(error) = result {
            self.earlier.get_or_insert(error);
        }
        // Half of them at a time, so that not every post costs a message.
        if self.granted - self.posted > POSTS / 2 {
            return None;
        }
        self.granted = self.posted + POSTS;
        Some(self.granted)
    }

    /// The grant behind a handle if it allows the call, and the call with the grants that travel with it.
    pub(super) fn permitted(&self, handle: u32, call: Call) -> Result<(Grant, Call<Stored>), ObjectError> {
        let grant = self.table.get(handle)?;
        if !call.verb().suits(grant.kind()) {
            return Err(ObjectError::WrongKind);
        }
        if !grant.rights.contain(call.verb().needs()) {
            return Err(ObjectError::NoRight);
        }
        let with_grants = |Item { bytes, handles }| Ok(Item { bytes, handles: self.table.all(handles)? });
        Ok((grant.clone(), call.try_map(with_grants)?))
    }

    /// About how long a request keeps this process busy, if it goes over a whole object.
    pub(super) fn cost(&self, request: &Request) -> Option<Duration> {
        let Request::Call { handle, call: Ok(call), .. } = request else { return None };
        let reach = reach(call)?;
        let grant = self.table.get(*handle).ok()?;
        Some(ObjectServer::of(grant)?.cost(grant.id(), reach))
    }

    /// A reply as the task sees it: the grants in it are the task's own from now on.
    pub(super) fn receive(&mut self, reply: Reply<Stored>) -> Reply {
        reply.map(|Item { bytes, handles }| {
            let handles = handles.into_iter().map(|grant| self.table.add(grant)).collect();
            Item { bytes, handles }
        })
    }
}

/// The values that a call goes over; `None` if it is about few.
fn reach(call: &[u8]) -> Option<Reach> {
    let (verb, _) = postcard::take_from_bytes::<Verb>(call).ok()?;
    const ALL: Reach = Reach::Copies { from: 0, to: i64::MAX };
    match verb {
        Verb::All | Verb::Keys | Verb::Clear | Verb::Reorder => Some(ALL),
        Verb::Find | Verb::Count => Some(Reach::Moves { from: 0 }),
        Verb::Slice | Verb::Splice | Verb::InsertAt | Verb::RemoveAt => match Request::decode(call).ok()? {
            Call::Slice { from, to } => Some(Reach::Copies { from, to }),
            Call::Splice { from, .. } | Call::InsertAt(from, _) | Call::RemoveAt(from) => {
                Some(Reach::Moves { from })
            }
            _ => None,
        },
        _ => None,
    }
}

/// A task has asked for more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CreditExceeded;

/// The sessions of all tasks that have handles or have asked for something.
#[derive(Default)]
pub(super) struct Sessions(HashMap<TaskId, Session>);

impl Sessions {
    /// A task is sent to a worker with these handles.
    pub(super) fn open(&mut self, task: TaskId, worker: WorkerId, grants: Vec<Grant>) {
        self.0.insert(task, Session::new(worker, grants));
    }

    pub(super) fn get_mut(&mut self, task: TaskId) -> Option<&mut Session> {
        self.0.get_mut(&task)
    }

    /// Whether a task waits for the answer to a call.
    pub(super) fn awaits_answer(&self, task: TaskId) -> bool {
        self.0.get(&task).is_some_and(|session| session.awaits_answer)
    }

    /// The session of a task. A task that was sent without handles gets an empty one: every handle in its calls is
    /// refused.
    pub(super) fn get_or_open(&mut self, task: TaskId, worker: WorkerId) -> &mut Session {
        self.0.entry(task).or_insert_with(|| Session::new(worker, Vec::new()))
    }

    /// A task has ended. Returns whether it had a session.
    pub(super) fn close(&mut self, task: TaskId) -> bool {
        !self.0.is_empty() && self.0.remove(&task).is_some()
    }

    /// The grants that a task got since it had `first` of them.
    pub(super) fn granted_since(&self, task: TaskId, first: usize) -> &[Grant] {
        self.0.get(&task).map_or(&[], |session| session.table.since(first))
    }

    /// The grants behind handles that a task passes on, in a result or to a sub-task.
    pub(super) fn resolve(
        &self,
        worker: WorkerId,
        task: TaskId,
        handles: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<Grant>, BadMessage> {
        if handles.len() == 0 {
            return Ok(Vec::new());
        }
        if handles.len() > MAX_HANDLES {
            return Err(BadMessage(format!("task {task} hands out {} handles", handles.len())));
        }
        let session = self.0.get(&task).filter(|session| session.worker == worker);
        let grants = session.map(|session| session.table.all(handles));
        grants
            .and_then(Result::ok)
            .ok_or_else(|| BadMessage(format!("task {task} hands out a handle that it does not have")))
    }

    /// Grants a task what came with the outcome of a sub-task. Returns how many handles it had before, and the indices
    /// of the new ones.
    pub(super) fn receive(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        grants: Vec<Grant>,
    ) -> (usize, Result<Vec<u32>, ObjectError>) {
        if grants.is_empty() {
            return (usize::MAX, Ok(Vec::new()));
        }
        let table = &mut self.get_or_open(task, worker).table;
        let before = table.len();
        if !table.have_room(&grants.iter().collect::<Vec<_>>()) {
            return (before, Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles"))));
        }
        (before, Ok(grants.into_iter().map(|grant| table.add(grant)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wpool_abi::object::{MAX_ITEMS, Rights};
    use wpool_wire::message::encode;

    use super::*;
    use crate::manager::ObjectInit;
    use crate::server::SharedObjects;

    const WORKER: WorkerId = WorkerId { slot: 0, generation: 1 };
    const TASK: TaskId = TaskId(1);

    fn grants(inits: impl IntoIterator<Item = ObjectInit>) -> Vec<Grant> {
        let mut objects = SharedObjects::new(0, Arc::default());
        inits.into_iter().map(|init| objects.make(init)).collect()
    }

    fn put(handles: Vec<u32>) -> Call {
        Call::Put(vec![Item { bytes: Vec::new(), handles }])
    }

    #[test]
    fn a_task_can_use_what_it_was_granted_and_nothing_else() {
        let queue = ObjectInit::Queue { capacity: None, requeue: false };
        let granted = grants([queue.clone(), queue]);
        let narrowed =
            granted.iter().zip([Rights::READ, Rights::WRITE]).map(|(grant, rights)| grant.narrowed(rights));
        let session = Session::new(WORKER, narrowed.collect());
        assert!(session.permitted(0, Call::Get(1)).is_ok() && session.permitted(1, put(vec![0])).is_ok());
        for (handle, call, error) in [
            (2, Call::Get(1), ObjectError::BadHandle),
            (u32::MAX, Call::Get(1), ObjectError::BadHandle),
            (0, put(vec![]), ObjectError::NoRight),
            (1, Call::Get(1), ObjectError::NoRight),
            (1, Call::Acquire, ObjectError::WrongKind),
            (1, put(vec![0, 2]), ObjectError::BadHandle),
        ] {
            assert_eq!(session.permitted(handle, call).err(), Some(error), "{handle}");
        }
    }

    #[test]
    fn a_reply_grants_the_handles_in_it() {
        let granted = grants([ObjectInit::Event, ObjectInit::Event]);
        let mut session = Session::new(WORKER, vec![granted[0].clone()]);
        let reply = Reply::Items(vec![Item { bytes: Vec::new(), handles: granted }], false);
        let Reply::Items(items, _) = session.receive(reply) else { panic!("two are few") };
        assert_eq!(items[0].handles, [0, 1], "a handle that the task has is not granted again");
    }

    #[test]
    fn a_task_that_awaits_an_answer_asks_for_nothing_else() {
        let mut session = Session::new(WORKER, Vec::new());
        assert!(session.add(Request::Flush).is_ok());
        assert_eq!(session.add(Request::Flush), Err(CreditExceeded));
        assert_eq!(session.add(Request::new(0, b"", None)), Err(CreditExceeded));
    }

    #[test]
    fn posts_are_bounded_by_credit_which_comes_back_by_halves() {
        let mut session = Session::new(WORKER, Vec::new());
        for _ in 0..POSTS {
            assert!(session.add(Request::new(0, b"", None)).is_ok());
        }
        assert_eq!(session.add(Request::new(0, b"", None)), Err(CreditExceeded));
        let told: Vec<u64> = (0..POSTS).filter_map(|_| session.post_done(Ok(()))).collect();
        assert_eq!(told, [POSTS / 2 + POSTS, POSTS + POSTS]);
    }

    #[test]
    fn the_first_error_of_a_post_is_kept() {
        let mut session = Session::new(WORKER, Vec::new());
        for error in [ObjectError::Full, ObjectError::Closed] {
            session.add(Request::new(0, b"", None)).unwrap();
            session.post_done(Err(error));
        }
        assert_eq!(session.earlier, Some(ObjectError::Full));
    }

    #[test]
    fn handles_are_passed_on_by_the_worker_that_has_the_task_alone() {
        let mut sessions = Sessions::default();
        sessions.open(TASK, WORKER, grants([ObjectInit::Event]));
        let other = WorkerId { slot: 1, ..WORKER };
        assert_eq!(sessions.resolve(WORKER, TASK, [0].into_iter()).map(|grants| grants.len()), Ok(1));
        assert!(sessions.resolve(WORKER, TASK, [1].into_iter()).is_err(), "it was not granted");
        assert!(sessions.resolve(other, TASK, [0].into_iter()).is_err(), "the task is another worker's");
        assert!(sessions.resolve(other, TaskId(9), [0].into_iter()).is_err());
        assert!(sessions.resolve(WORKER, TASK, vec![0; MAX_HANDLES + 1].into_iter()).is_err());
        assert!(sessions.close(TASK) && !sessions.close(TASK));
    }

    #[test]
    fn a_call_of_too_many_parts_is_not_even_read() {
        let read = |items: usize, handles: usize| {
            let item = Item { bytes: Vec::new(), handles: vec![0; handles] };
            let mut bytes = Vec::new();
            encode(&Call::Put(vec![item; items]), &mut bytes);
            decode::<Call>(&bytes).is_ok()
        };
        assert!(read(MAX_ITEMS, 0) && read(1, MAX_HANDLES));
        assert!(!read(MAX_ITEMS + 1, 0) && !read(1, MAX_HANDLES + 1));
        assert!(read(2, MAX_HANDLES / 2) && !read(2, MAX_HANDLES / 2 + 1), "together");
    }
}
