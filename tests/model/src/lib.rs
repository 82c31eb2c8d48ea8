//! The host's cells, compiled with the locks of a scheduler that runs their threads one step at a time.
//!
//! The files are the host's own. `host/src/lock.rs` takes its locks from the scheduler when `wpool_model` is set, which
//! this crate's build script does. Their unit tests run in the host, so a test build of this library is empty. The reactor is not here: it waits in `epoll`, which no scheduler can step through.
#![cfg(not(test))]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the scenarios use a part of the host's files")]

#[path = "../../../host/src/callbacks.rs"]
mod callbacks;
#[path = "../../../host/src/error/mod.rs"]
mod error;
#[path = "../../../host/src/ids.rs"]
mod ids;
#[path = "../../../host/src/lock.rs"]
mod lock;
#[path = "../../../host/src/manager/mod.rs"]
mod manager;
mod runtime;
pub mod scenarios;
#[path = "../../../host/src/server/mod.rs"]
mod server;

pub use error::*;
pub use ids::{TaskId, WorkerId};
