//! How a task ended: its value or its error, what it used, and what it logged.

use std::time::Duration;

use crate::error::TaskError;
use crate::ids::WorkerId;
use crate::manager::Grant;
use crate::server::ObjectServer;

/// The resources that a task used, and its times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// The time between submission and end in which the task did not run.
    pub queued: Duration,
    /// The time that the task ran, asleep or not. While it waits for a shared object, a sub-task or a reader the clock
    /// stands still.
    pub run: Duration,
    /// The time from submission to the end.
    pub total: Duration,
    /// The peak of its linear memory, in bytes.
    pub peak_memory: u64,
    /// The fuel that it used; zero if fuel is not counted.
    pub fuel: u64,
    /// The worker that ran it, whose name is the `Display` of this; `None` if it never ran.
    pub worker: Option<WorkerId>,
    /// The process id of that worker; `None` if the task has never run, or was lost with its worker.
    pub pid: Option<u32>,
    /// How many times it was started.
    pub attempts: u32,
}

/// The log of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLog {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: u64,
}

impl TaskLog {
    /// The log as text; bytes that are not UTF-8 are replaced. The guest wrote it: it may hold control characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The log as the guest wrote it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of bytes beyond the limit, which are lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the task wrote nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }
}

/// How a task ended: its value in postcard or its error, its figures and its log.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let future = pool.task::<i64, i64>("square")?.submit(&3)?;
/// let completed = future.completed();
/// println!("{} bytes in {:?}", completed.result.as_ref().map_or(0, Vec::len), completed.figures.run);
/// print!("{}", completed.log.text());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Completed {
    /// The value's bytes, or the task's error.
    pub result: Result<Vec<u8>, TaskError>,
    /// The resources that the task used, and its times.
    pub figures: Figures,
    /// The task's log.
    pub log: TaskLog,
    /// The handles in the value.
    pub(crate) grants: ResultGrants,
}

impl Completed {
    /// The bytes of its value or its error, of its log and of its handles.
    pub(crate) fn size(&self) -> u64 {
        const GRANT: usize = 64;
        let result = match &self.result {
            Ok(value) => value.len(),
            Err(TaskError::Guest(error)) => error.message.len() + error.value.as_ref().map_or(0, Vec::len),
            Err(TaskError::BadArguments { message } | TaskError::BadResult { message }) => message.len(),
            Err(_) => 0,
        };
        (result + self.log.bytes.len() + GRANT * self.grants.as_slice().len()) as u64
    }

    /// A task that ended without a value, and used nothing.
    pub(crate) fn failed(error: TaskError) -> Self {
        Self {
            result: Err(error),
            figures: Figures::default(),
            log: TaskLog::default(),
            grants: ResultGrants::default(),
        }
    }
}

/// The handles in the value of a task. They stay grants until the value is decoded: a result that is not read may be
/// dropped under any lock, and a handle that is dropped takes its server's.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResultGrants(Vec<Grant>);

impl From<Vec<Grant>> for ResultGrants {
    fn from(grants: Vec<Grant>) -> Self {
        Self(grants)
    }
}

impl ResultGrants {
    pub(crate) fn as_slice(&self) -> &[Grant] {
        &self.0
    }

    pub(crate) fn into_vec(mut self) -> Vec<Grant> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for ResultGrants {
    fn drop(&mut self) {
        for grant in self.0.drain(..) {
            let server = ObjectServer::of(&grant);
            drop(grant);
            server.inspect(|server| server.remove_released_later());
        }
    }
}
