//! Reads a guest's file: only a regular file, up to a limit, with a name for anything that is not a module.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::LoadError;

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |error| LoadError::read(path, error);
    // Without this flag, opening a pipe waits until another process writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if let Some(what) = other_kind(metadata.file_type()) {
        return Err(LoadError::NotAFile { path: path.to_owned(), what });
    }
    if metadata.len() > limit {
        return Err(LoadError::TooLarge { size: metadata.len(), limit });
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read. One byte above the limit makes `check` refuse it.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Returns the name of a kind of file; `None` for a regular file.
fn other_kind(kind: std::fs::FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Checks the size of a module and its first bytes. The compiler checks the rest.
pub(super) fn check(bytes: &[u8], limit: u64) -> Result<(), LoadError> {
    let size = bytes.len() as u64;
    if size > limit {
        return Err(LoadError::TooLarge { size, limit });
    }
    match other_format(bytes) {
        None => Ok(()),
        Some(what) => Err(LoadError::NotAModule { what }),
    }
}

/// Returns the name of the format that the first bytes are of; `None` for a module or its text form.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    /// The byte of an ELF header that names the system, and what wasmtime writes there.
    const ELF_SYSTEM: usize = 7;
    const WASMTIME: u8 = 200;
    match bytes {
        [] => Some("an empty file"),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => None,
        [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Some("a component; wpool takes core modules"),
        [0, b'a', b's', b'm', _, _, _, _, ..] => Some("WebAssembly of an unknown version"),
        [0, b'a', b's', b'm', ..] => Some("the beginning of a module, cut off"),
        [0x7f, b'E', b'L', b'F', ..] if bytes.get(ELF_SYSTEM) == Some(&WASMTIME) => {
            Some("a compiled image; wpool compiles modules itself")
        }
        [0x7f, b'E', b'L', b'F', ..] => Some("an ELF program or library"),
        _ => match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            // `(module …)`, or a comment before it.
            Some(b'(' | b';') => None,
            _ => Some("something else"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_named() {
        let elf = |system: u8| [0x7f, b'E', b'L', b'F', 2, 1, 1, system];
        for (bytes, expected) in [
            (&b""[..], Some("an empty file")),
            (b"\0asm\x01\0\0\0", None),
            (b"\0asm\x0d\0\x01\0", Some("a component; wpool takes core modules")),
            (b"\0asm\x02\0\0\0", Some("WebAssembly of an unknown version")),
            (b"\0asm\x01", Some("the beginning of a module, cut off")),
            (&elf(0), Some("an ELF program or library")),
            (&elf(200), Some("a compiled image; wpool compiles modules itself")),
            (b"  (module)", None),
            (b";; text\n(module)", None),
            (b"{\"json\": 1}", Some("something else")),
        ] {
            assert_eq!(other_format(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), 10), Err(LoadError::NotAFile { what: "a directory", .. })));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&pipe, 10), Err(LoadError::NotAFile { what: "a pipe", .. })));
        assert!(matches!(
            read(Path::new("/dev/zero"), 10),
            Err(LoadError::NotAFile { what: "a device", .. })
        ));
        let file = folder.path().join("file");
        std::fs::write(&file, [0; 11]).unwrap();
        assert!(matches!(read(&file, 10), Err(LoadError::TooLarge { size: 11, limit: 10 })));
        assert!(matches!(read(&folder.path().join("none"), 10), Err(LoadError::Read { .. })));
    }
}
