//! The start of a guest's instances: an image, and the state that the initializer has left.

use wpool_wire::limits::Limits;

use super::guest::{Embedding, Guest, Initialization, LoadedModule, SnapshotPolicy, check_memory};
use super::image::{Image, Snapshot};
use super::image_store::{EmbeddedSnapshot, Variant};
use super::initialize;
use super::signature::Signature;
use crate::error::{BuildError, TaskError};

/// The largest snapshot that is compiled into an image, in bytes. A larger one is laid over each instance.
const MAX_EMBEDDED: u64 = 64 << 20;

/// The files that workers make instances from.
pub(crate) struct Start {
    pub(crate) image: Image,
    /// The state that is laid over each instance; `None` if an instance starts as the image has it.
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether code of the guest runs when an instance is made.
    pub(crate) has_start: bool,
}

impl Guest {
    /// Returns the files for instances under these limits. The initializer is run if it has not run yet.
    pub(crate) fn start(&self, limits: &Limits) -> Result<Start, BuildError> {
        // The snapshot of an initializer without parameters is the same in every program, so it is worth compiling; but
        // not if it depends on a seed, or may use less than others.
        let embeds = self.module.init.as_ref().is_some_and(|init| init.params().is_empty())
            && SnapshotPolicy::of(limits) == SnapshotPolicy::of(&Limits::default());
        if let Some(init) = self.init.as_ref().filter(|_| embeds)
            && let Some(EmbeddedSnapshot { image, memory }) = self.embedded(init, limits)?
        {
            check_memory(memory, limits)?;
            return Ok(Start { image, snapshot: None, has_start: false });
        }
        let image = self.module.image(limits)?;
        let snapshot = self.snapshot(&image, limits)?;
        Ok(Start { image, snapshot, has_start: self.module.info.has_start })
    }

    /// Returns the image that contains the snapshot, from the cache or made now; `None` if it cannot be made.
    fn embedded(
        &self,
        init: &Initialization,
        limits: &Limits,
    ) -> Result<Option<EmbeddedSnapshot>, BuildError> {
        // A thread that builds another pool of this guest meanwhile waits here, and finds the image made.
        let mut embedded = init.embedded.lock();
        let embedding = &mut embedded[usize::from(limits.fuel.is_some())];
        if let Embedding::NotTried = embedding {
            *embedding = self.embed_snapshot(limits)?.map_or(Embedding::Impossible, Embedding::Done);
        }
        match embedding {
            Embedding::Done(embedded) => Ok(Some(embedded.clone())),
            Embedding::NotTried | Embedding::Impossible => Ok(None),
        }
    }

    fn embed_snapshot(&self, limits: &Limits) -> Result<Option<EmbeddedSnapshot>, BuildError> {
        let LoadedModule { store, identity, source, .. } = &*self.module;
        let fuel = limits.fuel.is_some();
        let key = store.key(*identity, fuel, Variant::Embedded)?;
        if let Some(cached) = store.cached_embedded(&key) {
            return Ok(Some(cached));
        }
        let image = self.module.image(limits)?;
        let Some(snapshot) = self.snapshot(&image, limits)? else { return Ok(None) };
        if snapshot.size() > MAX_EMBEDDED {
            return Ok(None);
        }
        match store.embed(source, &key, fuel, &snapshot) {
            Ok(embedded) => Ok(Some(embedded)),
            Err(error) => {
                tracing::warn!(%error, "the initializer's state cannot be compiled in; it is laid over each instance");
                Ok(None)
            }
        }
    }

    /// Returns the snapshot of the initializer, which is run if it has not run yet; `None` for a guest without one.
    fn snapshot(&self, image: &Image, limits: &Limits) -> Result<Option<Snapshot>, BuildError> {
        let Some(signature) = &self.module.init else { return Ok(None) };
        let Some(init) = &self.init else { return Err(needs_argument(signature)) };
        check_arguments(&init.arguments, limits)?;
        // A thread that builds another pool of this guest meanwhile waits here, and finds the snapshot made.
        let mut latest = init.snapshot.lock();
        let policy = SnapshotPolicy::of(limits);
        if let Some((_, snapshot)) = latest.as_ref().filter(|(of, _)| *of == policy) {
            return Ok(Some(snapshot.clone()));
        }
        let has_start = self.module.info.has_start;
        let made = initialize::initialize(self.executable(), image, has_start, &init.arguments, limits)?;
        *latest = Some((policy, made.clone()));
        Ok(Some(made))
    }
}

fn needs_argument(signature: &Signature) -> BuildError {
    let parameters: Vec<String> = signature.parameters().map(|(name, ty)| format!("{name}: {ty}")).collect();
    BuildError::InitArgument { name: signature.name().to_owned(), parameters: parameters.join(", ") }
}

fn check_arguments(arguments: &[u8], limits: &Limits) -> Result<(), BuildError> {
    let (size, limit) = (arguments.len(), limits.arguments);
    if size <= limit as usize {
        return Ok(());
    }
    let message = format!("the initializer's arguments have {size} bytes, {limit} are allowed");
    Err(BuildError::Init(TaskError::BadArguments { message }))
}
