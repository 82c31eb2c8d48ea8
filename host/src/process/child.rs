//! One child process, from its start until its exit status is collected.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::locate::Executable;
use super::socket::readable_within;
use crate::error::{SpawnError, WorkerExit};

/// A child process. Dropping it kills it, if it still runs, and collects its exit status.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    pidfd: OwnedFd,
    killed: bool,
    exit: Option<WorkerExit>,
}

impl ChildProcess {
    /// Starts `executable` in a role, with an empty environment and a new socket as its standard input.
    ///
    /// The kernel kills the child when the thread that started it ends, so that thread must outlive it.
    pub(crate) fn spawn(executable: &Executable, role: &str) -> Result<(Self, UnixStream), SpawnError> {
        let path = executable.locate()?;
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| SpawnError::system("a socket pair", error))?;
        let child = Command::new(&path)
            .arg0(format!("wpool {role}"))
            .arg(role)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C in a terminal reaches the parent alone, which decides what to end.
            .process_group(0)
            .spawn()
            .map_err(|error| SpawnError::start(path, error))?;
        let child = Self::watch(child).map_err(|error| SpawnError::system("a process descriptor", error))?;
        Ok((child, ours))
    }

    fn watch(mut child: Child) -> io::Result<Self> {
        // The child is not collected yet, so the kernel cannot have given its id to another process.
        match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pidfd, killed: false, exit: None }),
            Err(error) => {
                // Both fail only if the child has ended.
                let _ended = child.kill().and_then(|()| child.wait());
                Err(error.into())
            }
        }
    }

    /// Returns a descriptor that becomes readable when the process ends.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the resident memory of the process in bytes; `None` if the kernel does not tell.
    pub(crate) fn resident(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Sends a signal that ends the process. `try_wait` or drop collects the exit status later.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // A process that has ended already did not end by this.
        if self.try_wait().is_none() {
            self.killed = true;
            // It fails only if the process has ended.
            let _ended = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Ends the process with SIGKILL. `try_wait` or drop collects the exit status later.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Returns how the process ended; `None` if it still runs.
    pub(crate) fn try_wait(&mut self) -> Option<WorkerExit> {
        if self.exit.is_none() {
            self.exit = match self.child.try_wait() {
                Ok(status) => status.map(|status| worker_exit(status, self.killed)),
                // Other code in this program collects children that it did not start.
                Err(_) => Some(WorkerExit::Unknown),
            };
        }
        self.exit.clone()
    }

    /// Waits for the end of the process. Returns `None` at `deadline` if it still runs.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> Option<WorkerExit> {
        loop {
            if let Some(exit) = self.try_wait() {
                return Some(exit);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            readable_within(self.pidfd(), left).ok()?;
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if self.exit.is_none() {
            // The kernel ends a process that got SIGKILL at once, so this wait is short.
            let _status = self.child.wait();
        }
    }
}

fn worker_exit(status: ExitStatus, killed: bool) -> WorkerExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => WorkerExit::Code(code),
        (None, Some(signal)) => WorkerExit::Signal { signal, by_pool: killed },
        (None, None) => WorkerExit::Unknown,
    }
}
