//! Cells, on which threads and wakers wait: one for each future, map, stream of emitted values and reader of logs.
//!
//! A cell has a lock of its own and knows nothing of the pool: the runtime puts results in, the public face takes them
//! out.

pub(crate) mod emitted;
pub(crate) mod future;
pub(crate) mod log;
pub(crate) mod map;
