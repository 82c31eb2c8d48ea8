//! A guest's machine code, in a file that cannot be modified.

use std::fs::File;

use rustix::fs::SealFlags;
use wasmtime::{Engine, Module};
use wpool_wire::message::Hello;

/// The seals that keep the content of a file.
const UNCHANGEABLE: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// An image from a parent of this build, whose file cannot be modified any more.
#[derive(Debug)]
pub(crate) struct SealedImage(File);

/// The reason why a file is not accepted as an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the image comes from another build")]
    OtherBuild,
    #[error("the image could be modified")]
    NotSealed,
}

impl SealedImage {
    /// Takes the image that came with `hello`.
    pub(crate) fn new(hello: &Hello, file: File) -> Result<Self, ImageError> {
        if !hello.is_ours() {
            return Err(ImageError::OtherBuild);
        }
        match rustix::fs::fcntl_get_seals(&file) {
            Ok(seals) if seals.contains(UNCHANGEABLE) => Ok(Self(file)),
            // A file that is not in memory has no seals: that is an error of the call.
            Ok(_) | Err(_) => Err(ImageError::NotSealed),
        }
    }

    /// Maps the machine code.
    pub(crate) fn map(self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: the file has to hold the unmodified output of `Module::serialize`, now and as long as the module
        // lives.
        // `new` is the only constructor. It found seals against every modification, which the kernel never removes, and
        // that the sender is a parent of this build. Such a parent sends an image only if a compiler of the same build
        // has written it, or if it comes from a cache entry that the parent has authenticated.
        unsafe { Module::deserialize_open_file(engine, self.0) }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::MemfdFlags;
    use wpool_wire::limits::Limits;

    use super::*;

    fn file(seals: SealFlags) -> File {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("image", flags).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        File::from(file)
    }

    #[test]
    fn an_image_that_could_be_modified_is_refused() {
        let hello = Hello::new(Limits::default(), Vec::new(), false);
        assert!(SealedImage::new(&hello, file(UNCHANGEABLE)).is_ok());
        for seals in [SealFlags::empty(), SealFlags::SHRINK | SealFlags::GROW, SealFlags::WRITE] {
            assert_eq!(SealedImage::new(&hello, file(seals)).unwrap_err(), ImageError::NotSealed);
        }
        let executable = File::open("/proc/self/exe").unwrap();
        assert_eq!(SealedImage::new(&hello, executable).unwrap_err(), ImageError::NotSealed);
    }

    #[test]
    fn an_image_of_another_build_is_refused() {
        let hello = Hello { build: "0.0.0".to_owned(), ..Hello::new(Limits::default(), Vec::new(), false) };
        assert_eq!(SealedImage::new(&hello, file(UNCHANGEABLE)).unwrap_err(), ImageError::OtherBuild);
    }
}
