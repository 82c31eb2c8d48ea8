//! The worker's loop: it reads frames, starts tasks one after the other, and sends their records.
//!
//! Many tasks can have started, but one runs. A task that waits is suspended on its fibre, and another runs meanwhile.
//! Everything in the output is sent before the worker itself waits.

mod batch;
mod one_shot;
mod readable;
mod runner;
mod suspended;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Instant;

use wpool_wire::codec::{Frame, FrameError, FrameReader};
use wpool_wire::ids::TaskId;
use wpool_wire::limits::Isolation;
use wpool_wire::message::{Answer, BadMessage, Credit, decode, to_worker};

pub(crate) use self::runner::Runner;

use self::batch::{BatchQueue, QueuedTask};
use self::readable::{readable_until, spin_until_readable};
use self::suspended::{SuspendedTask, SuspendedTasks};
use crate::parent::DescriptorReader;
use crate::poll;
use crate::state::{SharedMemories, SuspendReason};
use crate::ticker::Ticker;

/// The reason why a worker stops serving, if it is not the parent's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("reading, writing or mapping failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("a frame of the unknown kind {0}")]
    UnknownFrame(u8),
}

/// A worker that is ready to serve.
pub(crate) struct Worker {
    pub(crate) runner: Runner,
    pub(crate) ticker: Ticker,
    /// The number of functions in the hello.
    pub(crate) functions: u32,
    /// The file for the snapshot, in a worker that runs the initializer.
    pub(crate) snapshot: Option<File>,
}

impl Worker {
    /// Serves until the parent closes the connection. `reader` may hold frames that came with the hello.
    pub(crate) fn serve(&self, socket: &UnixStream, reader: FrameReader) -> Result<(), ServeError> {
        let mut serving = ServeLoop {
            worker: self,
            source: DescriptorReader::new(socket),
            reader,
            memories: SharedMemories::default(),
            queue: BatchQueue::default(),
            suspended: SuspendedTasks::default(),
        };
        serving.read_frames()?;
        loop {
            serving.resume_ready()?;
            if !serving.suspended.is_empty() && serving.has_work() {
                serving.read_arrived()?;
            }
            if serving.suspended.any_yielded() {
                // A task that has started goes before those that have not: another worker can take these.
                continue;
            }
            if let Some(task) = serving.next_task()? {
                serving.start(task)?;
                continue;
            }
            self.ticker.idle();
            self.runner.shared().output.flush()?;
            if serving.can_start() {
                self.runner.prewarm();
            }
            if !serving.wait()? {
                return Ok(());
            }
            self.ticker.busy();
        }
    }
}

/// The state of a worker's loop.
struct ServeLoop<'a> {
    worker: &'a Worker,
    source: DescriptorReader<'a>,
    reader: FrameReader,
    memories: SharedMemories,
    queue: BatchQueue,
    suspended: SuspendedTasks<'a>,
}

impl ServeLoop<'_> {
    /// Handles every frame that has arrived as a whole.
    fn read_frames(&mut self) -> Result<(), ServeError> {
        while let Some(Frame { kind, payload }) = self.reader.next_frame()? {
            match kind {
                to_worker::CALL => self.queue.push(payload)?,
                to_worker::DESCRIBE => {
                    decode::<()>(payload)?;
                    self.worker.ticker.busy();
                    one_shot::describe(&self.worker.runner, self.worker.functions)?;
                }
                to_worker::INIT => {
                    let arguments = decode::<&[u8]>(payload)?;
                    self.worker.ticker.busy();
                    one_shot::initialize(&self.worker.runner, arguments, self.worker.snapshot.as_ref())?;
                }
                to_worker::END => {
                    self.suspended.wake(decode::<TaskId>(payload)?);
                }
                to_worker::ANSWER => {
                    let Answer { task, bytes, granted } = decode(payload)?;
                    let (bytes, handles) = (bytes.to_vec(), self.memories.resolve(&granted)?);
                    // A task that is not suspended has ended since its request.
                    if self.suspended.wake(task) {
                        self.worker.runner.shared().mailbox.put_answer(task, bytes, handles);
                    }
                }
                to_worker::MAP => self.memories.map(decode(payload)?, self.source.take_descriptor())?,
                to_worker::UNMAP => self.memories.unmap(decode(payload)?),
                to_worker::CREDIT => {
                    let Credit { task, flow, total } = decode(payload)?;
                    if self.suspended.wake(task) {
                        self.worker.runner.shared().mailbox.put_credit(task, flow, total);
                    }
                }
                other => return Err(ServeError::UnknownFrame(other)),
            }
        }
        Ok(())
    }

    /// Returns whether another task can start. Tasks that share an instance run one after the other.
    fn can_start(&self) -> bool {
        match self.worker.runner.isolation() {
            Isolation::Task => {
                self.suspended.has_free_slot() && (self.suspended.is_empty() || self.has_memory())
            }
            // In batches, workers and every level to come, tasks share an instance.
            _ => self.suspended.is_empty(),
        }
    }

    /// Returns whether one more task can have all the memory that it may ask for, beside those that are suspended: else it
    /// would fail for what they have. A task that waits for its sub-tasks may only go on when these start.
    fn has_memory(&self) -> bool {
        let shared = self.worker.runner.shared();
        shared.limits.sub_tasks.is_some() || shared.budget.has(shared.limits.memory_bytes())
    }

    /// Returns whether there is a task to run now.
    fn has_work(&self) -> bool {
        self.suspended.any_yielded() || (self.can_start() && !self.queue.is_empty())
    }

    /// Takes the next task from the queue, if one can start.
    fn next_task(&mut self) -> Result<Option<QueuedTask>, BadMessage> {
        if !self.can_start() {
            return Ok(None);
        }
        let runner = &self.worker.runner;
        self.queue.take(|| {
            if runner.isolation() == Isolation::Batch {
                runner.drop_prewarmed();
            }
        })
    }

    /// Starts a task, unless the parent has recalled it, and runs it until it ends or is suspended.
    fn start(&mut self, task: QueuedTask) -> Result<(), ServeError> {
        let (runner, id) = (&self.worker.runner, task.spec.id);
        let shared = runner.shared();
        if !shared.control.claim(task.spec.claim, id) {
            return Ok(());
        }
        // After the claim, because the parent may have unmapped the memories of a task that it has recalled.
        let handles = self.memories.resolve(&task.granted)?;
        shared.control.set_running(Some(id));
        shared.yield_state.start(!self.suspended.is_empty());
        let last = self.queue.is_empty();
        let mut future = Box::pin(runner.run(task, handles, last));
        let polled = poll::once(future.as_mut());
        shared.control.set_running(None);
        match polled {
            Poll::Ready(ended) => Ok(ended?),
            Poll::Pending => {
                let reason = shared.yield_state.reason();
                let reported = reason.is_reported();
                self.suspended.add(SuspendedTask { id, future, reason, reported });
                Ok(self.report_suspended(id, reason)?)
            }
        }
    }

    /// Resumes the tasks that are ready.
    fn resume_ready(&mut self) -> io::Result<()> {
        if self.suspended.is_empty() {
            return Ok(());
        }
        let shared = self.worker.runner.shared();
        let now = Instant::now();
        let others_wait = self.suspended.len() > 1;
        let mut index = 0;
        while let Some(task) = self.suspended.get_mut(index) {
            if !task.is_ready(now) {
                index += 1;
                continue;
            }
            if task.reported {
                shared.output.resumed(task.id)?;
            }
            shared.yield_state.resume(others_wait);
            shared.control.set_running(Some(task.id));
            let polled = poll::once(task.future.as_mut());
            shared.control.set_running(None);
            match polled {
                Poll::Ready(ended) => {
                    let task = self.suspended.remove(index);
                    shared.mailbox.remove(task.id);
                    ended?;
                }
                Poll::Pending => {
                    task.reason = shared.yield_state.reason();
                    task.reported = task.reason.is_reported();
                    let (id, reason) = (task.id, task.reason);
                    self.report_suspended(id, reason)?;
                    index += 1;
                }
            }
        }
        Ok(())
    }

    /// Sends the task's requests to the parent, and that the task is suspended if the parent does not know. A task that
    /// has only yielded sends nothing.
    fn report_suspended(&self, id: TaskId, reason: SuspendReason) -> io::Result<()> {
        let output = &self.worker.runner.shared().output;
        if reason == SuspendReason::Yielded {
            return Ok(());
        }
        if reason.is_reported() {
            output.suspended(id)?;
        }
        output.flush()
    }

    /// Handles the frames that have arrived, without waiting. So a suspended task gets its answer before all tasks of
    /// the queue have started.
    fn read_arrived(&mut self) -> Result<(), ServeError> {
        while readable_until(self.source.socket(), Instant::now())? {
            if self.reader.fill(&mut self.source)? == 0 {
                // `wait` finds the end of the stream again, when there is no work left.
                return Ok(());
            }
            self.read_frames()?;
        }
        Ok(())
    }

    /// Waits for frames, or until the first suspended task is ready. Returns false if the parent has closed the
    /// connection.
    fn wait(&mut self) -> Result<bool, ServeError> {
        match self.suspended.first_deadline() {
            Some(deadline) => {
                if !readable_until(self.source.socket(), deadline)? {
                    return Ok(true);
                }
            }
            None => {
                spin_until_readable(self.source.socket())?;
            }
        }
        if self.reader.fill(&mut self.source)? == 0 {
            return Ok(false);
        }
        self.read_frames()?;
        Ok(true)
    }
}
