//! The sandbox that every child process enters before it reads anything of a guest.
//!
//! It has two steps, in the order of the functions. The first ties the child to its parent, and comes before everything
//! else. The second cannot be undone, so it comes when the engine needs nothing more from the system.

use std::{io, mem, ptr};

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use wpool_wire::message::SandboxReport;

/// The step of entering the sandbox that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("cannot close inherited descriptors: {0}")]
    CloseDescriptors(io::Error),
    #[error("cannot reset signals: {0}")]
    Signals(io::Error),
    #[error("cannot ask to die with the parent: {0}")]
    ParentDeath(rustix::io::Errno),
    #[error("cannot leave the working directory: {0}")]
    WorkingDirectory(rustix::io::Errno),
    #[error("cannot limit {what}: {error}")]
    ResourceLimit { what: &'static str, error: rustix::io::Errno },
    #[error("cannot forbid new privileges: {0}")]
    NewPrivileges(rustix::io::Errno),
    #[error("cannot forbid dumps: {0}")]
    Dumpable(rustix::io::Errno),
}

/// Ties the child to its parent, resets its signals, and closes all descriptors but its socket (0) and the two of
/// `/dev/null` in place of standard output and error (1 and 2). Leaves the working directory, and forbids core dumps.
///
/// # Safety
/// No value that owns a descriptor from 3 on may be used afterwards: its number can belong to another file then.
pub(crate) unsafe fn detach() -> Result<(), SandboxError> {
    // If the parent has died before, the signal does not come, but the socket is at its end, which ends the child too.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(SandboxError::ParentDeath)?;
    // SAFETY: the caller guarantees that no owner of the descriptors from 3 on is used any more. No memory is involved:
    // the flags are zero, so the call does nothing but close.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(SandboxError::CloseDescriptors(io::Error::last_os_error()));
    }
    reset_signals().map_err(SandboxError::Signals)?;
    rustix::process::chdir("/").map_err(SandboxError::WorkingDirectory)?;
    limit("core dumps", Resource::Core, 0)
}

/// Seals the child: it cannot gain privileges, processes of the same user cannot inspect it, and its memory is limited
/// to `memory` bytes. Returns the layers that the kernel confirms.
pub(crate) fn seal(memory: u64) -> Result<SandboxReport, SandboxError> {
    limit("memory", Resource::Data, memory)?;
    rustix::thread::set_no_new_privs(true).map_err(SandboxError::NewPrivileges)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(SandboxError::Dumpable)?;
    Ok(SandboxReport {
        dies_with_parent: matches!(rustix::process::parent_process_death_signal(), Ok(Some(Signal::KILL))),
        no_new_privileges: matches!(rustix::thread::no_new_privs(), Ok(true)),
        not_dumpable: matches!(rustix::process::dumpable_behavior(), Ok(DumpableBehavior::NotDumpable)),
        memory_capped: rustix::process::getrlimit(Resource::Data).current == Some(memory),
    })
}

/// Gives the signals that the parent ignores or blocks their default effect. `exec` keeps both, as a shell uses for its
/// background jobs, and a worker that ignored SIGTERM could not be terminated.
fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // Rust's runtime ignores SIGPIPE in every program, so that a write to a closed pipe is an error.
        if signal != libc::SIGPIPE && is_ignored(signal) {
            // SAFETY: the default effect is no function, so nothing is called that would have to be safe in a handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    let mut none = mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` writes the whole set, for which `none` has the room. `pthread_sigmask` only reads it, and
    // accepts a null pointer in place of the room for the old mask.
    let failed = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

/// Whether a signal is ignored. False for the numbers that the C library keeps for itself.
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action, the call only writes the present one to `action`, which has the
    // room for it. It is read only after the call has succeeded.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn limit(what: &'static str, resource: Resource, value: u64) -> Result<(), SandboxError> {
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource, limit).map_err(|error| SandboxError::ResourceLimit { what, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parent_ignores_or_blocks_has_its_default_effect_again() {
        let mut blocked = mem::MaybeUninit::uninit();
        // SAFETY: `sigfillset` writes the whole set before it is used; ignoring a signal runs no function.
        unsafe {
            libc::sigfillset(blocked.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), ptr::null_mut());
            libc::signal(libc::SIGQUIT, libc::SIG_IGN);
        }
        assert!(is_ignored(libc::SIGQUIT));
        reset_signals().unwrap();
        assert!(!is_ignored(libc::SIGQUIT));
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    }
}
