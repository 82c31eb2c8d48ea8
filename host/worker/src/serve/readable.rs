//! Waits until a socket can be read.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use wpool_wire::SPIN_TIME;

/// Waits until `socket` can be read or `deadline` is reached, and returns whether it can be read. A signal ends the
/// wait too.
pub(super) fn readable_until(socket: &UnixStream, deadline: Instant) -> io::Result<bool> {
    let wait = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the spin time without sleeping, because most answers take less time than a wake-up. Other threads get the
/// processor meanwhile. Returns whether `socket` can be read.
pub(super) fn spin_until_readable(socket: &UnixStream) -> io::Result<bool> {
    let start = Instant::now();
    while start.elapsed() < SPIN_TIME {
        if readable_until(socket, start)? {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}
