//! What every child process enters before it meets a guest.
//!
//! The order matters and is the order of the functions: first what ties the child to its parent, then,
//! when the engine is up and needs nothing more from the system, the walls that cannot be taken down.

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use wpool_wire::message::SandboxReport;

/// Why a child could not be walled in; one variant per step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("cannot close inherited descriptors: {0}")]
    CloseDescriptors(std::io::Error),
    #[error("cannot ask to die with the parent: {0}")]
    ParentDeath(rustix::io::Errno),
    #[error("cannot leave the working directory: {0}")]
    WorkingDirectory(rustix::io::Errno),
    #[error("cannot limit {what}: {source}")]
    ResourceLimit { what: &'static str, source: rustix::io::Errno },
    #[error("cannot forbid new privileges: {0}")]
    NewPrivileges(rustix::io::Errno),
    #[error("cannot forbid dumps: {0}")]
    Dumpable(rustix::io::Errno),
}

/// First thing in a child: keeps its socket (0) and the two ends of nothing that stand where standard
/// output and error would be (1 and 2), and nothing else.
pub(crate) fn detach() -> Result<(), SandboxError> {
    // If the parent is gone already, the socket is at its end, and the child finds that out when it
    // reads its first message.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(SandboxError::ParentDeath)?;
    close_descriptors_from(3)?;
    rustix::process::chdir("/").map_err(SandboxError::WorkingDirectory)?;
    limit("core dumps", Resource::Core, 0)
}

/// Last thing before the child reads what a guest has made: it can gain no privileges, nobody of the same
/// user can look into it, and its memory has an end.
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

fn close_descriptors_from(first: libc::c_uint) -> Result<(), SandboxError> {
    // SAFETY: the child is single-threaded and at its very start; nothing in it owns a descriptor yet.
    let result = unsafe { libc::close_range(first, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(SandboxError::CloseDescriptors(std::io::Error::last_os_error())) }
}

fn limit(what: &'static str, resource: Resource, value: u64) -> Result<(), SandboxError> {
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource, limit).map_err(|source| SandboxError::ResourceLimit { what, source })
}
