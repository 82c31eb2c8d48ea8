//! A loaded guest: its module, its tasks, and the argument of its initializer.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use wpool_schema::Schema;
use wpool_wire::limits::{ClockPolicy, Limits, RandomPolicy};
use wpool_wire::message::ModuleInfo;

use super::bindings::bindings;
use super::describe;
use super::identity::Identity;
use super::image::{Image, Snapshot};
use super::image_store::{EmbeddedSnapshot, ImageStore, Variant};
use super::nearest::nearest;
use super::signature::{Signature, fits_parameters};
use crate::error::{InitError, LoadError, TaskLookupError};
use crate::lock::Mutex;
use crate::process::Executable;

/// A WebAssembly module that is compiled and has described its tasks, ready for pools.
///
/// A clone is cheap and shares the module, the compiled code and the initialized state.
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
    pub(super) module: Arc<LoadedModule>,
    /// `None` if the module has no initializer, or one whose argument is not given yet.
    pub(super) init: Option<Arc<Initialization>>,
}

/// A module, with everything that its guests share whatever their initializers are called with.
pub(super) struct LoadedModule {
    pub(super) identity: Identity,
    pub(super) source: Arc<[u8]>,
    pub(super) store: ImageStore,
    pub(super) info: ModuleInfo,
    pub(super) tasks: Vec<Signature>,
    pub(super) init: Option<Signature>,
    /// The initializer without parameters, if the module has one. It runs once for all guests of this module.
    pub(super) parameterless: Option<Arc<Initialization>>,
    /// The image whose code does not count fuel.
    pub(super) plain: Image,
    /// The image whose code counts fuel, made for the first pool that limits it.
    pub(super) counting: Mutex<Option<Image>>,
}

/// The arguments of a guest's initializer, and the state that it has left, made for the first pool.
pub(super) struct Initialization {
    pub(super) arguments: Vec<u8>,
    pub(super) snapshot: Mutex<Option<(SnapshotPolicy, Snapshot)>>,
    /// Images that contain the snapshot, without fuel and with fuel counted.
    pub(super) embedded: Mutex<[Embedding; 2]>,
}

/// The policies on which a snapshot depends: an initializer under others may leave another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotPolicy {
    clock: ClockPolicy,
    random: RandomPolicy,
}

impl SnapshotPolicy {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { clock: limits.clock, random: limits.random }
    }
}

/// The state of an image that contains the snapshot.
#[derive(Clone, Default)]
pub(super) enum Embedding {
    #[default]
    NotTried,
    /// The snapshot is too large, or it does not compile.
    Impossible,
    Done(EmbeddedSnapshot),
}

impl Guest {
    pub(super) fn new(module: Arc<LoadedModule>) -> Self {
        let init = module.parameterless.clone().or_else(|| {
            // An initializer that accepts `null` runs without an argument from the caller.
            let arguments = module.init.as_ref()?.arguments_from_json(b"null").ok()?;
            Some(Initialization::new(arguments))
        });
        Self { module, init }
    }

    /// Returns the guest's identity, which is the same for the same module and the same initializer's argument.
    pub fn identity(&self) -> Identity {
        match &self.init {
            Some(init) => self.module.identity.initialized_with(&init.arguments),
            None => self.module.identity,
        }
    }

    /// Returns the signature of the guest's initializer. `None` if it has none.
    pub fn initializer(&self) -> Option<&Signature> {
        self.module.init.as_ref()
    }

    /// Returns typed bindings of the guest, as `wpool inspect --rust` prints them: its structs and enums with serde's
    /// derives and `wpool::Schema`, and a struct with a [`Task`](crate::Task) for each task. A task whose types Rust
    /// cannot write has a comment instead, which says why.
    ///
    /// ```no_run
    /// let guest = wpool::Guest::from_file("guest.wasm")?;
    /// std::fs::write("src/guest.rs", guest.rust_bindings())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rust_bindings(&self) -> String {
        bindings(&self.module.tasks, self.initializer())
    }

    /// Returns the same guest with an argument for its initializer: a value of the type of its only parameter, or a
    /// tuple of all of them.
    ///
    /// The initializer runs when the first pool of this guest or of its clones is built. Every task of every such pool
    /// starts from the state that it has left in memory.
    ///
    /// ```no_run
    /// # use wpool::{Guest, Pool};
    /// let guest = Guest::from_file("guest.wasm")?.initialized_with(&vec!["one".to_owned(), "two".to_owned()])?;
    /// let pool = Pool::builder(guest).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InitError`] if the guest has no initializer, or one that takes another type.
    pub fn initialized_with<A: Serialize + Schema>(&self, argument: &A) -> Result<Self, InitError> {
        let init = self.module.init.as_ref().ok_or(InitError::None)?;
        if let Err((expected, found)) = fits_parameters::<A>(init) {
            return Err(InitError::TypeMismatch { name: init.name().to_owned(), expected, found });
        }
        let arguments = postcard::to_allocvec(argument);
        arguments.map(|arguments| self.with_arguments(arguments)).map_err(|error| unfit(&error))
    }

    /// Returns the same guest with an argument for its initializer in JSON, in the form that
    /// [`Signature::arguments_from_json`] takes.
    ///
    /// # Errors
    /// [`InitError`] if the guest has no initializer, or the text does not fit it.
    pub fn initialized_from_json(&self, text: &[u8]) -> Result<Self, InitError> {
        let init = self.module.init.as_ref().ok_or(InitError::None)?;
        let arguments = init.arguments_from_json(text);
        arguments.map(|arguments| self.with_arguments(arguments)).map_err(|error| unfit(&error))
    }

    fn with_arguments(&self, arguments: Vec<u8>) -> Self {
        Self { module: Arc::clone(&self.module), init: Some(Initialization::new(arguments)) }
    }

    /// Returns the signatures of the guest's tasks, in the order of their names.
    pub fn tasks(&self) -> &[Signature] {
        &self.module.tasks
    }

    /// Returns the signature of the task of this name.
    ///
    /// # Errors
    /// [`TaskLookupError::UnknownTask`], with the most similar name.
    pub fn task(&self, name: &str) -> Result<&Signature, TaskLookupError> {
        self.function(name).map(|function| &self.module.tasks[function as usize])
    }

    /// Returns the imports of the module: for each the module that it is imported from, its name and its type.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = (&str, &str, &str)> {
        let imports = self.module.info.imports.iter();
        imports.map(|(module, name, ty)| (module.as_str(), name.as_str(), ty.as_str()))
    }

    /// Returns the size of linear memory in bytes: that of a new instance, and the largest that the module allows.
    /// `None` if the module sets no maximum.
    pub fn memory(&self) -> (u64, Option<u64>) {
        (self.module.info.memory_min, self.module.info.memory_max)
    }

    /// Returns the size of the module as it was given, in bytes.
    pub fn size(&self) -> usize {
        self.module.source.len()
    }

    /// Returns the size of the machine code without fuel counting, in bytes.
    pub fn image_size(&self) -> u64 {
        self.module.info.image_len
    }

    /// Returns the index of a task among the guest's tasks. It only compares names: a guest may ask for it under a lock.
    pub(crate) fn index_of(&self, name: &str) -> Option<u32> {
        let index = self.module.tasks.iter().position(|task| task.name() == name)?;
        Some(u32::try_from(index).expect("a guest has few tasks"))
    }

    /// Returns the index of a task among the guest's tasks. The error suggests another name.
    pub(crate) fn function(&self, name: &str) -> Result<u32, TaskLookupError> {
        self.index_of(name).ok_or_else(|| {
            let tasks: Vec<String> = self.module.tasks.iter().map(|task| task.name().to_owned()).collect();
            let nearest = nearest(name, &tasks);
            TaskLookupError::UnknownTask { name: name.to_owned(), nearest, tasks }
        })
    }

    pub(crate) fn executable(&self) -> &Executable {
        &self.module.store.executable
    }

    /// Returns the names of the exports that run the tasks, by the tasks' indices.
    pub(crate) fn task_exports(&self) -> Vec<String> {
        describe::exports(&self.module.info, wpool_abi::export::TASK_PREFIX)
    }
}

impl LoadedModule {
    /// Returns the image for these limits. The one that counts fuel is made when it is first needed.
    pub(super) fn image(&self, limits: &Limits) -> Result<Image, LoadError> {
        check_memory(self.info.memory_min, limits)?;
        if limits.fuel.is_none() {
            return Ok(self.plain.clone());
        }
        let mut counting = self.counting.lock();
        if let Some(image) = &*counting {
            return Ok(image.clone());
        }
        let key = self.store.key(self.identity, true, Variant::Plain)?;
        let (_, _, image) = self.store.plain(&self.source, &key, true)?;
        *counting = Some(image.clone());
        Ok(image)
    }
}

impl Initialization {
    /// The initializer of a module if it has no parameters.
    pub(super) fn without_parameters(init: Option<&Signature>) -> Option<Arc<Self>> {
        let init = init.filter(|init| init.parameters().next().is_none())?;
        Some(Self::new(init.arguments_from_json(b"null").ok()?))
    }

    fn new(arguments: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { arguments, snapshot: Mutex::new(None), embedded: Mutex::default() })
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("identity", &self.module.identity)
            .field("tasks", &self.module.tasks.iter().map(Signature::name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Checks that an instance with `needed` bytes of memory is within the limits.
pub(super) fn check_memory(needed: u64, limits: &Limits) -> Result<(), LoadError> {
    let limit = limits.memory_bytes();
    if needed > limit { Err(LoadError::MemoryLimit { needed, limit }) } else { Ok(()) }
}

fn unfit(error: &dyn fmt::Display) -> InitError {
    InitError::Argument { message: error.to_string() }
}
