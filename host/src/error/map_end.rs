//! Why a map has ended.

use std::fmt;
use std::time::Duration;

/// Why a map has ended. All but the first are early ends: its input may have had more.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let mut squares = pool.task::<i64, i64>("square")?.map_timeout(std::time::Duration::from_secs(2)).map(0..);
/// for result in &mut squares {
///     println!("{result:?}"); // the last one is `TaskError::MapEnded`
/// }
/// if let Some(wpool::MapEnd::Timeout(limit)) = squares.ended() {
///     println!("cut off after {limit:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapEnd {
    /// Every input has its result.
    Complete,
    /// The map took longer than its timeout.
    Timeout(Duration),
    /// A [`Canceller`](crate::Canceller) ended it.
    Cancelled,
    /// The first error ended it, as [`stop_on_error`](crate::Map::stop_on_error) asks for.
    Error,
    /// The map's own [`close`](crate::Map::close) ended it.
    Closed,
    /// The pool was ended by this call.
    PoolClosed(&'static str),
}

impl fmt::Display for MapEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapEnd::Complete => f.write_str("it is complete"),
            MapEnd::Timeout(limit) => write!(f, "it took longer than {limit:?}"),
            MapEnd::Cancelled => f.write_str("it was cancelled"),
            MapEnd::Error => f.write_str("a task has failed"),
            MapEnd::Closed => f.write_str("it was closed"),
            MapEnd::PoolClosed(by) => write!(f, "{by} has ended the pool"),
        }
    }
}
