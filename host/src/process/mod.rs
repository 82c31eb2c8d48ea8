//! One child process: found, started, watched, and always killed and collected. Beside it: sockets and sealed files.

mod child;
mod locate;
mod sealed_file;
mod socket;

pub(crate) use self::child::ChildProcess;
pub use self::locate::Executable;
#[cfg(feature = "worker")]
pub(crate) use self::locate::allow_self;
pub(crate) use self::sealed_file::sealed_file;
pub(crate) use self::socket::{readable_within, send_some_with_descriptors, send_with_descriptors};
