//! What a pool does with its shared objects: it knows which task has which handles, carries out what they ask, and
//! hands out the answers.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Item, Kind, MAX_HANDLES, ObjectError, Patience, Reply, Verb};

use super::connection::Poller;
use super::core::{Core, Shared};
use super::future::Carried;
use super::handle::HostWait;
use super::jobs::Delivery;
use super::rate::Rate;
use super::table::Table;
use crate::dispatch::{Event, Range};
use crate::ids::{MemoryId, TaskId, WorkerId};
use crate::manager::{
    Abandoned, Answer, Called, Grant, ObjectId, Owner, Region, Shape, Store, Stored, Ticket,
};
use wpool_wire::message::{BadMessage, Credit, Flow, POSTS, decode, encode, to_worker};

/// A worker that has so many bytes to read does not get more answers.
const MAX_UNSENT: usize = 1 << 30;

/// The shared objects of a pool, and who uses them.
pub(super) struct Objects {
    pub(super) store: Store,
    pub(super) abandoned: Arc<Abandoned>,
    /// Those in the host who wait for an answer.
    pub(super) waits: HashMap<Ticket, Arc<HostWait>>,
    clients: HashMap<TaskId, Client>,
    /// How many bytes each shared memory has, and all of them together may have.
    memories: HashMap<MemoryId, u64>,
    memory_limit: u64,
    /// What a barrier has the host do when all have come.
    actions: HashMap<ObjectId, Action>,
}

/// What the host does when all have come to a barrier.
pub(super) type Action = Arc<Mutex<dyn FnMut() + Send>>;

/// What a task has, and what it has asked for.
struct Client {
    worker: WorkerId,
    table: Table,
    /// What it waits for, and whether it wants the answer.
    waits: Option<(Ticket, bool)>,
    /// What it has asked last, and of whom.
    asked: Option<(ObjectId, Verb)>,
    /// What it has asked for since, in order.
    backlog: VecDeque<Asked>,
    /// It has asked for something that has an answer, and not got it.
    asks: bool,
    /// The dispatcher was told that it waits for that.
    suspended: bool,
    /// What went wrong with something that has no answer.
    earlier: Option<ObjectError>,
    /// How much without an answer it has asked for that is not done, was done, and may be asked for in all.
    open: u64,
    posted: u64,
    granted: u64,
    acted: bool,
    rate: Rate,
}

impl Client {
    fn new(worker: WorkerId, grants: Vec<Grant>) -> Self {
        Self {
            worker,
            table: Table::new(grants),
            waits: None,
            asked: None,
            backlog: VecDeque::new(),
            asks: false,
            suspended: false,
            earlier: None,
            open: 0,
            posted: 0,
            granted: POSTS,
            acted: false,
            rate: Rate::default(),
        }
    }
}

/// Something that a task has asked for.
pub(super) enum Asked {
    /// Without patience no answer is wanted.
    Call { handle: u32, call: Result<Call, ObjectError>, patience: Option<Patience> },
    /// To hear when all that was asked for before is done.
    Flush,
}

impl Asked {
    /// A call as a guest has written it.
    pub(super) fn new(handle: u32, call: &[u8], patience: Option<Patience>) -> Self {
        let call = decode::<Call>(call).map_err(|error| ObjectError::BadValue(error.to_string()));
        Asked::Call { handle, call, patience }
    }

    fn wants_answer(&self) -> bool {
        !matches!(self, Asked::Call { patience: None, .. })
    }
}

impl Objects {
    pub(super) fn new(memory_limit: u64) -> Self {
        Self {
            store: Store::default(),
            abandoned: Arc::default(),
            waits: HashMap::new(),
            clients: HashMap::new(),
            memories: HashMap::new(),
            memory_limit,
            actions: HashMap::new(),
        }
    }

    /// Makes a barrier at which the host does something.
    pub(super) fn make_barrier(
        &mut self,
        parties: u32,
        patience: Option<Duration>,
        action: Option<Action>,
    ) -> Grant {
        let id = self.store.make(Shape::Barrier { parties, acts: action.is_some() });
        self.actions.extend(action.map(|action| (id, action)));
        Grant::patient(id, Kind::Barrier, patience, &self.abandoned)
    }

    /// Makes an object.
    pub(super) fn make(&mut self, shape: Shape) -> Grant {
        let kind = shape.kind();
        Grant::new(self.store.make(shape), kind, &self.abandoned)
    }

    /// Makes the two ends of a pipe.
    pub(super) fn make_pipe(&mut self, both: bool) -> [Grant; 2] {
        self.store.make_pipe(both).map(|id| Grant::new(id, Kind::Pipe, &self.abandoned))
    }

    /// Whether there may be so many more bytes of shared memory.
    pub(super) fn check_memory(&mut self, len: u64) -> Result<(), ObjectError> {
        // What nobody has any more does not count, also if nobody has looked yet.
        let gone = self.abandoned.lock_all();
        for id in gone.iter() {
            self.memories.remove(&id.memory());
        }
        drop(gone);
        let used: u64 = self.memories.values().sum();
        if used.checked_add(len).is_some_and(|sum| sum <= self.memory_limit) {
            return Ok(());
        }
        let limit = self.memory_limit;
        Err(ObjectError::Quota(format!("{used} bytes of shared memory and {len} more, {limit} are allowed")))
    }

    /// Takes up shared memory.
    pub(super) fn add_memory(&mut self, region: Region) -> Result<Grant, ObjectError> {
        let len = region.memory.len() as u64;
        self.check_memory(len)?;
        let id = self.store.number();
        self.memories.insert(id.memory(), len);
        Ok(Grant::on_memory(id, region, &self.abandoned))
    }

    /// Grants a task what came with the outcome of a sub-task. Returns how many handles it had, and their numbers.
    pub(super) fn take_up(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        grants: Vec<Grant>,
    ) -> (usize, Result<Vec<u32>, ObjectError>) {
        if grants.is_empty() {
            return (usize::MAX, Ok(Vec::new()));
        }
        let client = self.clients.entry(task);
        let table = &mut client.or_insert_with(|| Client::new(worker, Vec::new())).table;
        let before = table.len();
        if !table.have_room(&grants.iter().collect::<Vec<_>>()) {
            return (before, Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles"))));
        }
        (before, Ok(grants.into_iter().map(|grant| table.add(grant)).collect()))
    }

    /// What a task was granted since it had so many handles.
    pub(super) fn granted_since(&self, task: TaskId, had: usize) -> &[Grant] {
        self.clients.get(&task).map_or(&[], |client| client.table.since(had))
    }

    /// What the handles stand for that a task hands out.
    pub(super) fn handed_out(
        &self,
        worker: WorkerId,
        task: TaskId,
        numbers: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<Grant>, BadMessage> {
        if numbers.len() == 0 {
            return Ok(Vec::new());
        }
        if numbers.len() > MAX_HANDLES {
            return Err(BadMessage(format!("task {task} hands out {} handles", numbers.len())));
        }
        let client = self.clients.get(&task).filter(|client| client.worker == worker);
        let grants = client.map(|client| client.table.all(numbers));
        grants
            .and_then(Result::ok)
            .ok_or_else(|| BadMessage(format!("task {task} hands out a handle that it does not have")))
    }

    /// A task is sent to a worker, with these handles.
    pub(super) fn open(&mut self, task: TaskId, worker: WorkerId, grants: Vec<Grant>) {
        self.clients.insert(task, Client::new(worker, grants));
    }

    /// A task has ended. What it held is released, what it was granted it has no more.
    pub(super) fn end(&mut self, task: TaskId, success: bool) {
        if !self.clients.is_empty() && self.clients.remove(&task).is_some() {
            self.store.end(Owner::Task(task), success);
        }
    }
}

impl Drop for Carried {
    /// A result may go away under any lock, so somebody else is asked to look.
    fn drop(&mut self) {
        self.grants.clear();
        if let Some(shared) = self.home.upgrade()
            && shared.abandoned.any()
        {
            shared.poller.wake();
        }
    }
}

impl Shared {
    /// Removes what nobody has a handle on any more.
    pub(super) fn clear_abandoned(&self) {
        if self.abandoned.any() {
            self.with(|_| ());
        }
    }
}

impl Core {
    /// A task asks something of an object. With `patience` it waits for the answer.
    pub(super) fn ask_object(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        range: Range,
        mut asked: Asked,
        poller: &Poller,
    ) -> Result<(), BadMessage> {
        // Who reads what it was answered does not have so much before it.
        if self.workers.get(&worker).is_some_and(|connection| connection.unsent() > MAX_UNSENT) {
            return Err(BadMessage(format!("task {task} asks without reading what it was answered")));
        }
        let limit = self.guests.get(&range.guest).and_then(|hosted| hosted.limits.calls);
        let too_much = || BadMessage(format!("task {task} asked for more than it was allowed to"));
        // One without handles can only guess.
        let client = self.objects.clients.entry(task);
        let client = client.or_insert_with(|| Client::new(worker, Vec::new()));
        // One that waits for an answer asks for nothing else meanwhile.
        if client.asks || (!asked.wants_answer() && client.open >= POSTS) {
            return Err(too_much());
        }
        if let (Asked::Call { call, .. }, Some(limit)) = (&mut asked, limit)
            && !client.rate.allows(limit, Instant::now())
        {
            *call = Err(ObjectError::Quota(format!("a task may make {limit} calls a second")));
        }
        if asked.wants_answer() {
            client.asks = true;
        } else {
            client.open += 1;
        }
        client.backlog.push_back(asked);
        if !std::mem::replace(&mut client.acted, true) {
            self.handle(Event::Acted { worker, task }, Instant::now(), poller);
        }
        self.work_off(task, poller);
        // A task that has no answer yet is suspended, and in nobody's way.
        if let Some(client) = self.objects.clients.get_mut(&task).filter(|client| client.asks) {
            client.suspended = true;
            self.handle(Event::Suspended { worker, task }, Instant::now(), poller);
        }
        Ok(())
    }

    /// Carries out what a task has asked for, until it has to wait.
    fn work_off(&mut self, task: TaskId, poller: &Poller) {
        while let Some(client) = self.objects.clients.get_mut(&task) {
            if client.waits.is_some() {
                return;
            }
            let Some(asked) = client.backlog.pop_front() else { return };
            let wants = asked.wants_answer();
            // It is told before anything else is done: what its call would have got is not lost with the error.
            if let Some(earlier) = client.earlier.take_if(|_| wants) {
                let error = ObjectError::Earlier(Box::new(earlier));
                self.object_answered(task, wants, Err(error), poller);
                continue;
            }
            let Asked::Call { handle, call, patience } = asked else {
                self.object_answered(task, wants, Ok(Reply::Done), poller);
                continue;
            };
            let call = call.and_then(|call| permitted(&client.table, handle, call));
            let called = match call {
                Ok((grant, call)) => {
                    let time = match patience {
                        Some(Patience::Never) => None,
                        Some(Patience::For(nanos)) => Some(Some(Duration::from_nanos(nanos))),
                        Some(Patience::Ever) | None => Some(grant.patience()),
                    };
                    let deadline = time.map(|time| time.and_then(|time| Instant::now().checked_add(time)));
                    client.asked = Some((grant.id(), call.verb()));
                    self.hurry(deadline.flatten());
                    self.objects.store.call(Owner::Task(task), grant.id(), call, deadline)
                }
                Err(error) => Called::Answered(Err(error)),
            };
            match called {
                Called::Answered(answer) => self.object_answered(task, wants, answer, poller),
                Called::Waits(ticket) => {
                    if let Some(client) = self.objects.clients.get_mut(&task) {
                        client.waits = Some((ticket, wants));
                    }
                }
            }
        }
    }

    /// A task's call has come to its end.
    fn object_answered(&mut self, task: TaskId, wanted: bool, answer: Answer, poller: &Poller) {
        let Some(client) = self.objects.clients.get_mut(&task) else { return };
        let worker = client.worker;
        if !wanted {
            client.posted += 1;
            client.open -= 1;
            if let Err(error) = answer {
                client.earlier.get_or_insert(error);
            }
            if client.granted - client.posted <= POSTS / 2 {
                client.granted = client.posted + POSTS;
                let credit = Credit { task, of: Flow::Posts, total: client.granted };
                self.tell_worker(worker, poller, to_worker::CREDIT, |out| encode(&credit, out));
            }
            return;
        }
        client.asks = false;
        let suspended = std::mem::take(&mut client.suspended);
        let before = client.table.len();
        let answer = match answer {
            Ok(reply) if !client.table.has_room(&reply) => {
                // What was taken for it goes back to where it came from.
                if let Some((id, verb)) = client.asked {
                    self.objects.store.give_back(Owner::Task(task), id, verb, reply);
                }
                Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles")))
            }
            answer => answer.map(|reply| taken_up(&mut client.table, reply)),
        };
        if suspended {
            self.handle(Event::Resumed { worker, task }, Instant::now(), poller);
        }
        let mut bytes = Vec::new();
        encode(&answer, &mut bytes);
        self.answer(worker, task, &bytes, before, poller);
    }

    /// Hands out the answers of those who have waited, and removes what nobody can reach any more. Either may bring
    /// about more of both.
    pub(super) fn settle_objects(&mut self, poller: &Poller) {
        loop {
            let answered = self.objects.store.take_answered();
            let abandoned = self.objects.abandoned.take();
            let (actions, home) = (&self.objects.actions, &self.home);
            let due = self.objects.store.take_due().into_iter().filter_map(|(barrier, round)| {
                let act = BarrierAct { barrier, round, home: Weak::clone(home) };
                Some(Delivery::Act(Arc::clone(actions.get(&barrier)?), act))
            });
            self.outbox.extend(due);
            if answered.is_empty() && abandoned.is_empty() {
                return;
            }
            for (ticket, owner, answer) in answered {
                match owner {
                    Owner::Host(_) => {
                        let wait = self.objects.waits.remove(&ticket);
                        self.outbox.extend(wait.map(|wait| Delivery::Answer(wait, answer)));
                    }
                    Owner::Task(task) => self.task_answered(task, ticket, answer, poller),
                }
            }
            for id in abandoned {
                self.objects.memories.remove(&id.memory());
                for (worker, connection) in &mut self.workers {
                    if connection.unshare(id.memory()) {
                        connection.flush(*worker, poller);
                    }
                }
                // What it holds may be handles, and to drop those needs the lock.
                self.outbox.extend(self.objects.actions.remove(&id).map(Delivery::Drop));
                self.objects.store.remove(id);
            }
        }
    }

    fn task_answered(&mut self, task: TaskId, ticket: Ticket, answer: Answer, poller: &Poller) {
        let Some(client) = self.objects.clients.get_mut(&task) else { return };
        let Some((_, wanted)) = client.waits.take_if(|(waits, _)| *waits == ticket) else { return };
        self.object_answered(task, wanted, answer, poller);
        self.work_off(task, poller);
    }
}

/// All have come to a barrier, and wait for what the host does there.
pub(super) struct BarrierAct {
    barrier: ObjectId,
    round: u64,
    home: Weak<Shared>,
}

impl BarrierAct {
    /// Does it, and lets them go. If it panics, the barrier is broken.
    pub(super) fn run(self, action: &Action) {
        let mut action = action.lock().unwrap_or_else(PoisonError::into_inner);
        let done = std::panic::catch_unwind(AssertUnwindSafe(&mut *action));
        drop(action);
        if let Some(shared) = self.home.upgrade() {
            shared.with(|core| core.objects.store.acted(self.barrier, self.round, done.is_ok()));
        }
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The grant that a task means, if it allows the call, and the call with the grants that travel with it.
fn permitted(table: &Table, handle: u32, call: Call) -> Result<(Grant, Call<Stored>), ObjectError> {
    let grant = table.get(handle)?;
    if !call.verb().suits(grant.kind()) {
        return Err(ObjectError::WrongKind);
    }
    if !grant.rights.contain(call.verb().needs()) {
        return Err(ObjectError::NoRight);
    }
    let call = call.try_map(|Item { bytes, handles }| Ok(Item { bytes, handles: table.all(handles)? }))?;
    Ok((grant.clone(), call))
}

/// A reply as the task sees it: the grants in it are its own now.
fn taken_up(table: &mut Table, reply: Reply<Stored>) -> Reply {
    reply.map(|Item { bytes, handles }| {
        let handles = handles.into_iter().map(|grant| table.add(grant)).collect();
        Item { bytes, handles }
    })
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::{MAX_ITEMS, Number, Rights};

    use super::*;
    use wpool_wire::memory::SharedMemory;

    fn table(rights: &[Rights]) -> Table {
        let mut objects = Objects::new(0);
        let shape = Shape::Queue { capacity: None, requeue: false };
        Table::new(rights.iter().map(|rights| objects.make(shape.clone()).narrowed(*rights)).collect())
    }

    fn put(handles: Vec<u32>) -> Call {
        Call::Put(vec![Item { bytes: Vec::new(), handles }])
    }

    #[test]
    fn a_task_can_use_what_it_was_granted_and_nothing_else() {
        let table = table(&[Rights::READ, Rights::WRITE]);
        assert!(permitted(&table, 0, Call::Get(1)).is_ok() && permitted(&table, 1, put(vec![0])).is_ok());
        for (handle, call, error) in [
            (2, Call::Get(1), ObjectError::BadHandle),
            (u32::MAX, Call::Get(1), ObjectError::BadHandle),
            (0, put(vec![]), ObjectError::NoRight),
            (1, Call::Get(1), ObjectError::NoRight),
            (1, Call::Acquire, ObjectError::WrongKind),
            (1, put(vec![0, 2]), ObjectError::BadHandle),
        ] {
            assert_eq!(permitted(&table, handle, call).err(), Some(error), "{handle}");
        }
    }

    #[test]
    fn a_reply_grants_what_is_in_it() {
        let mut objects = Objects::new(0);
        let [known, other] = [Shape::Event, Shape::Event].map(|shape| objects.make(shape));
        let mut table = Table::new(vec![known.clone()]);
        let handles = vec![known, other];
        let reply = Reply::Items(vec![Item { bytes: Vec::new(), handles }], false);
        let Reply::Items(items, _) = taken_up(&mut table, reply) else { panic!("two are few") };
        assert_eq!(items[0].handles, [0, 1], "what it has it is not granted again");
    }

    #[test]
    fn shared_memory_is_bounded_and_comes_back() {
        let mut objects = Objects::new(100);
        let make = |objects: &mut Objects, len| {
            let (memory, file) = SharedMemory::create(Number::U8, len).unwrap();
            objects.add_memory(Region { memory, file })
        };
        let first = make(&mut objects, 60).unwrap();
        assert!(matches!(make(&mut objects, 41), Err(ObjectError::Quota(_))));
        let _second = make(&mut objects, 40).unwrap();
        drop(first);
        assert!(make(&mut objects, 60).is_ok());
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
