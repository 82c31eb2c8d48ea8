//! What a task can ask of the pool while it runs: to pass on a value, to run a sub-task, to tell how that ended.
//!
//! What needs no answer is sent with whatever goes next. For an answer the task is suspended; the worker's loop lays
//! it on the desk, and polls the task again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use wasmtime::{Caller, Linker};
use wpool_abi::object::{ObjectError, Reply, Wait, shared};
use wpool_abi::{SubTaskFailure, SubTaskOutcome, import};

use super::faults::{BadGuest, Ended, Refused};
use super::guest_mem::GuestSlice;
use super::handles::Handle;
use super::imports::memory_and_state;
use super::state::{Order, TaskState};
use wpool_wire::ids::TaskId;
use wpool_wire::limits::MAX_EMITTED;
use wpool_wire::message::{Ask, Flow, POST_SIZE, POSTS, Request, encode};

/// Gives every import its function.
pub(super) fn define(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(import::MODULE, import::EMIT, |caller, args| Box::new(emit(caller, args)))?;
    linker.func_wrap(import::MODULE, import::SUBMIT, submit)?;
    linker
        .func_wrap_async(import::MODULE, import::OUTCOME, |caller, args| Box::new(outcome(caller, args)))?;
    linker.func_wrap(import::MODULE, import::ANSWER, answer)?;
    linker.func_wrap_async(import::MODULE, import::CALL, |caller, args| Box::new(call(caller, args)))?;
    linker.func_wrap_async(import::MODULE, import::POST, |caller, args| Box::new(post(caller, args)))?;
    linker.func_wrap_async(import::MODULE, import::FLUSH, |caller, ()| Box::new(flush(caller)))?;
    Ok(())
}

/// Where the worker's loop lays what has come for tasks that wait.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<HashMap<TaskId, Mail>>);

#[derive(Debug, Default)]
struct Mail {
    answer: Option<(Vec<u8>, Vec<Handle>)>,
    emits: Option<u64>,
    posts: Option<u64>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Mail>> {
        // Whoever panics here ends the process, so a poisoned lock has no reader.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the handles that the task was granted with the answer.
    pub(super) fn answer(&self, task: TaskId, bytes: Vec<u8>, handles: Vec<Handle>) {
        self.lock().entry(task).or_default().answer = Some((bytes, handles));
    }

    pub(super) fn credit(&self, task: TaskId, of: Flow, total: u64) {
        let mut mails = self.lock();
        let mail = mails.entry(task).or_default();
        match of {
            Flow::Emits => mail.emits = Some(total),
            Flow::Posts => mail.posts = Some(total),
        }
    }

    /// A task has ended. What has come for it nobody wants.
    pub(super) fn clear(&self, task: TaskId) {
        self.lock().remove(&task);
    }

    fn take<T>(&self, task: TaskId, what: impl FnOnce(&mut Mail) -> Option<T>) -> Option<T> {
        self.lock().get_mut(&task).and_then(what)
    }
}

/// One task's dealings with the pool.
#[derive(Debug)]
pub(super) struct Requests {
    desk: Arc<Desk>,
    /// Sub-tasks that were submitted.
    submitted: u32,
    emitted: u64,
    /// How many values it may have emitted by now; none if nobody wants any.
    may_emit: Option<u64>,
    /// Calls without an answer, those that were made and those that may be.
    posted: u64,
    may_post: u64,
    answer: Vec<u8>,
}

impl Requests {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        let (desk, answer) = (Arc::clone(desk), Vec::new());
        Self { desk, submitted: 0, emitted: 0, may_emit: None, posted: 0, may_post: POSTS, answer }
    }

    /// A task begins.
    pub(super) fn begin(&mut self, may_emit: Option<u64>) {
        (self.submitted, self.emitted, self.may_emit) = (0, 0, may_emit);
        (self.posted, self.may_post) = (0, POSTS);
        self.answer.clear();
    }
}

/// Waits until there is something on the desk for a task, or until the task is to end: then there is nothing.
struct Waiting<'a, W> {
    task: TaskId,
    desk: &'a Desk,
    order: &'a Order,
    what: W,
}

impl<T, W: FnMut(&mut Mail) -> Option<T> + Unpin> Future for Waiting<'_, W> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { task, desk, order, what } = &mut *self;
        match desk.take(*task, what) {
            Some(found) => Poll::Ready(Some(found)),
            None if order.is_to_end() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Suspends the task until its answer has come. The time does not count as running.
async fn wait_for_answer(caller: &mut Caller<'_, TaskState>, task: TaskId) -> Result<Vec<u8>, Ended> {
    caller.data().turns.wait_for_answer();
    let (answer, handles) = wait_for(caller, task, |mail| mail.answer.take()).await?;
    caller.data_mut().handles.add(handles);
    Ok(answer)
}

/// Suspends the task until something has come for it. The time does not count as running.
async fn wait_for<T>(
    caller: &mut Caller<'_, TaskState>,
    task: TaskId,
    what: impl FnMut(&mut Mail) -> Option<T> + Unpin,
) -> Result<T, Ended> {
    let state = caller.data_mut();
    state.clock.pause();
    let (desk, order) = (Arc::clone(&state.requests.desk), state.order.clone());
    let found = Waiting { task, desk: &desk, order: &order, what }.await;
    caller.data_mut().clock.resume();
    found.ok_or(Ended)
}

fn running(state: &TaskState, what: &str) -> Result<TaskId, BadGuest> {
    state.order.task().ok_or_else(|| BadGuest(format!("it {what} outside of a task")))
}

async fn emit(mut caller: Caller<'_, TaskState>, (of, ptr, len): (u64, u32, u32)) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    GuestSlice::new(ptr, len).read(memory)?;
    if len > MAX_EMITTED {
        return Err(Refused::Emitted { size: u64::from(len) }.into());
    }
    // A description or an initializer has nobody who reads, as a task may have nobody.
    let (Some(task), Some(may_emit)) = (state.order.task(), state.requests.may_emit) else { return Ok(()) };
    if state.requests.emitted >= may_emit {
        let more = wait_for(&mut caller, task, |mail| mail.emits.take()).await?;
        caller.data_mut().requests.may_emit = Some(more);
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    state.requests.emitted += 1;
    let value = GuestSlice::new(ptr, len).read(memory)?;
    Ok(state.output.request(&Request { task, ask: Ask::Emit { of, value } })?)
}

#[expect(clippy::too_many_arguments, reason = "the import has so many")]
fn submit(
    mut caller: Caller<'_, TaskState>,
    name: u32,
    name_len: u32,
    takes: u64,
    returns: u64,
    args: u32,
    args_len: u32,
    handles: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = running(state, "submitted a sub-task")?;
    let name = GuestSlice::new(name, name_len).read(memory)?;
    let name =
        std::str::from_utf8(name).map_err(|_| BadGuest("a sub-task's name is not UTF-8".to_owned()))?;
    let numbers = state.handles.handed_out(memory, args, handles)?;
    let arguments = GuestSlice::new(args, args_len).read(memory)?.get(numbers.len()..);
    let arguments = arguments.ok_or_else(|| {
        BadGuest(format!("a block of {args_len} bytes cannot start with {handles} handles"))
    })?;
    let number = state.requests.submitted;
    state.requests.submitted = number.saturating_add(1);
    // What is too much is not even sent: `outcome` knows it by its number.
    if state.limits.sub_tasks.is_some_and(|quota| number < quota.fan_out) {
        if arguments.len() > state.limits.arguments as usize || name.len() > LONGEST_NAME {
            return Err(BadGuest(format!(
                "it submitted a sub-task with {} bytes of arguments, {} are allowed",
                arguments.len(),
                state.limits.arguments
            ))
            .into());
        }
        let ask = Ask::Submit { index: number, name, takes, returns, arguments, handles: numbers };
        state.output.request(&Request { task, ask })?;
    }
    Ok(number)
}

/// No task has a longer name.
const LONGEST_NAME: usize = 4096;

async fn outcome(mut caller: Caller<'_, TaskState>, (number,): (u32,)) -> wasmtime::Result<u32> {
    let state = caller.data_mut();
    let task = running(state, "waited for a sub-task")?;
    let answer = match refused(state, number) {
        Some(failure) => {
            let mut bytes = Vec::new();
            encode(&SubTaskOutcome::Failed(failure), &mut bytes);
            bytes
        }
        None => {
            state.output.request(&Request { task, ask: Ask::Outcome { index: number } })?;
            wait_for_answer(&mut caller, task).await?
        }
    };
    let len = u32::try_from(answer.len())?;
    caller.data_mut().requests.answer = answer;
    Ok(len)
}

/// Why there is no such sub-task, if the worker knows it itself.
fn refused(state: &TaskState, number: u32) -> Option<SubTaskFailure> {
    let failure =
        |kind: &str, message: String| Some(SubTaskFailure { kind: kind.to_owned(), message, value: None });
    match state.limits.sub_tasks {
        _ if number >= state.requests.submitted => {
            failure("no_sub_task", format!("there is no sub-task number {number}"))
        }
        None => failure("not_allowed", "the host does not let this guest submit sub-tasks".to_owned()),
        Some(quota) if number >= quota.fan_out => {
            failure("quota", format!("a task may submit {} sub-tasks", quota.fan_out))
        }
        Some(_) => None,
    }
}

async fn call(
    mut caller: Caller<'_, TaskState>,
    (handle, wait, ptr, len): (u32, i64, u32, u32),
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = running(state, "used a shared object")?;
    let call = GuestSlice::new(ptr, len).read(memory)?;
    let wait = match u64::try_from(wait) {
        Ok(0) => Wait::NonBlocking,
        Ok(nanos) => Wait::Timeout(nanos),
        Err(_) => Wait::Forever,
    };
    let limit = state.limits.arguments;
    let allowed = state.handles.check(handle, call).and_then(|()| match len <= limit {
        true => Ok(()),
        false => Err(ObjectError::Quota(format!("a call has {len} bytes, {limit} are allowed"))),
    });
    let answer = match allowed {
        Ok(()) => {
            state.output.request(&Request { task, ask: Ask::Call { handle, wait, call } })?;
            wait_for_answer(&mut caller, task).await?
        }
        Err(error) => {
            let mut bytes = Vec::new();
            encode(&Err::<Reply, _>(error), &mut bytes);
            bytes
        }
    };
    let len = u32::try_from(answer.len())?;
    caller.data_mut().requests.answer = answer;
    Ok(len)
}

async fn flush(mut caller: Caller<'_, TaskState>) -> wasmtime::Result<u32> {
    let state = caller.data_mut();
    let task = running(state, "used a shared object")?;
    state.output.request(&Request { task, ask: Ask::Flush })?;
    let answer = wait_for_answer(&mut caller, task).await?;
    let len = u32::try_from(answer.len())?;
    caller.data_mut().requests.answer = answer;
    Ok(len)
}

async fn post(
    mut caller: Caller<'_, TaskState>,
    (handle, ptr, len): (u32, u32, u32),
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = running(state, "used a shared object")?;
    let call = GuestSlice::new(ptr, len).read(memory)?;
    if len as usize > POST_SIZE {
        return Err(BadGuest(format!("it posted {len} bytes, {POST_SIZE} are allowed")).into());
    }
    if let Err(error) = state.handles.check(handle, call) {
        return Ok(shared::status(&Err(error)));
    }
    if state.requests.posted >= state.requests.may_post {
        let more = wait_for(&mut caller, task, |mail| mail.posts.take()).await?;
        caller.data_mut().requests.may_post = more;
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    state.requests.posted += 1;
    let call = GuestSlice::new(ptr, len).read(memory)?;
    state.output.request(&Request { task, ask: Ask::Post { handle, call } })?;
    Ok(shared::status(&Ok(())))
}

fn answer(mut caller: Caller<'_, TaskState>, ptr: u32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let answer = std::mem::take(&mut state.requests.answer);
    let len = u32::try_from(answer.len())?;
    GuestSlice::new(ptr, len).write(memory)?.copy_from_slice(&answer);
    Ok(())
}
