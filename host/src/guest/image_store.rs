//! Where images come from: the cache, or a compilation.

use std::sync::LazyLock;

use wpool_wire::BUILD;
use wpool_wire::limits::CompileLimits;
use wpool_wire::message::ModuleInfo;

use super::cache::{Cache, CachedImage};
use super::compile::{self, Job};
use super::describe;
use super::identity::Identity;
use super::image::{Image, Snapshot};
use crate::error::LoadError;
use crate::process::Executable;

/// Makes images with one program, under one set of limits, and keeps them in one cache.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageStore {
    pub(super) executable: Executable,
    pub(super) limits: CompileLimits,
    pub(super) cache: Cache,
}

/// The state that the instances of an image start from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Variant {
    /// The data of the module.
    Plain,
    /// The snapshot of the initializer, which is a part of the image.
    Embedded,
}

/// An image that contains the snapshot of the initializer.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedSnapshot {
    pub(super) image: Image,
    /// The memory that an instance starts with, in bytes.
    pub(super) memory: u64,
}

impl ImageStore {
    /// Returns the cache key of an image. It names everything that the machine code depends on: the module and its
    /// variant, this build, the program that compiles, the processor, and the engine's settings.
    pub(super) fn key(&self, identity: Identity, fuel: bool, variant: Variant) -> Result<String, LoadError> {
        let program = self.executable.fingerprint()?;
        let features = processor_features();
        let start = match variant {
            Variant::Plain => "as it is",
            Variant::Embedded => "initialized",
        };
        let text = format!("{identity} {BUILD} {program} {features} fuel={fuel} {start}");
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// Returns the image of a module with the descriptions of its tasks, from the cache or made now.
    pub(super) fn plain(&self, source: &[u8], key: &str, fuel: bool) -> Result<CachedImage, LoadError> {
        if let Some(cached) = self.cache.get(key) {
            return Ok(cached);
        }
        let (info, image) = self.compile(Job { source, fuel, snapshot: None })?;
        let descriptions = describe::describe(&self.executable, &info, &image, fuel)?;
        self.cache.put(key, &info, &descriptions, &image);
        Ok((info, descriptions, image))
    }

    /// Returns an embedded snapshot from the cache.
    pub(super) fn cached_embedded(&self, key: &str) -> Option<EmbeddedSnapshot> {
        let (info, _, image) = self.cache.get(key)?;
        Some(EmbeddedSnapshot { image, memory: info.memory_min })
    }

    /// Compiles a module together with a snapshot.
    pub(super) fn embed(
        &self,
        source: &[u8],
        key: &str,
        fuel: bool,
        snapshot: &Snapshot,
    ) -> Result<EmbeddedSnapshot, LoadError> {
        let (info, image) = self.compile(Job { source, fuel, snapshot: Some(snapshot) })?;
        self.cache.put(key, &info, &[], &image);
        Ok(EmbeddedSnapshot { image, memory: info.memory_min })
    }

    fn compile(&self, job: Job<'_>) -> Result<(ModuleInfo, Image), LoadError> {
        compile::compile(&self.executable, &self.limits, job)
    }
}

/// Returns a hash of the processor's features as the kernel lists them: images use every one that there is.
fn processor_features() -> &'static str {
    static FEATURES: LazyLock<String> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        blake3::hash(line.unwrap_or_default().as_bytes()).to_hex().to_string()
    });
    &FEATURES
}
