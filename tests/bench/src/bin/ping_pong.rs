//! The bare round trip: two processes that pass eight bytes back and forth over a socket pair.
//!
//! usage: ping_pong ROUNDS; prints microseconds per round. It starts itself again as the other process.
#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "echo" {
        return echo();
    }
    let rounds: u32 = argument.parse().expect("a number of rounds");
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("echo")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let mut buffer = [0; 8];
    let mut round = || {
        ours.write_all(&buffer)?;
        ours.read_exact(&mut buffer)
    };
    for _ in 0..rounds / 10 {
        round()?;
    }
    let began = Instant::now();
    for _ in 0..rounds {
        round()?;
    }
    println!("{}", began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    drop(ours);
    child.wait()?;
    Ok(())
}

fn echo() -> std::io::Result<()> {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = [0; 8];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.write_all(&buffer)?;
    }
    Ok(())
}
