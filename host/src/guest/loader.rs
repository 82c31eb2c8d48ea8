//! Loading: from a file or from bytes to a guest, once for all callers that load the same module at the same time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};

use wpool_wire::limits::CompileLimits;

use super::cache::Cache;
use super::guest::{Guest, Initialization, LoadedModule};
use super::identity::Identity;
use super::image_store::{ImageStore, Variant};
use super::{describe, source};
use crate::error::LoadError;
use crate::lock::Mutex;
use crate::process::Executable;

/// The settings for loading guests: the program that compiles them, the limits of a compilation, and the cache.
///
/// ```no_run
/// let guest = wpool::Loader::new().cache(wpool::Cache::none()).file("guest.wasm")?;
/// # Ok::<(), wpool::LoadError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Loader {
    store: ImageStore,
}

impl Loader {
    /// Returns a loader with the defaults of [`Executable`], [`CompileLimits`] and [`Cache`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the program that compiles and describes guests, and that pools of these guests start as workers.
    ///
    /// Default: [`Executable::default`], which is this program or the `wpool` beside it.
    #[must_use]
    pub fn executable(mut self, executable: Executable) -> Self {
        self.store.executable = executable;
        self
    }

    /// Sets the size of a module, and the time and memory of a compilation. Default: [`CompileLimits::default`].
    #[must_use]
    pub fn compile_limits(mut self, limits: CompileLimits) -> Self {
        self.store.limits = limits;
        self
    }

    /// Sets the cache of compiled guests. Default: [`Cache::default`], a folder of the user.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.store.cache = cache;
        self
    }

    /// Loads a guest from a file, which holds a WebAssembly module in binary or in text form.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read, or is not a valid guest.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Guest, LoadError> {
        self.load(source::read(path.as_ref(), self.store.limits.module)?.into())
    }

    /// Loads a guest from the bytes of a WebAssembly module in binary or in text form.
    ///
    /// # Errors
    /// [`LoadError`] if the bytes are not a valid guest.
    pub fn bytes(&self, bytes: impl Into<Arc<[u8]>>) -> Result<Guest, LoadError> {
        self.load(bytes.into())
    }

    fn load(&self, source: Arc<[u8]>) -> Result<Guest, LoadError> {
        source::check(&source, self.store.limits.module)?;
        let identity = Identity::of(&source);
        let key = self.store.key(identity, false, Variant::Plain)?;
        // A thread that loads the same guest at the same time waits here, and finds it loaded.
        let slot = loading_slot(&key);
        let mut slot = slot.lock();
        if let Some(module) = slot.upgrade() {
            return Ok(Guest::new(module));
        }
        let (info, descriptions, plain) = self.store.plain(&source, &key, false)?;
        let (tasks, init) = describe::check(&info, &descriptions)?;
        let (counting, store) = (Mutex::new(None), self.store.clone());
        let parameterless = Initialization::without_parameters(init.as_ref());
        let module = Arc::new(LoadedModule {
            identity,
            source,
            store,
            info,
            tasks,
            init,
            parameterless,
            plain,
            counting,
        });
        *slot = Arc::downgrade(&module);
        Ok(Guest::new(module))
    }
}

impl Guest {
    /// Loads a guest from a file with the default [`Loader`].
    ///
    /// # Errors
    /// As [`Loader::file`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Loader::new().file(path)
    }

    /// Loads a guest from bytes with the default [`Loader`].
    ///
    /// # Errors
    /// As [`Loader::bytes`].
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, LoadError> {
        Loader::new().bytes(bytes)
    }
}

type LoadingSlot = Arc<Mutex<Weak<LoadedModule>>>;

/// Returns the lock under which this process loads the module of a key. Locks of modules without a guest are removed.
fn loading_slot(key: &str) -> LoadingSlot {
    static SLOTS: LazyLock<Mutex<HashMap<String, LoadingSlot>>> = LazyLock::new(Mutex::default);
    let mut slots = SLOTS.lock();
    slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0);
    Arc::clone(slots.entry(key.to_owned()).or_default())
}
