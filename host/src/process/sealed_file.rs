//! Files in memory that cannot be changed after they were written.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::SpawnError;

/// Makes a file in memory that holds `pieces` one after the other. No process can write to it, or change its size.
pub(crate) fn sealed_file(name: &str, pieces: &[&[u8]]) -> Result<OwnedFd, SpawnError> {
    write_sealed(name, pieces).map_err(|error| SpawnError::system("a file in memory", error))
}

fn write_sealed(name: &str, pieces: &[&[u8]]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    pieces.iter().try_for_each(|piece| file.write_all(piece))?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}
