//! Compiled guests on disk, used only if they carry the seal of this user.
//!
//! An entry is machine code: a process that could forge one could run anything in a worker. The seal is a keyed hash
//! whose key lies outside the cache. An entry without the right seal is treated as missing.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use wpool_wire::message::{BadMessage, ModuleInfo, decode, encode};

use super::image::Image;
use crate::error::SpawnError;
use crate::process::sealed_file;

const MAGIC: &[u8; 8] = b"WPOOL\0\0\x01";
const SEAL: usize = 32;
const EXTENSION: &str = "image";
/// The largest entry, in bytes. A larger file was not written by wpool.
const MAX_ENTRY: u64 = 1 << 30;
/// The size of all entries, in bytes. Beyond it the entries that were not used for longest are removed.
const MAX_TOTAL: u64 = 2 << 30;

/// A folder of compiled guests.
///
/// The default is `$XDG_CACHE_HOME/wpool`, or `~/.cache/wpool`, with the key of its seals in `$XDG_CONFIG_HOME/wpool`,
/// or `~/.config/wpool`. Without a home folder there is no cache. If a folder cannot be written to, a warning is logged
/// and guests are compiled each time. The entries take at most 2 GiB: beyond, those not used for longest are removed.
///
/// ```
/// let folder = std::env::temp_dir().join("wpool-example");
/// let cache = wpool::Cache::at(folder.join("entries"), folder.join("key"));
/// assert!(cache.entries()?.is_empty());
/// let loader = wpool::Loader::default().cache(cache);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folders: Option<Folders>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Folders {
    entries: PathBuf,
    key: PathBuf,
}

/// One entry of a cache.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The name of the file.
    pub name: String,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The time when the entry was last used.
    pub used: SystemTime,
}

/// The content of an entry: the module, the descriptions of its tasks, and its image.
pub(super) type CachedImage = (ModuleInfo, Vec<Vec<u8>>, Image);

/// The first part of an entry, before the image.
#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    info: ModuleInfo,
    descriptions: Vec<Vec<u8>>,
}

impl Default for Cache {
    fn default() -> Self {
        let base = |variable: &str, fallback: &str| {
            let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            named.or_else(|| {
                std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(fallback))
            })
        };
        let folders = base("XDG_CACHE_HOME", ".cache").zip(base("XDG_CONFIG_HOME", ".config"));
        Self {
            folders: folders
                .map(|(cache, config)| Folders { entries: cache.join("wpool"), key: config.join("wpool") }),
        }
    }
}

impl Cache {
    /// Returns a cache in the folder `entries`, with the key of its seals in the folder `key`. Both folders are made when
    /// they are first needed.
    pub fn at(entries: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { folders: Some(Folders { entries: entries.into(), key: key.into() }) }
    }

    /// Returns no cache: every load compiles, unless this process has the same module loaded.
    pub fn none() -> Self {
        Self { folders: None }
    }

    /// Returns the folder of the entries. `None` if there is no cache.
    pub fn path(&self) -> Option<&Path> {
        self.folders.as_ref().map(|folders| folders.entries.as_path())
    }

    /// Returns the entries, last used first. A folder that does not exist has none.
    ///
    /// # Errors
    /// An `io::Error` if the folder cannot be listed.
    pub fn entries(&self) -> io::Result<Vec<CacheEntry>> {
        let Some(folders) = &self.folders else { return Ok(Vec::new()) };
        let listing = match fs::read_dir(&folders.entries) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing?,
        };
        let mut entries = Vec::new();
        for file in listing {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let Ok(metadata) = file.metadata() else { continue };
            if metadata.is_file() && Path::new(&name).extension().is_some_and(|found| found == EXTENSION) {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push(CacheEntry { name, size: metadata.len(), used });
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Removes all entries. Returns the number of them.
    ///
    /// # Errors
    /// An `io::Error` if the folder cannot be listed, or an entry cannot be removed.
    pub fn clear(&self) -> io::Result<usize> {
        let entries = self.entries()?;
        if let Some(folders) = &self.folders {
            entries.iter().try_for_each(|entry| fs::remove_file(folders.entries.join(&entry.name)))?;
        }
        Ok(entries.len())
    }

    /// Returns the entry of a key, if there is one with the right seal.
    pub(super) fn get(&self, key: &str) -> Option<CachedImage> {
        let folders = self.folders.as_ref()?;
        let path = folders.entry(key);
        let file = match open_plain(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a cached guest; it is compiled again");
                return None;
            }
        };
        let to_mark = file.try_clone();
        match read_entry(file, &folders.seal_key()?, key) {
            Ok(entry) => {
                // This time decides which entries are removed first. If it cannot be set, nothing else fails.
                let _unmarked = to_mark.and_then(|file| file.set_modified(SystemTime::now()));
                Some(entry)
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(path = %path.display(), reason, "a cached guest is not ours; it is compiled again");
                None
            }
        }
    }

    /// Writes an entry. If that fails, a warning is logged and the module is compiled again next time.
    pub(super) fn put(&self, key: &str, info: &ModuleInfo, descriptions: &[Vec<u8>], image: &Image) {
        let Some(folders) = &self.folders else { return };
        let header = Header { key: key.to_owned(), info: info.clone(), descriptions: descriptions.to_vec() };
        if let Err(error) = folders.write_entry(key, &header, image) {
            tracing::warn!(path = %folders.entries.display(), %error, "cannot cache a compiled guest");
        }
        self.evict();
    }

    /// Removes the entries that were not used for longest, until the others have at most `MAX_TOTAL` bytes.
    fn evict(&self) {
        let (Some(folders), Ok(entries)) = (&self.folders, self.entries()) else { return };
        let mut total = 0;
        for entry in entries {
            total += entry.size;
            if total > MAX_TOTAL {
                // Another process may have removed it first.
                let _gone = fs::remove_file(folders.entries.join(&entry.name));
            }
        }
    }
}

impl Folders {
    fn entry(&self, key: &str) -> PathBuf {
        self.entries.join(key).with_extension(EXTENSION)
    }

    /// Returns the user's key, which is made when it is first needed. `None` if that fails.
    fn seal_key(&self) -> Option<[u8; SEAL]> {
        match self.read_or_make_key() {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::warn!(path = %self.key.display(), %error, "no key for the cache of compiled guests");
                None
            }
        }
    }

    fn read_or_make_key(&self) -> io::Result<[u8; SEAL]> {
        let path = self.key.join("cache.key");
        if let Some(key) = read_key(&path)? {
            return Ok(key);
        }
        fs::create_dir_all(&self.key)?;
        let mut key = [0; SEAL];
        let mut filled = 0;
        while filled < SEAL {
            filled += rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.key)?;
        file.write_all(&key)?;
        // A key that is cut off by a crash of the machine would be of no use to anybody.
        file.as_file().sync_all()?;
        // Another process may have made a key meanwhile; then both use that one.
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(key),
            Err(_) => read_key(&path)?.ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn write_entry(&self, key: &str, header: &Header, image: &Image) -> io::Result<()> {
        let seal_key = self.read_or_make_key()?;
        fs::create_dir_all(&self.entries)?;
        let mut body = Vec::new();
        encode(header, &mut body);
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut sealed = len.to_le_bytes().to_vec();
        sealed.append(&mut body);
        let mut code = image.as_fd().try_clone_to_owned().map(File::from)?;
        io::Seek::rewind(&mut code)?;
        code.read_to_end(&mut sealed)?;
        let seal = blake3::keyed_hash(&seal_key, &sealed);
        let mut file = tempfile::NamedTempFile::new_in(&self.entries)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(MAGIC)?;
        file.write_all(seal.as_bytes())?;
        file.write_all(&sealed)?;
        file.persist(self.entry(key))?;
        Ok(())
    }
}

/// Opens a regular file for reading. Whoever can write to the folder may have put a link or a pipe there, and the latter
/// would be waited for.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// Returns the key in a file that only this user can read; `None` if there is no file.
fn read_key(path: &Path) -> io::Result<Option<[u8; SEAL]>> {
    let mut file = match open_plain(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("the key is open to others"));
    }
    if metadata.len() != SEAL as u64 {
        // It was cut off: what it has sealed is lost, and a new one takes its place.
        fs::remove_file(path)?;
        return Ok(None);
    }
    let mut key = [0; SEAL];
    file.read_exact(&mut key)?;
    Ok(Some(key))
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Header(#[from] BadMessage),
    #[error(transparent)]
    Image(#[from] SpawnError),
}

const CUT_OFF: EntryError = EntryError::Refused("it is cut off");

/// Reads an entry. No byte of it is used before its seal was checked.
fn read_entry(file: File, seal_key: &[u8; SEAL], key: &str) -> Result<CachedImage, EntryError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(EntryError::Refused("it is another user's"));
    }
    if metadata.len() > MAX_ENTRY {
        return Err(EntryError::Refused("it is too large"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_ENTRY).read_to_end(&mut bytes)?;
    let sealed = bytes.strip_prefix(MAGIC).ok_or(EntryError::Refused("it is of another version"))?;
    let (seal, sealed) = sealed.split_first_chunk::<SEAL>().ok_or(CUT_OFF)?;
    // Comparing these hashes takes the same time wherever they differ.
    if blake3::keyed_hash(seal_key, sealed) != blake3::Hash::from_bytes(*seal) {
        return Err(EntryError::Refused("its seal is wrong"));
    }
    let (len, rest) = sealed.split_first_chunk::<4>().ok_or(CUT_OFF)?;
    let (header, code) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(CUT_OFF)?;
    let header: Header = decode(header)?;
    if header.key != key {
        return Err(EntryError::Refused("it was made for something else"));
    }
    let image = sealed_file("wpool-image", &[code])?;
    Ok((header.info, header.descriptions, Image::new(image)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        cache: Cache,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::at(folder.path().join("entries"), folder.path().join("key"));
            Self { folder, cache }
        }

        fn put(&self, key: &str) {
            let image = Image::new(sealed_file("test", &[b"machine code"]).unwrap());
            self.cache.put(key, &ModuleInfo::default(), &[vec![1, 2]], &image);
        }

        fn entry(&self, key: &str) -> PathBuf {
            self.folder.path().join("entries").join(key).with_extension(EXTENSION)
        }
    }

    #[test]
    fn an_entry_is_found_by_its_key_until_the_cache_is_cleared() {
        let fixture = Fixture::new();
        assert!(fixture.cache.get("a").is_none());
        fixture.put("a");
        let (info, descriptions, image) = fixture.cache.get("a").unwrap();
        assert_eq!((info, descriptions), (ModuleInfo::default(), vec![vec![1, 2]]));
        let mut code = Vec::new();
        File::from(image.as_fd().try_clone_to_owned().unwrap()).read_to_end(&mut code).unwrap();
        assert_eq!(code, b"machine code");
        assert_eq!(fixture.cache.entries().unwrap().len(), 1);
        assert_eq!(fixture.cache.clear().unwrap(), 1);
        assert!(fixture.cache.get("a").is_none());
    }

    #[test]
    fn a_pipe_in_place_of_an_entry_is_not_waited_for() {
        let fixture = Fixture::new();
        fixture.put("a");
        fs::remove_file(fixture.entry("a")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(fixture.entry("a")).status().unwrap();
        assert!(made.success());
        let (done, looked) = std::sync::mpsc::channel();
        let cache = fixture.cache.clone();
        std::thread::spawn(move || done.send(cache.get("a").is_none()));
        assert_eq!(looked.recv_timeout(std::time::Duration::from_secs(30)), Ok(true));
    }

    #[test]
    fn a_key_that_was_cut_off_is_made_anew() {
        let fixture = Fixture::new();
        fixture.put("a");
        let key = fixture.folder.path().join("key/cache.key");
        File::options().write(true).open(&key).unwrap().set_len(0).unwrap();
        assert!(fixture.cache.get("a").is_none(), "what it had sealed is lost");
        fixture.put("a");
        assert!(fixture.cache.get("a").is_some());
        assert_eq!(fs::read(key).unwrap().len(), SEAL);
    }

    #[test]
    fn a_damaged_entry_is_not_used() {
        let fixture = Fixture::new();
        fixture.put("a");
        let good = fs::read(fixture.entry("a")).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(fixture.entry("a"), &bad).unwrap();
            assert!(fixture.cache.get("a").is_none(), "byte {index}");
            fs::write(fixture.entry("a"), &good[..index]).unwrap();
            assert!(fixture.cache.get("a").is_none(), "cut at {index}");
        }
        fs::write(fixture.entry("a"), &good).unwrap();
        assert!(fixture.cache.get("a").is_some());
    }

    #[test]
    fn an_entry_is_good_for_its_own_key_and_user_only() {
        let fixture = Fixture::new();
        fixture.put("a");
        fs::copy(fixture.entry("a"), fixture.entry("b")).unwrap();
        assert!(fixture.cache.get("b").is_none(), "made for another module");
        let foreign = Cache::at(fixture.folder.path().join("entries"), fixture.folder.path().join("other"));
        assert!(foreign.get("a").is_none(), "sealed by another user");
        std::os::unix::fs::symlink(fixture.entry("a"), fixture.entry("c")).unwrap();
        assert!(fixture.cache.get("c").is_none(), "a link");
        let key = fixture.folder.path().join("key/cache.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(fixture.cache.get("a").is_none(), "a key that others can read");
    }

    #[test]
    fn a_folder_that_cannot_be_made_costs_only_the_cache() {
        let fixture = Fixture::new();
        fs::write(fixture.folder.path().join("entries"), b"a file").unwrap();
        fixture.put("a");
        assert!(fixture.cache.get("a").is_none());
        assert!(Cache::none().get("a").is_none());
    }
}
