//! Host functions by which a task asks something of its pool: emitted values, sub-tasks, calls of shared objects.
//!
//! A request without an answer is sent with the next flush of the output. A request with one suspends the task, until
//! the worker's loop puts the answer into the mailbox and polls the task again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::Caller;
use wpool_abi::object::{MAX_POST_SIZE, ObjectError, Reply, Wait, shared};
use wpool_abi::{SubTaskFailure, SubTaskOutcome, WorkerInfo};
use wpool_wire::ids::TaskId;
use wpool_wire::limits::MAX_EMITTED;
use wpool_wire::message::{Ask, POSTS, Request, encode};

use super::host_function::memory_and_state;
use crate::guest_error::{BadGuest, EndRequested, LimitExceeded};
use crate::guest_mem::GuestSlice;
use crate::state::{CancelToken, Mail, Mailbox, SuspendReason, TaskState, YieldState};

/// The maximum size of a sub-task's name, in bytes. The host loads no guest whose tasks have longer names together.
const LONGEST_NAME: usize = 64 << 10;

/// Sends a value to the reader of the task's emitted values.
pub(super) async fn emit(
    mut caller: Caller<'_, TaskState>,
    (fingerprint, ptr, len): (u64, u32, u32),
) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    GuestSlice::new(ptr, len).read(memory)?;
    if len > MAX_EMITTED {
        return Err(LimitExceeded::Emitted { size: u64::from(len) }.into());
    }
    // A description and an initializer have no reader, and a task may have none.
    let (Some(task), Some(credit)) = (state.cancel.task(), state.requests.emit_credit) else { return Ok(()) };
    if state.requests.emitted >= credit {
        let more =
            wait_for_mail(&mut caller, task, SuspendReason::Credit, |mail| mail.emit_credit.take()).await?;
        caller.data_mut().requests.emit_credit = Some(more);
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    state.requests.emitted += 1;
    let value = GuestSlice::new(ptr, len).read(memory)?;
    Ok(state.output.request(&Request { task, ask: Ask::Emit { fingerprint, value } })?)
}

/// Submits a sub-task, and returns its index.
#[expect(clippy::too_many_arguments, reason = "the parameters of a host function are those of its import")]
pub(super) fn submit(
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
    let task = running_task(state, "submitted a sub-task")?;
    let name = GuestSlice::new(name, name_len).text(memory, "a sub-task's name")?;
    let handle_indices = state.handles.read_indices(memory, args, handles)?;
    let arguments = GuestSlice::new(args, args_len).read(memory)?.get(handle_indices.len()..);
    let arguments = arguments.ok_or_else(|| {
        BadGuest(format!("a block of {args_len} bytes cannot start with {handles} handles"))
    })?;
    let index = state.requests.submitted;
    state.requests.submitted = index.saturating_add(1);
    // A sub-task above the quota is not sent. `outcome` recognises it by its index.
    if state.limits.sub_tasks.is_some_and(|quota| index < quota.fan_out) {
        if name.len() > LONGEST_NAME {
            let message =
                format!("the name of its sub-task has {} bytes, {LONGEST_NAME} are allowed", name.len());
            return Err(BadGuest(message).into());
        }
        if arguments.len() > state.limits.arguments as usize {
            return Err(BadGuest(format!(
                "it submitted a sub-task with {} bytes of arguments, {} are allowed",
                arguments.len(),
                state.limits.arguments
            ))
            .into());
        }
        let ask = Ask::Submit { index, name, takes, returns, arguments, handles: handle_indices };
        state.output.request(&Request { task, ask })?;
    }
    Ok(index)
}

/// Waits for the outcome of a sub-task, and returns its size. `answer` copies it.
pub(super) async fn outcome(mut caller: Caller<'_, TaskState>, (index,): (u32,)) -> wasmtime::Result<u32> {
    let state = caller.data_mut();
    let task = running_task(state, "waited for a sub-task")?;
    let answer = match refusal(state, index) {
        Some(failure) => encoded(&SubTaskOutcome::Failed(failure)),
        None => request_answer(&mut caller, task, Ask::Outcome { index }).await?,
    };
    keep_answer(&mut caller, answer)
}

/// Calls a shared object, waits for the answer and returns its size. `answer` copies it.
pub(super) async fn call(
    mut caller: Caller<'_, TaskState>,
    (handle, wait, ptr, len): (u32, i64, u32, u32),
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = running_task(state, "used a shared object")?;
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
        Err(error) => encoded(&Err::<Reply, _>(error)),
    };
    keep_answer(&mut caller, answer)
}

/// Calls a shared object without waiting for the end of the call. Returns a status.
pub(super) async fn post(
    mut caller: Caller<'_, TaskState>,
    (handle, ptr, len): (u32, u32, u32),
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = running_task(state, "used a shared object")?;
    let call = GuestSlice::new(ptr, len).read(memory)?;
    if len as usize > MAX_POST_SIZE {
        return Err(BadGuest(format!("it posted {len} bytes, {MAX_POST_SIZE} are allowed")).into());
    }
    if let Err(error) = state.handles.check(handle, call) {
        return Ok(shared::status(&Err(error)));
    }
    if state.requests.posted >= state.requests.post_credit {
        let more =
            wait_for_mail(&mut caller, task, SuspendReason::Credit, |mail| mail.post_credit.take()).await?;
        caller.data_mut().requests.post_credit = more;
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    state.requests.posted += 1;
    let call = GuestSlice::new(ptr, len).read(memory)?;
    state.output.request(&Request { task, ask: Ask::Post { handle, call } })?;
    // Sent when half of the credit is left, so that the parent carries out one half while the task makes the other,
    // which is sent when no credit is left.
    if state.requests.post_credit - state.requests.posted == POSTS / 2 {
        state.output.flush()?;
    }
    Ok(shared::status(&Ok(())))
}

/// Waits until all posted calls are done, and returns the size of the answer. `answer` copies it.
pub(super) async fn flush(mut caller: Caller<'_, TaskState>, (): ()) -> wasmtime::Result<u32> {
    let task = running_task(caller.data(), "used a shared object")?;
    let answer = request_answer(&mut caller, task, Ask::Flush).await?;
    keep_answer(&mut caller, answer)
}

/// Describes the worker if the task may know it, and returns the size of the answer. `answer` copies it.
pub(super) fn worker(mut caller: Caller<'_, TaskState>) -> wasmtime::Result<u32> {
    let state = caller.data();
    // The snapshot of an initializer is for other workers.
    let shown = state.limits.worker_info && state.cancel.task().is_some();
    let info = shown.then(|| WorkerInfo {
        name: state.name.to_string(),
        pid: std::process::id(),
        parent_pid: std::os::unix::process::parent_id(),
    });
    keep_answer(&mut caller, encoded(&info))
}

/// Copies the latest answer to `ptr`.
pub(super) fn answer(mut caller: Caller<'_, TaskState>, ptr: u32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let answer = std::mem::take(&mut state.requests.answer);
    let len = u32::try_from(answer.len())?;
    GuestSlice::new(ptr, len).write(memory)?.copy_from_slice(&answer);
    Ok(())
}

/// Returns the running task. `action` completes the error "it ... outside of a task".
fn running_task(state: &TaskState, action: &str) -> Result<TaskId, BadGuest> {
    state.cancel.task().ok_or_else(|| BadGuest(format!("it {action} outside of a task")))
}

/// Returns the reason why no sub-task with this index was sent; `None` if one was.
fn refusal(state: &TaskState, index: u32) -> Option<SubTaskFailure> {
    let failure =
        |kind: &str, message: String| Some(SubTaskFailure { kind: kind.to_owned(), message, value: None });
    match state.limits.sub_tasks {
        _ if index >= state.requests.submitted => {
            failure("no_sub_task", format!("there is no sub-task number {index}"))
        }
        None => failure("not_allowed", "the host does not let this guest submit sub-tasks".to_owned()),
        Some(quota) if index >= quota.fan_out => {
            failure("quota", format!("a task may submit {} sub-tasks", quota.fan_out))
        }
        Some(_) => None,
    }
}

async fn request_answer(
    caller: &mut Caller<'_, TaskState>,
    task: TaskId,
    ask: Ask<'_>,
) -> wasmtime::Result<Vec<u8>> {
    caller.data().output.request(&Request { task, ask })?;
    Ok(wait_for_answer(caller, task).await?)
}

/// Suspends the task until the answer to its request has come.
async fn wait_for_answer(caller: &mut Caller<'_, TaskState>, task: TaskId) -> Result<Vec<u8>, EndRequested> {
    let part = |mail: &mut Mail| mail.answer.take();
    let (answer, handles) = wait_for_mail(caller, task, SuspendReason::Answer, part).await?;
    caller.data_mut().handles.add(handles);
    Ok(answer)
}

/// Suspends the task until the part of its mail that `part` selects has come. The time does not count as running.
async fn wait_for_mail<T>(
    caller: &mut Caller<'_, TaskState>,
    task: TaskId,
    reason: SuspendReason,
    part: impl FnMut(&mut Mail) -> Option<T> + Unpin,
) -> Result<T, EndRequested> {
    let state = caller.data_mut();
    state.pause();
    let (mailbox, cancel) = (Arc::clone(&state.requests.mailbox), state.cancel.clone());
    let yield_state = Arc::clone(&state.yield_state);
    let (mailbox, yield_state, cancel) = (&*mailbox, &*yield_state, &cancel);
    let found = WaitForMail { task, mailbox, yield_state, cancel, reason, part }.await;
    caller.data_mut().clock.resume();
    found.ok_or(EndRequested)
}

/// Waits for a part of a task's mail. The output is `None` if the end of the task was requested.
struct WaitForMail<'a, P> {
    task: TaskId,
    mailbox: &'a Mailbox,
    yield_state: &'a YieldState,
    cancel: &'a CancelToken,
    reason: SuspendReason,
    part: P,
}

impl<T, P: FnMut(&mut Mail) -> Option<T> + Unpin> Future for WaitForMail<'_, P> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { task, mailbox, yield_state, cancel, reason, part } = &mut *self;
        match mailbox.take(*task, part) {
            Some(found) => Poll::Ready(Some(found)),
            None if cancel.end_requested() => Poll::Ready(None),
            None => {
                yield_state.set_reason(*reason);
                Poll::Pending
            }
        }
    }
}

/// Keeps an answer until the guest copies it by `answer`, and returns its size.
fn keep_answer(caller: &mut Caller<'_, TaskState>, answer: Vec<u8>) -> wasmtime::Result<u32> {
    let len = u32::try_from(answer.len())?;
    caller.data_mut().requests.answer = answer;
    Ok(len)
}

fn encoded(message: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}
