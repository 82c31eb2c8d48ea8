//! The files that workers map: machine code, and the snapshot of an initialized instance.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Machine code in a sealed file.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    file: Arc<OwnedFd>,
}

impl Image {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file: Arc::new(file) }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The state that an initializer has left, in a sealed file. Every instance starts from it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    file: Arc<OwnedFd>,
}

impl Snapshot {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file: Arc::new(file) }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> u64 {
        rustix::fs::fstat(self.as_fd()).map_or(u64::MAX, |stat| stat.st_size.cast_unsigned())
    }
}
