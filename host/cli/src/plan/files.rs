//! Checks that no two files of a run are one: the later would overwrite the earlier.

use std::path::{Path, PathBuf};

use crate::args::RunArgs;
use crate::exit_code::Failure;
use crate::target::is_own_stream;
use crate::values::Assigned;

/// A file that a flag names.
struct Named<'a> {
    flag: &'static str,
    path: &'a Path,
    written: bool,
}

/// Checks all files that the flags name. Two flags may read one file.
pub(super) fn check_distinct(args: &RunArgs) -> Result<(), Failure> {
    let mut known: Vec<(Named<'_>, PathBuf)> = Vec::new();
    for file in named_files(args) {
        if !is_plain(file.path) {
            continue;
        }
        let real = real(file.path);
        let other = known.iter().find(|(other, path)| *path == real && (file.written || other.written));
        if let Some((other, _)) = other {
            return Err(Failure::input(format!(
                "`{}` is the file of both {} and {}",
                file.path.display(),
                other.flag,
                file.flag
            )));
        }
        known.push((file, real));
    }
    Ok(())
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
