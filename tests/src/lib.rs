//! Helpers of the tests: guests, pools, and a bound on every test's time.

use std::sync::LazyLock;
use std::time::Duration;

use wpool::{Cache, Executable, Guest, Loader, Pool, PoolBuilder};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// No test takes this long unless something hangs.
pub const BOUND: Duration = Duration::from_secs(120);

/// The tests' own cache, so that they neither use nor fill the user's.
static CACHE: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

/// How the tests load guests: by this build's own command.
pub fn loader(executable: &str) -> Loader {
    let folder = CACHE.path();
    Loader::new()
        .executable(Executable::at(executable))
        .cache(Cache::at(folder.join("entries"), folder.join("key")))
}

/// A pool of two workers for a guest.
pub fn pool(executable: &str, guest: &str) -> PoolBuilder {
    Pool::builder(load(executable, guest)).workers(2)
}

/// A guest by its path.
pub fn load(executable: &str, guest: &str) -> Guest {
    loader(executable).file(guest).expect("the tests' guests load")
}

/// Runs a test on a thread of its own, and fails if it takes too long: a hang is a failure with a name.
pub fn bounded(test: impl FnOnce() + Send + 'static) {
    bounded_by(BOUND, test);
}

/// The same with another bound.
pub fn bounded_by(bound: Duration, test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        // The receiver waits unless the bound is over already.
        let _late = sender.send(());
    });
    match receiver.recv_timeout(bound) {
        Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
            panic!("the test hangs: it took longer than {bound:?}")
        }
    }
}
