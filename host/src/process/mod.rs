//! One child process: found, started, watched, and never left behind.

mod locate;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

pub use locate::Executable;
#[cfg(feature = "worker")]
pub(crate) use locate::allow_self;

use crate::error::{SpawnError, WorkerExit};

/// A child process of ours. Dropping it kills it, if it still runs, and collects it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    pidfd: OwnedFd,
    killed: bool,
    exit: Option<WorkerExit>,
}

impl ChildProcess {
    /// Starts `executable` in a role, with an empty environment and a new socket as its only descriptor.
    ///
    /// The child dies with the thread that starts it, so that thread must outlive it.
    pub(crate) fn spawn(executable: &Executable, role: &str) -> Result<(Self, UnixStream), SpawnError> {
        let path = executable.locate()?;
        let (ours, theirs) = UnixStream::pair()
            .map_err(|error| SpawnError::System { what: "a socket pair", message: error.to_string() })?;
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
            .map_err(|error| SpawnError::Start { path, message: error.to_string() })?;
        // The child is ours and not yet collected, so its number cannot have passed to another process.
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((Self { child, pidfd, killed: false, exit: None }, ours)),
            Err(error) => {
                let mut child = child;
                // Both can only fail if the child is gone already.
                let _ended = child.kill().and_then(|()| child.wait());
                Err(SpawnError::System { what: "a process descriptor", message: error.to_string() })
            }
        }
    }

    /// Becomes readable when the process has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that the process has now, in bytes, if the kernel says.
    pub(crate) fn resident(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Sends a signal that ends the process. It is collected later, by `try_wait` or by drop.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exit.is_none() {
            self.killed = true;
            // It can only fail if the process has ended, and then the wish is granted.
            let _ended = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Ends the process with SIGKILL. It is collected later, by `try_wait` or by drop.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// How the process ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<WorkerExit> {
        if self.exit.is_none() {
            self.exit = match self.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(match (status.code(), status.signal()) {
                    (Some(code), _) => WorkerExit::Code(code),
                    (None, Some(signal)) => WorkerExit::Signal { signal, by_pool: self.killed },
                    (None, None) => WorkerExit::Unknown,
                }),
                // Somebody else in this program collects children that are not theirs.
                Err(_) => Some(WorkerExit::Unknown),
            };
        }
        self.exit.clone()
    }

    /// Waits for the end of the process, at most until `deadline`.
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
            // A process that got SIGKILL ends without its own help, so this wait is short.
            let _status = self.child.wait();
        }
    }
}

/// Waits until a descriptor can be read. False if the time is over, or a signal came.
pub(crate) fn readable_within(fd: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends the first bytes of a conversation together with descriptors.
pub(crate) fn send_with_descriptors(
    socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = send_some_with_descriptors(socket, bytes, descriptors)?;
    // A first message is far smaller than the buffer of an empty socket.
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Sends as many bytes as the socket takes, with at most four descriptors, which go with the first of them.
pub(crate) fn send_some_with_descriptors(
    socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors)),
        "there is room for four descriptors"
    );
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

/// A file in memory that nobody can change any more.
pub(crate) fn sealed_file(name: &str, pieces: &[&[u8]]) -> Result<OwnedFd, SpawnError> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let make = || -> io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = std::fs::File::from(file);
        for piece in pieces {
            io::Write::write_all(&mut file, piece)?;
        }
        io::Seek::rewind(&mut file)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file.into())
    };
    make().map_err(|error| SpawnError::System { what: "a file in memory", message: error.to_string() })
}
