//! The source of a map's inputs, and how each of them becomes the arguments of a call.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wpool::{JsonError, RawArguments, Signature};

use crate::csv_items::CsvItems;
use crate::exit_code::Failure;
use crate::feed::{Input, Inputs};
use crate::guest;
use crate::items::{Item, ItemError, Items, Layout};
use crate::reading::Reading;
use crate::words::Words;

/// JSON text is longer than the value that it stands for: base64, escapes, spaces.
const TEXT_PER_BYTE: usize = 8;

/// The hint of an error that names an unknown object.
pub(crate) const DECLARE: &str = "declare shared objects with --queue NAME, --dict NAME and the like";

/// Where inputs come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A regular file. It is read twice, the first time to check it whole.
    File { path: PathBuf, layout: Layout, state: FileState },
    /// Standard input, or another file that can be read only once. Without a layout, its first byte decides.
    Stream { path: Option<PathBuf>, layout: Option<Layout> },
    /// Files whose contents are the inputs, each after the file's path if that is wanted.
    Contents { files: Vec<PathBuf>, with_name: bool },
    /// Words of the command line.
    Words(Words),
}

/// Inode, length and time of change: a file that was changed has another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState(u64, u64, i64, i64);

impl Source {
    /// Standard input.
    pub(crate) fn stdin(layout: Option<Layout>) -> Self {
        Self::Stream { path: None, layout }
    }

    /// A file with inputs in JSON. Without a layout, the file's name and first byte decide.
    pub(crate) fn json_file(path: &Path, layout: Option<Layout>) -> Result<Self, Failure> {
        let unreadable = |error| Failure::cannot_read(path, error);
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::input(format!("`{}` is a folder", path.display()))
                .hint("to use files as inputs: --map-files 'FOLDER/*'"));
        }
        // A pipe is opened once, when it is read: a writer that finds its reader gone loses what it has written.
        if !metadata.is_file() {
            return Ok(Self::Stream { path: Some(path.to_owned()), layout });
        }
        let file = File::open(path).map_err(unreadable)?;
        let state = FileState::of(&file).map_err(unreadable)?;
        let (layout, _) = layout_of(path, layout, &mut BufReader::new(file)).map_err(unreadable)?;
        Ok(Self::File { path: path.to_owned(), layout, state })
    }

    /// The files that match the patterns, each pattern at least one.
    pub(crate) fn contents(patterns: &[String], with_name: bool) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for pattern in patterns {
            // A shell has replaced its own patterns by names, which may look like patterns.
            if Path::new(pattern).is_file() {
                files.push(pattern.trim_start_matches("./").into());
                continue;
            }
            let matches =
                glob::glob(pattern).map_err(|error| Failure::input(format!("`{pattern}`: {error}")))?;
            let before = files.len();
            for path in matches {
                let path = path.map_err(|error| {
                    let folder = error.path().to_owned();
                    Failure::cannot_read(&folder, error.into())
                })?;
                files.extend(path.is_file().then_some(path));
            }
            if files.len() == before {
                let failure = Failure::input(format!("no file matches `{pattern}`"));
                return Err(match Path::new(pattern).is_dir() {
                    true => failure.hint(format!("it is a folder; its files are '{pattern}/*'")),
                    false => failure,
                });
            }
        }
        Ok(Self::Contents { files, with_name })
    }

    /// Checks the inputs as far as that is possible before a task runs: a regular file whole, a stream not at all.
    /// Returns their number, `None` for a stream.
    pub(crate) fn check(&self, reading: &Reading) -> Result<Option<u64>, Failure> {
        match self {
            Self::Stream { .. } => Ok(None),
            Self::Contents { files, with_name } => {
                takes_content(&reading.signature, *with_name).map(|()| Some(files.len() as u64))
            }
            Self::Words(words) => check_words(words, reading).map(|()| Some(words.count())),
            Self::File { path, layout, .. } => check_file(path, *layout, reading).map(Some),
        }
    }

    /// The files that are read.
    pub(crate) fn files(&self) -> Vec<&Path> {
        match self {
            Self::File { path, .. } | Self::Stream { path: Some(path), .. } => vec![path],
            Self::Contents { files, .. } => files.iter().map(PathBuf::as_path).collect(),
            Self::Stream { path: None, .. } | Self::Words(_) => Vec::new(),
        }
    }

    /// The name of an input; `None` if it has none but its index.
    pub(crate) fn input_name(&self, index: u64) -> Option<String> {
        match self {
            Self::File { .. } | Self::Stream { .. } => None,
            Self::Contents { files, .. } => {
                let file = files.get(usize::try_from(index).ok()?)?;
                Some(file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned())
            }
            Self::Words(words) => Some(words.input(index).join("_")),
        }
    }

    /// The inputs, for a person to read.
    pub(crate) fn shown(&self, total: Option<u64>) -> String {
        let count = total.map_or_else(|| "not counted,".to_owned(), |total| total.to_string());
        match self {
            Self::File { path, .. } => format!("{count} in `{}`, all checked", path.display()),
            Self::Stream { path: Some(path), .. } => format!("{count} in `{}`, not read", path.display()),
            Self::Stream { path: None, .. } => format!("{count} in standard input, not read"),
            Self::Contents { .. } => format!("{count} files"),
            Self::Words(_) => format!("{count} on the command line, all checked"),
        }
    }

    /// Opens the inputs. Only the thread that reads them calls this: it may have to wait.
    pub(crate) fn open(self, reading: Reading) -> Result<Inputs, Failure> {
        Ok(match self {
            Self::Contents { files, with_name } => {
                Box::new(files.into_iter().map(move |path| Ok(content(&path, &reading, with_name))))
            }
            Self::Words(words) => Box::new((0..words.count()).map(move |index| {
                let text = words.as_json(index, &reading.signature);
                let arguments = reading.objects.arguments(&reading.signature, text.as_bytes());
                Ok(arguments.map_err(|error| error.to_string()))
            })),
            Self::File { path, layout, state } => {
                let file = File::open(&path).map_err(|error| Failure::cannot_read(&path, error))?;
                if FileState::of(&file).ok() != Some(state) {
                    return Err(changed(&path));
                }
                let inputs =
                    json_inputs(items(BufReader::new(file), layout, &reading), reading, path.clone());
                let name = path.clone();
                let end = std::iter::once_with(move || (!state.is_of(&name)).then(|| Err(changed(&name))));
                Box::new(inputs.map(move |input| still_fits(input, &path, state)).chain(end.flatten()))
            }
            Self::Stream { path, layout } => {
                let (stream, layout) = open_stream(path.as_deref(), layout)?;
                let name = path.unwrap_or_else(|| "standard input".into());
                Box::new(json_inputs(items(stream, layout, &reading), reading, name))
            }
        })
    }
}

impl FileState {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }

    fn is_of(self, path: &Path) -> bool {
        File::open(path).and_then(|file| Self::of(&file)).is_ok_and(|now| now == self)
    }
}

fn changed(path: &Path) -> Failure {
    Failure::input(format!("`{}` changed while it was read", path.display()))
}

/// Checks that the task takes a file's content as its one argument, or its path and its content.
fn takes_content(signature: &Signature, with_name: bool) -> Result<(), Failure> {
    let types: Vec<String> = signature.parameters().map(|(_, ty)| ty).collect();
    let named = matches!(types.as_slice(), [name, content] if name == "string" && is_content(content));
    if if with_name { named } else { signature.arguments_from_content(b"").is_some() } {
        return Ok(());
    }
    let shown = guest::signature(signature);
    if with_name {
        return Err(Failure::input(format!("`{shown}` does not take a string, and a string or bytes"))
            .hint("--with-name gives the task two arguments: the file's path, and its content"));
    }
    Err(Failure::input(format!("`{shown}` does not take one string or bytes"))
        .hint("--map-files gives each file's content as the one argument; use --map for others"))
}

fn is_content(ty: &str) -> bool {
    ty == "string" || ty == "bytes"
}

fn check_words(words: &Words, reading: &Reading) -> Result<(), Failure> {
    words.check(&reading.signature)?;
    for index in 0..words.count() {
        let text = words.as_json(index, &reading.signature);
        if let Err(error) = reading.objects.check(&reading.signature, text.as_bytes()) {
            let shown = words.input(index).join(" ");
            let failure = Failure::input(format!("`{shown}` does not fit: {error}"));
            return Err(match words.input(index).iter().any(|word| word.starts_with("--")) {
                _ if error.unknown_object => failure.hint(DECLARE),
                true => failure.hint("flags go before `:::`"),
                false => failure,
            });
        }
    }
    Ok(())
}

/// Checks every item of a file against the task's types. Returns the number of items.
fn check_file(path: &Path, layout: Layout, reading: &Reading) -> Result<u64, Failure> {
    let file = File::open(path).map_err(|error| Failure::cannot_read(path, error))?;
    let mut count = 0;
    for item in items(BufReader::new(file), layout, reading) {
        let item = item.map_err(|error| error.in_file(path))?;
        if let Err(error) = reading.objects.check(&reading.signature, &item.text) {
            let unknown = error.unknown_object;
            let failure = Failure::input(format!("{}:{}", path.display(), misfit(&item, count, error)));
            return Err(if unknown { failure.hint(DECLARE) } else { failure });
        }
        count += 1;
    }
    Ok(count)
}

fn open_stream(path: Option<&Path>, layout: Option<Layout>) -> Result<(Box<dyn BufRead>, Layout), Failure> {
    let name = path.unwrap_or_else(|| Path::new("-"));
    let open = || {
        let mut reader: Box<dyn BufRead> = match path {
            None => Box::new(io::stdin().lock()),
            Some(path) => Box::new(BufReader::new(File::open(path)?)),
        };
        let (layout, space) = layout_of(name, layout, &mut reader)?;
        Ok((Box::new(io::Cursor::new(space).chain(reader)) as Box<dyn BufRead>, layout))
    };
    open().map_err(|error| match path {
        Some(path) => Failure::cannot_read(path, error),
        None => Failure::input("cannot read standard input").because(error),
    })
}

/// Returns the layout that the user names, else that of the file's name, else that of the first byte. White space before
/// that byte is returned, too: it was read.
fn layout_of(path: &Path, named: Option<Layout>, reader: &mut impl BufRead) -> io::Result<(Layout, Vec<u8>)> {
    let mut space = Vec::new();
    let layout = match (named, path.extension().and_then(|extension| extension.to_str())) {
        (Some(layout), _) => layout,
        (None, Some("json")) => Layout::Array,
        (None, Some("jsonl" | "ndjson")) => Layout::Lines,
        (None, Some("csv")) => Layout::Csv,
        (None, _) => match first_byte(reader, &mut space)? {
            Some(b'[') => Layout::Array,
            _ => Layout::Lines,
        },
    };
    Ok((layout, space))
}

/// Returns the first byte that is no white space, and moves what is before it to `space`.
fn first_byte(reader: &mut impl BufRead, space: &mut Vec<u8>) -> io::Result<Option<u8>> {
    /// A source with more of it needs a layout that is named.
    const MAX_SPACE: usize = 1 << 20;
    while space.len() < MAX_SPACE {
        let arrived = reader.fill_buf()?;
        let first = arrived.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        if first.is_some() || arrived.is_empty() {
            return Ok(first);
        }
        space.extend_from_slice(arrived);
        let len = arrived.len();
        reader.consume(len);
    }
    Ok(None)
}

/// Returns the items, of which each is JSON.
fn items<R: BufRead + 'static>(
    reader: R,
    layout: Layout,
    reading: &Reading,
) -> Box<dyn Iterator<Item = Result<Item, ItemError>>> {
    match layout {
        Layout::Csv => Box::new(CsvItems::new(reader, reading.clone())),
        layout => {
            Box::new(Items::new(reader, layout, wpool::Limits::default().arguments as usize * TEXT_PER_BYTE))
        }
    }
}

fn json_inputs(
    items: impl Iterator<Item = Result<Item, ItemError>>,
    Reading { signature, objects }: Reading,
    name: PathBuf,
) -> impl Iterator<Item = Result<Input, Failure>> {
    (0..).zip(items).map(move |(index, item)| {
        let item = item.map_err(|error| error.in_file(&name))?;
        let input = objects.arguments(&signature, &item.text);
        Ok(input.map_err(|error| misfit(&item, index, error)))
    })
}

/// Every item was checked, so one that does not fit now ends the inputs: the file has changed, or an object that the
/// item names cannot be made.
fn still_fits(input: Result<Input, Failure>, path: &Path, state: FileState) -> Result<Input, Failure> {
    match input {
        Ok(Ok(arguments)) => Ok(Ok(arguments)),
        _ if !state.is_of(path) => Err(changed(path)),
        Ok(Err(message)) => Err(Failure::input(format!("{}:{message}", path.display()))),
        Err(failure) => Err(failure),
    }
}

fn content(path: &Path, Reading { signature, objects }: &Reading, with_name: bool) -> Input {
    let bytes = read_content(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    if with_name {
        let is_bytes = signature.parameters().last().is_some_and(|(_, ty)| ty == "bytes");
        let content = match String::from_utf8(bytes) {
            Ok(text) if !is_bytes => text,
            Err(error) if !is_bytes => {
                return Err(format!("{}: expected text in UTF-8: {}", path.display(), error.utf8_error()));
            }
            Ok(text) => BASE64_STANDARD.encode(text),
            Err(error) => BASE64_STANDARD.encode(error.as_bytes()),
        };
        let text = serde_json::json!([path.to_string_lossy(), content]).to_string();
        let arguments = objects.arguments(signature, text.as_bytes());
        return arguments.map_err(|error| format!("{}: {error}", path.display()));
    }
    match signature.arguments_from_content(&bytes) {
        Some(arguments) => {
            arguments.map(RawArguments::from).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => Err("the task does not take a file's content".to_owned()),
    }
}

/// Reads a file, unless it is larger than the arguments of a task may be: a sparse one may be of any size.
fn read_content(path: &Path) -> io::Result<Vec<u8>> {
    let most = u64::from(wpool::Limits::default().arguments);
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("it has more than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Returns why an item does not fit, with its line and column in the file and the path within the item.
fn misfit(item: &Item, index: u64, error: JsonError) -> String {
    let (line, column) = match (error.line, error.syntax || !error.path.is_empty()) {
        // The item as a whole does not fit, or is not JSON in the file.
        _ if !item.is_source => (item.line, item.column),
        (_, false) => (item.line, item.column),
        (0 | 1, true) => (item.line, item.column + error.column.saturating_sub(1)),
        (line, true) => (item.line + line - 1, error.column),
    };
    let dot = if error.path.is_empty() || error.path.starts_with(['.', '[']) { "" } else { "." };
    format!("{line}:{column}: inputs[{index}]{dot}{}: {}", error.path, error.message)
}
