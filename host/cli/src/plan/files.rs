//! Checks that no two files of a run are one: the later would overwrite the earlier.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::args::RunArgs;
use crate::exit_code::Failure;
use crate::source::Source;
use crate::target::is_own_stream;
use crate::values::Assigned;

/// A file that a flag names.
struct Named<'a> {
    flag: &'static str,
    path: &'a Path,
    written: bool,
}

/// Checks all files that the flags name, and those of the inputs. Two flags may read one file.
pub(super) fn check_distinct(args: &RunArgs, inputs: Option<&Source>) -> Result<(), Failure> {
    let mut known: HashMap<Identity, Named<'_>> = HashMap::new();
    let contents = inputs.filter(|_| !args.map_files.is_empty()).map(Source::files).unwrap_or_default();
    let contents = contents.into_iter().map(|path| Named { flag: "--map-files", path, written: false });
    for file in named_files(args).into_iter().chain(contents) {
        if !is_plain(file.path) {
            continue;
        }
        let identity = Identity::of(file.path);
        match known.get(&identity) {
            Some(other) if file.written || other.written => {
                return Err(Failure::input(format!(
                    "`{}` is the file of both {} and {}",
                    file.path.display(),
                    other.flag,
                    file.flag
                )));
            }
            _ => drop(known.insert(identity, file)),
        }
    }
    Ok(())
}

/// Checks that no file that the flags name is one of those that `--results` writes, whose names `is_result` knows.
pub(crate) fn check_results(
    folder: &Path,
    files: &[(&'static str, &Path)],
    is_result: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let Ok(folder) = std::fs::canonicalize(folder) else { return Ok(()) };
    for (flag, path) in files {
        let path = real(path);
        let name = path.file_name().and_then(|name| name.to_str());
        if path.parent() == Some(&folder) && name.is_some_and(&is_result) {
            let message =
                format!("a result would be written to `{}`, which is a file of {flag}", path.display());
            return Err(Failure::input(message).hint("name another folder with --results"));
        }
    }
    Ok(())
}

/// The identity of a file, by which two paths are one: the inode of a file that is there, or the path of one that is not.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Inode(u64, u64),
    Path(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::Inode(metadata.dev(), metadata.ino()),
            Err(_) => Self::Path(real(path)),
        }
    }
}

fn named_files(args: &RunArgs) -> Vec<Named<'_>> {
    fn each<'a>(flag: &'static str, written: bool, files: &'a [Assigned]) -> impl Iterator<Item = Named<'a>> {
        files.iter().map(move |Assigned(_, path)| Named { flag, path: Path::new(path), written })
    }
    fn one<'a>(flag: &'static str, written: bool, path: Option<&'a PathBuf>) -> Option<Named<'a>> {
        path.map(|path| Named { flag, path, written })
    }
    // Where logs go, and what the initializer gets, need not be a file.
    let logs = Some(&args.logs).filter(|path| *path != Path::new("stderr") && *path != Path::new("off"));
    let init = args.init.as_deref().map(Path::new).filter(|path| path.is_file());
    one("--map", false, args.map.as_ref())
        .into_iter()
        .chain(init.map(|path| Named { flag: "--init", path, written: false }))
        .chain([Named { flag: "GUEST", path: &args.guest.path, written: false }])
        .chain(one("--logs", true, logs))
        .chain(each("--broadcast", false, &args.objects.broadcast))
        .chain(one("--output", true, args.output.as_ref()))
        .chain(one("--report", true, args.report.as_ref()))
        .chain(one("--resume", true, args.resume.as_ref()))
        .chain(each("--drain", true, &args.objects.drain))
        .chain(each("--dump", true, &args.objects.dump))
        .collect()
}

/// Whether a path leads to a regular file, or to none yet. Only such a file can be overwritten.
fn is_plain(path: &Path) -> bool {
    path != Path::new("-")
        && !is_own_stream(path)
        && std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Resolves the links of a path, whether its file exists or not.
fn real(path: &Path) -> PathBuf {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let beside = || Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}
