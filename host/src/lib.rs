//! wip
#![allow(dead_code, unused_imports, reason="wip")]
mod child; 
#[cfg(feature="worker")] mod compiler;
mod dispatch; mod guest; mod process; mod error; mod ids; mod limits;
#[cfg(feature="worker")] mod sandbox; mod trap; mod wire;
#[cfg(feature="worker")] mod worker;
pub use error::*; pub use guest::*; pub use process::Executable; pub fn init() {}  pub use limits::*; pub use trap::Trap;
