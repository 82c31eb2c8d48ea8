//! A file that is written whole or not at all, except that a pipe, a terminal or a device is written as the bytes come.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// The temporary files of this process, which an exit without destructors has to remove.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporary files; what was written to them is lost. For an exit that runs no destructors.
pub(crate) fn remove_unfinished() {
    for path in unfinished().iter() {
        // Another thread may have just published or removed it.
        let _gone = std::fs::remove_file(path);
    }
}

/// A file that is open for writing.
pub(crate) enum Target {
    /// A temporary file in the folder of the path that it is renamed to at the end.
    Whole(Temporary, PathBuf),
    /// A file that is written as the bytes come.
    Direct(File),
}

impl Target {
    /// Opens a file for writing. An existing one stays as it is until [`finish`](Self::finish).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if let Some(own) = own_stream(&metadata) => Ok(Self::Direct(own)),
            Ok(metadata) if !metadata.is_file() => File::options().write(true).open(path).map(Self::Direct),
            // The file that a link points to is replaced, not the link.
            Ok(_) => Self::beside(std::fs::canonicalize(path)?),
            Err(_) => Self::beside(path.to_owned()),
        }
    }

    /// Opens a file to be written as the bytes come, from its beginning.
    pub(crate) fn open_direct(path: &Path) -> io::Result<File> {
        match std::fs::metadata(path).ok().and_then(|metadata| own_stream(&metadata)) {
            Some(own) => Ok(own),
            None => File::create(path),
        }
    }

    fn beside(path: PathBuf) -> io::Result<Self> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = Temporary::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
        Ok(Self::Whole(file, path))
    }

    /// Renames the file to its path when it is on the disk, so that a crash of the machine leaves the old one or the new.
    pub(crate) fn finish(self) -> io::Result<()> {
        if let Self::Whole(file, _) = &self {
            file.as_file().sync_all()?;
        }
        self.finish_soon()
    }

    /// Renames the file to its path. One of many small files is not waited for.
    pub(crate) fn finish_soon(self) -> io::Result<()> {
        match self {
            Self::Whole(file, path) => publish(file, &path),
            Self::Direct(mut file) => file.flush(),
        }
    }

    /// Renames an unfinished file to its path with `.partial`, and returns that. `None` if it was written directly.
    pub(crate) fn finish_partial(self) -> io::Result<Option<PathBuf>> {
        match self {
            Self::Whole(file, path) => {
                let mut name = path.into_os_string();
                name.push(".partial");
                let partial = PathBuf::from(name);
                publish(file, &partial).map(|()| Some(partial))
            }
            Self::Direct(mut file) => file.flush().map(|()| None),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Whole(file, _) => file.as_file().write(bytes),
            Self::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Whole(file, _) => file.as_file().flush(),
            Self::Direct(file) => file.flush(),
        }
    }
}

/// Whether a path leads to the standard output or the standard error of this process.
pub(crate) fn is_own_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| own_stream(&metadata).is_some())
}

/// Returns the standard output or error of this process if a path leads to it (`/dev/stdout`, also if that is a file).
/// It is duplicated and not opened anew, as a new descriptor would write at the beginning of the file.
fn own_stream(metadata: &Metadata) -> Option<File> {
    let is = |fd: BorrowedFd<'_>| {
        let file = File::from(fd.try_clone_to_owned()?);
        let own = file.metadata()?;
        Ok::<_, io::Error>(((own.dev(), own.ino()) == (metadata.dev(), metadata.ino())).then_some(file))
    };
    let streams = [is(io::stdout().as_fd()), is(io::stderr().as_fd())];
    streams.into_iter().filter_map(Result::ok).flatten().next()
}

/// A file under a passing name, which is removed when it is dropped.
pub(crate) struct Temporary(Option<NamedTempFile>);

impl Temporary {
    fn new_in(folder: &Path) -> io::Result<Self> {
        // Under the lock, so that an exit sees a file that was made.
        let mut unfinished = unfinished();
        // As the umask allows, like any other file of this user.
        let everybody = std::fs::Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().permissions(everybody).tempfile_in(folder)?;
        unfinished.push(std::path::absolute(file.path())?);
        Ok(Self(Some(file)))
    }

    fn file(&self) -> &NamedTempFile {
        self.0.as_ref().expect("the file is taken when its owner is gone")
    }

    fn as_file(&self) -> &File {
        self.file().as_file()
    }

    fn persist(mut self, path: &Path) -> io::Result<()> {
        let file = self.take();
        file.map_or(Ok(()), |file| file.persist(path).map(drop).map_err(|error| error.error))
    }

    fn take(&mut self) -> Option<NamedTempFile> {
        let file = self.0.take()?;
        if let Ok(path) = std::path::absolute(file.path()) {
            unfinished().retain(|other| *other != path);
        }
        Some(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Renames a finished file to its path. It keeps the permissions of a file that it replaces.
fn publish(file: Temporary, path: &Path) -> io::Result<()> {
    if let Ok(metadata) = std::fs::metadata(path) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.persist(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> Target {
        let mut target = Target::open(path).unwrap();
        target.write_all(text.as_bytes()).unwrap();
        target
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = || std::fs::read_to_string(&path).ok();
        drop(write(&path, "lost"));
        assert_eq!(read(), None);
        write(&path, "first").finish().unwrap();
        let second = write(&path, "second");
        assert_eq!(read().as_deref(), Some("first"));
        let partial = second.finish_partial().unwrap().unwrap();
        assert_eq!(
            (read().as_deref(), std::fs::read_to_string(partial).unwrap()),
            (Some("first"), "second".into())
        );
    }

    #[test]
    fn an_exit_without_destructors_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let (first, second) = (write(&folder.path().join("a"), "1"), write(&folder.path().join("b"), "2"));
        second.finish().unwrap();
        assert_eq!(count(), 2);
        // As the exit does, but for this test's file alone: others run beside it.
        let path = match &first {
            Target::Whole(file, _) => std::path::absolute(file.file().path()).unwrap(),
            Target::Direct(_) => panic!("a new file"),
        };
        assert!(unfinished().contains(&path));
        drop(first);
        assert!(!unfinished().contains(&path) && count() == 1);
    }

    #[test]
    fn links_and_devices_are_written_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "through the link").finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "through the link");
        write(Path::new("/dev/null"), "gone").finish().unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
