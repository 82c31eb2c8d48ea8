//! The errors of the library: one small enum per operation.
//!
//! The text of an error either contains its cause, or `source()` returns it: never both, so a report that prints the
//! whole chain names each cause once. An error of the system is contained in the text, and kept in a field beside it.

mod build;
mod guest;
mod load;
mod map_end;
mod spawn;
mod submit;
mod task;
mod worker_exit;

pub use self::build::{BuildError, InitError, SettingError};
pub use self::guest::{Frame, GuestError};
pub use self::load::LoadError;
pub use self::map_end::MapEnd;
pub use self::spawn::SpawnError;
pub use self::submit::{ApplyError, ProcessError, SubmitError, TaskLookupError};
pub use self::task::{Clock, Phase, TaskError};
pub use self::worker_exit::WorkerExit;
