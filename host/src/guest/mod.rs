//! A guest as the parent sees it: bytes that it never runs, a description that it has checked, and images
//! that only workers map.

mod ask;
mod cache;
mod compile;
mod describe;
pub(crate) mod description;
mod initialize;
pub(crate) mod json;
mod source;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

pub use cache::{Cache, CacheEntry};
pub use description::Signature;
pub use json::{JsonError, ValueError};

pub(crate) use initialize::Snapshot;

use serde::Serialize;
use wpool_schema::Schema;

use crate::error::{BuildError, InitError, LoadError, TaskError, TaskLookupError};
use crate::process::Executable;
use wpool_wire::BUILD;
use wpool_wire::limits::{CompileLimits, Limits};
use wpool_wire::message::ModuleInfo;

/// What an initializer leaves is compiled into the guest's code if it has no more bytes than this.
const MAX_BAKED: u64 = 64 << 20;

/// A WebAssembly module that has been compiled and has described its tasks, ready for pools.
///
/// It is cheap to clone, and clones share everything.
///
/// ```no_run
/// let guest = wpool::Guest::from_file("guest.wasm")?;
/// for task in guest.tasks() {
///     println!("{} returns {}", task.name(), task.returns());
/// }
/// # Ok::<(), wpool::LoadError>(())
/// ```
#[derive(Clone)]
pub struct Guest {
    inner: Arc<Inner>,
    init: Option<Arc<Init>>,
}

/// What a guest's initializer is called with, and what it has left behind once it has run.
struct Init {
    arguments: Vec<u8>,
    snapshot: Mutex<Option<Snapshot>>,
    /// The guest's code that starts from the snapshot, without and with fuel counted: none as long as nobody has
    /// tried, nothing if it cannot be made.
    baked: Mutex<[Option<Option<Baked>>; 2]>,
}

/// Code in which the initializer's work is done, and bytes of memory that it starts with.
#[derive(Clone)]
struct Baked {
    image: Image,
    memory: u64,
}

/// What workers make instances of.
pub(crate) struct Start {
    pub(crate) image: Image,
    /// What is laid over each instance.
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether code of the guest runs when an instance is made.
    pub(crate) has_start: bool,
}

impl Init {
    fn new(arguments: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { arguments, snapshot: Mutex::new(None), baked: Mutex::default() })
    }
}

struct Inner {
    identity: Identity,
    source: Arc<[u8]>,
    loader: Loader,
    info: ModuleInfo,
    tasks: Vec<Signature>,
    init: Option<Signature>,
    plain: Image,
    /// The image whose code counts fuel, once a pool has asked for one.
    counting: Mutex<Option<Image>>,
}

/// Machine code in a sealed file.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    file: Arc<OwnedFd>,
}

impl Image {
    fn new(file: OwnedFd) -> Self {
        Self { file: Arc::new(file) }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The name of a guest everywhere: a hash of its module.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// How guests are loaded: by which program, under which limits, with which cache.
///
/// ```no_run
/// let guest = wpool::Loader::new().cache(wpool::Cache::none()).file("guest.wasm")?;
/// # Ok::<(), wpool::LoadError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Loader {
    executable: Executable,
    limits: CompileLimits,
    cache: Cache,
}

impl Loader {
    /// The defaults: see [`Executable`], [`CompileLimits`] and [`Cache`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The program that compiles and describes guests, and that pools of these guests start as workers.
    #[must_use]
    pub fn executable(mut self, executable: Executable) -> Self {
        self.executable = executable;
        self
    }

    /// What a compilation may use.
    #[must_use]
    pub fn compile_limits(mut self, limits: CompileLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Where compiled guests are kept. Default: [`Cache::default`].
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = cache;
        self
    }

    /// Loads a guest from a file: a module, or its text form.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Guest, LoadError> {
        self.load(source::read(path.as_ref(), self.limits.module)?.into())
    }

    /// Loads a guest from the bytes of a module, or from its text form.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn bytes(&self, bytes: impl Into<Arc<[u8]>>) -> Result<Guest, LoadError> {
        self.load(bytes.into())
    }

    fn load(&self, source: Arc<[u8]>) -> Result<Guest, LoadError> {
        source::check(&source, self.limits.module)?;
        let identity = Identity::of(&source);
        let key = self.key(identity, false, "as it is")?;
        // Whoever loads the same guest at the same time waits here, and finds it made.
        let slot = loading_slot(&key);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = slot.upgrade() {
            return Ok(Guest::new(inner));
        }
        let (info, descriptions, plain) = self.image(&source, &key, false)?;
        let (tasks, init) = describe::check(&info, &descriptions)?;
        let (counting, loader) = (Mutex::new(None), self.clone());
        let inner = Arc::new(Inner { identity, source, loader, info, tasks, init, plain, counting });
        *slot = Arc::downgrade(&inner);
        Ok(Guest::new(inner))
    }

    /// The image of a module from the cache, or compiled and described now.
    fn image(
        &self,
        source: &[u8],
        key: &str,
        fuel: bool,
    ) -> Result<(ModuleInfo, Vec<Vec<u8>>, Image), LoadError> {
        if let Some(entry) = self.cache.get(key) {
            return Ok(entry);
        }
        let job = compile::Job { source, fuel, snapshot: None };
        let (info, image) = compile::compile(&self.executable, &self.limits, job)?;
        let descriptions = describe::describe(&self.executable, &info, &image, fuel)?;
        self.cache.put(key, &info, &descriptions, &image);
        Ok((info, descriptions, image))
    }

    /// Names what an image was made of: the module and where it starts, this build, the processor, the engine's
    /// settings.
    fn key(&self, identity: Identity, fuel: bool, start: &str) -> Result<String, LoadError> {
        let program = self.executable.fingerprint()?;
        let features = processor_features();
        let text = format!("{identity} {BUILD} {program} {features} fuel={fuel} {start}");
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }
}

/// The processor as the kernel describes it: images use what it has.
fn processor_features() -> &'static str {
    static FEATURES: LazyLock<String> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        blake3::hash(line.unwrap_or_default().as_bytes()).to_hex().to_string()
    });
    &FEATURES
}

type Slot = Arc<Mutex<Weak<Inner>>>;

/// The place in this process where a guest is loaded, one per key. Places of guests that nobody has any
/// more are cleared away.
fn loading_slot(key: &str) -> Slot {
    static SLOTS: LazyLock<Mutex<HashMap<String, Slot>>> = LazyLock::new(Mutex::default);
    let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    slots.retain(|_, slot| {
        Arc::strong_count(slot) > 1 || slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
    });
    Arc::clone(slots.entry(key.to_owned()).or_default())
}

impl Guest {
    /// Loads a guest from a file with the default [`Loader`].
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Loader::new().file(path)
    }

    /// Loads a guest from bytes with the default [`Loader`].
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, LoadError> {
        Loader::new().bytes(bytes)
    }

    fn new(inner: Arc<Inner>) -> Self {
        // One that can do without an argument is not asked for one.
        let arguments = inner.init.as_ref().and_then(|init| init.arguments_from_json(b"null").ok());
        Self { inner, init: arguments.map(Init::new) }
    }

    /// The guest's name: a hash of its module, and of what its initializer is called with.
    pub fn identity(&self) -> Identity {
        match (&self.init, &self.inner.init) {
            (Some(init), Some(_)) => {
                Identity(*blake3::keyed_hash(&self.inner.identity.0, &init.arguments).as_bytes())
            }
            _ => self.inner.identity,
        }
    }

    /// The guest's initializer, if it has one.
    pub fn initializer(&self) -> Option<&Signature> {
        self.inner.init.as_ref()
    }

    /// The same guest with an argument for its initializer: the parameter itself if it has one, a tuple if it has
    /// several. It runs when a pool is built, once for all pools of this guest and its clones, and every task starts
    /// from what it has left in memory.
    ///
    /// ```no_run
    /// # use wpool::{Guest, Pool};
    /// let guest = Guest::from_file("guest.wasm")?.initialized_with(&vec!["one".to_owned(), "two".to_owned()])?;
    /// let pool = Pool::builder(guest).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the guest has no initializer, or one that takes something else.
    pub fn initialized_with<A: Serialize + Schema>(&self, argument: &A) -> Result<Self, InitError> {
        let init = self.inner.init.as_ref().ok_or(InitError::None)?;
        if let Err((expected, found)) = description::fits_parameters::<A>(init) {
            return Err(InitError::TypeMismatch { name: init.name().to_owned(), expected, found });
        }
        let encoded = postcard::to_allocvec(argument);
        let arguments = encoded.map_err(|error| InitError::Argument { message: error.to_string() })?;
        Ok(Self { inner: Arc::clone(&self.inner), init: Some(Init::new(arguments)) })
    }

    /// The same guest with an argument for its initializer in JSON, as a task's arguments are written.
    ///
    /// # Errors
    /// If the guest has no initializer, or the text does not fit it.
    pub fn initialized_from_json(&self, text: &[u8]) -> Result<Self, InitError> {
        let init = self.inner.init.as_ref().ok_or(InitError::None)?;
        let arguments = init.arguments_from_json(text);
        let arguments = arguments.map_err(|error| InitError::Argument { message: error.to_string() })?;
        Ok(Self { inner: Arc::clone(&self.inner), init: Some(Init::new(arguments)) })
    }

    /// What workers make instances of, under these limits. The initializer is run for it if it has not.
    pub(crate) fn start(&self, limits: &Limits) -> Result<Start, BuildError> {
        let bakes = self.inner.init.as_ref().is_some_and(|init| init.params().is_empty());
        if let Some(init) = self.init.as_ref().filter(|_| bakes)
            && let Some(Baked { image, memory }) = self.baked(init, limits)?
        {
            check_memory(memory, limits)?;
            return Ok(Start { image, snapshot: None, has_start: false });
        }
        let image = self.image(limits)?;
        let snapshot = self.snapshot(&image, limits)?;
        Ok(Start { image, snapshot, has_start: self.inner.info.has_start })
    }

    /// The code that starts where the initializer has ended, from the cache or made now; none if it cannot be made.
    fn baked(&self, init: &Init, limits: &Limits) -> Result<Option<Baked>, BuildError> {
        let fuel = limits.fuel.is_some();
        // Whoever builds another pool of this guest meanwhile waits here, and finds it done.
        let mut baked = init.baked.lock().unwrap_or_else(PoisonError::into_inner);
        let baked = &mut baked[usize::from(fuel)];
        if let Some(baked) = baked {
            return Ok(baked.clone());
        }
        let made = self.bake(fuel, limits)?;
        *baked = Some(made.clone());
        Ok(made)
    }

    fn bake(&self, fuel: bool, limits: &Limits) -> Result<Option<Baked>, BuildError> {
        let Inner { loader, identity, source, .. } = &*self.inner;
        let key = loader.key(*identity, fuel, "initialized")?;
        if let Some((info, _, image)) = loader.cache.get(&key) {
            return Ok(Some(Baked { image, memory: info.memory_min }));
        }
        let image = self.image(limits)?;
        let Some(snapshot) = self.snapshot(&image, limits)? else { return Ok(None) };
        if snapshot.size() > MAX_BAKED {
            return Ok(None);
        }
        let job = compile::Job { source, fuel, snapshot: Some(&snapshot) };
        match compile::compile(&loader.executable, &loader.limits, job) {
            Ok((info, image)) => {
                loader.cache.put(&key, &info, &[], &image);
                Ok(Some(Baked { image, memory: info.memory_min }))
            }
            Err(error) => {
                tracing::warn!(%error, "what the initializer left cannot be compiled in; it is laid over each instance");
                Ok(None)
            }
        }
    }

    /// What the initializer leaves behind; it is run if it has not. None for a guest without one.
    fn snapshot(&self, image: &Image, limits: &Limits) -> Result<Option<Snapshot>, BuildError> {
        let Some(signature) = &self.inner.init else { return Ok(None) };
        let Some(init) = &self.init else {
            let parameters: Vec<String> =
                signature.parameters().map(|(name, ty)| format!("{name}: {ty}")).collect();
            return Err(BuildError::InitArgument {
                name: signature.name().to_owned(),
                parameters: parameters.join(", "),
            });
        };
        let (size, limit) = (init.arguments.len(), limits.arguments);
        if size > limit as usize {
            let message = format!("the initializer's arguments have {size} bytes, {limit} are allowed");
            return Err(BuildError::Init(TaskError::BadArguments { message }));
        }
        // Whoever builds another pool of this guest meanwhile waits here, and finds it done.
        let mut snapshot = init.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*snapshot {
            return Ok(Some(snapshot.clone()));
        }
        let made = initialize::initialize(self, image, &init.arguments, limits)?;
        *snapshot = Some(made.clone());
        Ok(Some(made))
    }

    /// The guest's tasks, by name.
    pub fn tasks(&self) -> &[Signature] {
        &self.inner.tasks
    }

    /// The task of this name.
    ///
    /// # Errors
    /// [`TaskLookupError::UnknownTask`], which names the most similar one.
    pub fn task(&self, name: &str) -> Result<&Signature, TaskLookupError> {
        self.function(name).map(|function| &self.inner.tasks[function as usize])
    }

    /// What the module imports: module, name and type of each.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = (&str, &str, &str)> {
        self.inner.info.imports.iter().map(|(module, name, ty)| (module.as_str(), name.as_str(), ty.as_str()))
    }

    /// Bytes of linear memory that an instance starts with, and the most that the module itself allows.
    pub fn memory(&self) -> (u64, Option<u64>) {
        (self.inner.info.memory_min, self.inner.info.memory_max)
    }

    /// Bytes of the module as it was given.
    pub fn size(&self) -> usize {
        self.inner.source.len()
    }

    /// Bytes of the machine code that was made of it.
    pub fn image_size(&self) -> u64 {
        self.inner.info.image_len
    }

    /// The place of a task among the guest's tasks.
    pub(crate) fn function(&self, name: &str) -> Result<u32, TaskLookupError> {
        let index = self.inner.tasks.iter().position(|task| task.name() == name);
        index.map(|index| u32::try_from(index).expect("a guest has few tasks")).ok_or_else(|| {
            let tasks: Vec<String> = self.inner.tasks.iter().map(|task| task.name().to_owned()).collect();
            let nearest = nearest(name, &tasks);
            TaskLookupError::UnknownTask { name: name.to_owned(), nearest, tasks }
        })
    }

    pub(crate) fn executable(&self) -> &Executable {
        &self.inner.loader.executable
    }

    /// The exports of the tasks, by their numbers.
    pub(crate) fn task_exports(&self) -> Vec<String> {
        describe::exports(&self.inner.info, wpool_abi::export::TASK_PREFIX)
    }

    /// Whether the module has a start function.
    pub(crate) fn has_start(&self) -> bool {
        self.inner.info.has_start
    }

    /// The image for these limits. One that counts fuel is made when it is first wanted.
    fn image(&self, limits: &Limits) -> Result<Image, LoadError> {
        check_memory(self.inner.info.memory_min, limits)?;
        if limits.fuel.is_none() {
            return Ok(self.inner.plain.clone());
        }
        let mut counting = self.inner.counting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = &*counting {
            return Ok(image.clone());
        }
        let key = self.inner.loader.key(self.inner.identity, true, "as it is")?;
        let (_, _, image) = self.inner.loader.image(&self.inner.source, &key, true)?;
        *counting = Some(image.clone());
        Ok(image)
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("identity", &self.inner.identity)
            .field("tasks", &self.inner.tasks.iter().map(Signature::name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn check_memory(needed: u64, limits: &Limits) -> Result<(), LoadError> {
    let limit = limits.memory_bytes();
    if needed > limit { Err(LoadError::MemoryLimit { needed, limit }) } else { Ok(()) }
}

/// The name that is most likely meant: the fewest letters to change, and not nearly all of them.
fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    let (best, distance) = candidates
        .iter()
        .map(|candidate| (candidate, distance(name, candidate)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= name.chars().count().max(best.chars().count()) / 2).then(|| best.clone())
}

/// How many letters must be put in, taken out or changed to turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_unless_it_is_far_off() {
        let tasks = ["square".to_owned(), "cube".to_owned()];
        assert_eq!(nearest("sqare", &tasks).as_deref(), Some("square"));
        assert_eq!(nearest("cubes", &tasks).as_deref(), Some("cube"));
        assert_eq!(nearest("thumbnail", &tasks), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
