//! Compiled guests on disk. What is there is believed only if it carries this user's own seal.
//!
//! An entry is machine code, so whoever can write one could run anything in a worker. Its seal is a keyed
//! hash whose key lies outside the cache; an entry without the right one is as good as none.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Image;
use crate::process::sealed_file;
use wpool_wire::message::{ModuleInfo, decode, encode};

const MAGIC: &[u8; 8] = b"WPOOL\0\0\x01";
const SEAL: usize = 32;
const EXTENSION: &str = "image";
/// A larger entry is none of ours.
const MAX_ENTRY: u64 = 1 << 30;
/// All entries together; beyond, those go that were not used for longest.
const MAX_TOTAL: u64 = 2 << 30;

/// Where compiled guests are kept.
///
/// By default `$XDG_CACHE_HOME/wpool`, or `~/.cache/wpool`, sealed with a key in
/// `$XDG_CONFIG_HOME/wpool`, or `~/.config/wpool`. A folder that cannot be written to is a warning, and
/// guests are compiled each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folders: Option<Folders>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Folders {
    entries: PathBuf,
    key: PathBuf,
}

/// One entry, for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The name of its file.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What an entry holds before the image.
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
    /// A cache in a folder, sealed with a key in another folder.
    pub fn at(entries: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { folders: Some(Folders { entries: entries.into(), key: key.into() }) }
    }

    /// No cache: every load compiles.
    pub fn none() -> Self {
        Self { folders: None }
    }

    /// The folder of the entries; none if there is no cache.
    pub fn path(&self) -> Option<&Path> {
        self.folders.as_ref().map(|folders| folders.entries.as_path())
    }

    /// The entries, last used first.
    ///
    /// # Errors
    /// If the folder cannot be listed. One that does not exist has no entries.
    pub fn entries(&self) -> std::io::Result<Vec<CacheEntry>> {
        let Some(folders) = &self.folders else { return Ok(Vec::new()) };
        let listing = match fs::read_dir(&folders.entries) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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

    /// Removes all entries, and says how many there were.
    ///
    /// # Errors
    /// If the folder cannot be listed, or an entry cannot be removed.
    pub fn clear(&self) -> std::io::Result<usize> {
        let entries = self.entries()?;
        if let Some(folders) = &self.folders {
            entries.iter().try_for_each(|entry| fs::remove_file(folders.entries.join(&entry.name)))?;
        }
        Ok(entries.len())
    }

    /// The entry of this key, if there is one that can be believed.
    pub(super) fn get(&self, key: &str) -> Option<(ModuleInfo, Vec<Vec<u8>>, Image)> {
        let folders = self.folders.as_ref()?;
        let path = folders.entry(key);
        let found = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let file = match found {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a cached guest; it is compiled again");
                return None;
            }
        };
        match read_entry(file, &folders.seal_key()?, key) {
            Ok(entry) => {
                // The time of last use is what decides which entries go; a failure costs only that.
                let _unmarked = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(entry)
            }
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "a cached guest is not ours; it is compiled again");
                None
            }
        }
    }

    /// Keeps an image for the next time. If that is not possible the next time is slower, no more.
    pub(super) fn put(&self, key: &str, info: &ModuleInfo, descriptions: &[Vec<u8>], image: &Image) {
        let Some(folders) = &self.folders else { return };
        let header = Header { key: key.to_owned(), info: info.clone(), descriptions: descriptions.to_vec() };
        if let Err(error) = folders.write_entry(key, &header, image) {
            tracing::warn!(path = %folders.entries.display(), %error, "cannot cache a compiled guest");
        }
        self.evict();
    }

    /// Removes the entries that were not used for longest until the rest is small enough.
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

    /// This user's key, made when it is first needed.
    fn seal_key(&self) -> Option<[u8; SEAL]> {
        match self.read_or_make_key() {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::warn!(path = %self.key.display(), %error, "no key for the cache of compiled guests");
                None
            }
        }
    }

    fn read_or_make_key(&self) -> std::io::Result<[u8; SEAL]> {
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
        // Whoever comes second uses the first one's key.
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(key),
            Err(_) => read_key(&path)?.ok_or_else(|| std::io::ErrorKind::NotFound.into()),
        }
    }

    fn write_entry(&self, key: &str, header: &Header, image: &Image) -> std::io::Result<()> {
        let seal_key = self.read_or_make_key()?;
        fs::create_dir_all(&self.entries)?;
        let mut body = Vec::new();
        encode(header, &mut body);
        let len = u32::try_from(body.len()).map_err(std::io::Error::other)?;
        let mut sealed = len.to_le_bytes().to_vec();
        sealed.append(&mut body);
        let mut code = image.as_fd().try_clone_to_owned().map(File::from)?;
        std::io::Seek::rewind(&mut code)?;
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

/// The key in a file that nobody else can read; none if there is no such file.
fn read_key(path: &Path) -> std::io::Result<Option<[u8; SEAL]>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(std::io::Error::other("the key is open to others"));
    }
    let mut key = [0; SEAL];
    file.read_exact(&mut key)?;
    Ok(Some(key))
}

/// Reads an entry whole, and opens it only if its seal is right.
fn read_entry(
    file: File,
    seal_key: &[u8; SEAL],
    key: &str,
) -> Result<(ModuleInfo, Vec<Vec<u8>>, Image), String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err("it is another user's".to_owned());
    }
    if metadata.len() > MAX_ENTRY {
        return Err("it is too large".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_ENTRY).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let sealed = bytes.strip_prefix(MAGIC).ok_or("it is of another version")?;
    let (seal, sealed) = sealed.split_first_chunk::<SEAL>().ok_or("it is cut off")?;
    // Comparing these hashes takes the same time wherever they differ.
    if blake3::keyed_hash(seal_key, sealed) != blake3::Hash::from_bytes(*seal) {
        return Err("its seal is wrong".to_owned());
    }
    let (len, rest) = sealed.split_first_chunk::<4>().ok_or("it is cut off")?;
    let (header, code) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("it is cut off")?;
    let header: Header = decode(header).map_err(|error| error.to_string())?;
    if header.key != key {
        return Err("it was made for something else".to_owned());
    }
    let image = sealed_file("wpool-image", &[code]).map_err(|error| error.to_string())?;
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
    fn what_was_put_is_there() {
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
    fn any_damage_makes_an_entry_none() {
        let fixture = Fixture::new();
        fixture.put("a");
        let good = fs::read(fixture.entry("a")).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(fixture.entry("a"), &bad).unwrap();
            assert!(fixture.cache.get("a").is_none(), "byte {place}");
            fs::write(fixture.entry("a"), &good[..place]).unwrap();
            assert!(fixture.cache.get("a").is_none(), "cut at {place}");
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
