//! wip
#![allow(dead_code, unused_imports, reason="wip")]
mod child; 
#[cfg(feature="worker")] mod compiler;
mod guest; mod error; mod ids; mod limits;
#[cfg(feature="worker")] mod sandbox; mod trap; mod wire;
#[cfg(feature="worker")] mod worker;
pub use error::*; pub use limits::*; pub use trap::Trap;
