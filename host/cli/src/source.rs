//! Where the inputs of a map come from, and how each becomes the arguments of a call.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use wpool::{JsonError, NamedObjects, RawArguments, Signature};

use crate::args::{InputFormat, RunArgs};
use crate::exit_code::Failure;
use crate::inputs::{Item, Items, Layout};
use crate::inspect;

/// JSON is longer than what it says: base64, escapes, spaces.
const TEXT_PER_BYTE: usize = 8;

/// Where inputs come from.
pub(crate) enum Source {
    /// A regular file: it is read twice, the first time to check it whole.
    File { path: PathBuf, layout: Layout, state: FileState },
    /// Standard input, or another file that can be read only once.
    Stream { path: Option<PathBuf>, format: InputFormat },
    /// Files whose contents are the inputs.
    Contents(Vec<PathBuf>),
}

/// What tells a file from a changed one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileState(u64, u64, i64, i64);

impl FileState {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }
}

/// One input, ready for the pool: its arguments, or why it has none.
pub(crate) type Input = Result<RawArguments, String>;

/// What inputs are read by: the task's types, and the objects that they can name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) signature: &'a Signature,
    pub(crate) objects: &'a NamedObjects,
}

impl Source {
    pub(crate) fn find(args: &RunArgs) -> Result<Self, Failure> {
        let Some(path) = &args.map else { return contents(&args.map_files) };
        if path == Path::new("-") {
            return Ok(Self::Stream { path: None, format: args.input_format });
        }
        if args.output.as_deref() == Some(path) {
            return Err(Failure::input("the output would replace the input").hint("choose another --output"));
        }
        let unreadable = |error| Failure::input(format!("cannot read `{}`: {error}", path.display()));
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::input(format!("`{}` is a folder", path.display()))
                .hint("to use files as inputs: --map-files 'FOLDER/*'"));
        }
        if !metadata.is_file() {
            return Ok(Self::Stream { path: Some(path.clone()), format: args.input_format });
        }
        let state = FileState::of(&file).map_err(unreadable)?;
        let layout = layout_of(path, args.input_format, &mut BufReader::new(file)).map_err(unreadable)?;
        Ok(Self::File { path: path.clone(), layout, state })
    }

    /// Reads a regular file whole against the description, and counts its items. Nothing has run yet.
    pub(crate) fn check(&self, reading: Reading<'_>) -> Result<Option<u64>, Failure> {
        let Reading { signature, objects } = reading;
        match self {
            Self::Stream { .. } => Ok(None),
            Self::Contents(files) => {
                if signature.arguments_from_content(b"").is_none() {
                    let shown = inspect::signature(signature);
                    return Err(Failure::input(format!("`{shown}` does not take one string or bytes")).hint(
                        "--map-files gives each file's content as the one argument; use --map for others",
                    ));
                }
                Ok(Some(files.len() as u64))
            }
            Self::File { path, layout, .. } => {
                let file = File::open(path)
                    .map_err(|error| Failure::input(format!("cannot read `{}`: {error}", path.display())))?;
                let mut count = 0;
                for item in items(BufReader::new(file), *layout) {
                    let item = item.map_err(|error| Failure::input(format!("{}:{error}", path.display())))?;
                    if let Err(error) = objects.check(signature, &item.text) {
                        let unknown = error.unknown_object;
                        let message = with_place(&item, count, error);
                        let failure = Failure::input(format!("{}:{message}", path.display()));
                        return Err(if unknown { failure.hint(DECLARE) } else { failure });
                    }
                    count += 1;
                }
                Ok(Some(count))
            }
        }
    }
}

fn contents(patterns: &[String]) -> Result<Source, Failure> {
    let mut files = Vec::new();
    for pattern in patterns {
        let matches = glob::glob(pattern).map_err(|error| Failure::input(format!("`{pattern}`: {error}")))?;
        let before = files.len();
        files.extend(matches.filter_map(Result::ok).filter(|path| path.is_file()));
        if files.len() == before {
            return Err(Failure::input(format!("no file matches `{pattern}`")));
        }
    }
    Ok(Source::Contents(files))
}

/// Whether the items are an array or lines: as the user says, as the name says, as the first byte says.
fn layout_of(path: &Path, format: InputFormat, reader: &mut impl BufRead) -> io::Result<Layout> {
    Ok(match (format, path.extension().and_then(|extension| extension.to_str())) {
        (InputFormat::Json, _) | (InputFormat::Auto, Some("json")) => Layout::Array,
        (InputFormat::Jsonl, _) | (InputFormat::Auto, Some("jsonl" | "ndjson")) => Layout::Lines,
        (InputFormat::Auto, _) => {
            let first = reader.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
            if first == Some(b'[') { Layout::Array } else { Layout::Lines }
        }
    })
}

fn items<R: BufRead>(reader: R, layout: Layout) -> Items<R> {
    Items::new(reader, layout, wpool::Limits::default().arguments as usize * TEXT_PER_BYTE)
}

/// What helps if a name is unknown.
pub(crate) const DECLARE: &str = "declare shared objects with --queue NAME, --dict NAME and the like";

/// What is wrong with an item, with the place in the file and in the item.
fn with_place(item: &Item, index: u64, error: JsonError) -> String {
    let (line, column) = match (error.line, error.syntax || !error.path.is_empty()) {
        // The item as a whole does not fit.
        (_, false) => (item.line, item.column),
        (0 | 1, true) => (item.line, item.column + error.column.saturating_sub(1)),
        (line, true) => (item.line + line - 1, error.column),
    };
    let place = if error.path.is_empty() || error.path.starts_with(['.', '[']) { "" } else { "." };
    format!("{line}:{column}: inputs[{index}]{place}{}: {}", error.path, error.message)
}

/// What ended the input before its end.
#[derive(Default)]
pub(crate) struct InputEnd {
    /// The input is damaged from here on.
    pub(crate) damaged: Option<String>,
    /// The file is not the one that was checked.
    pub(crate) changed: bool,
}

/// The inputs, one after the other. What ends them early is left in `end`.
pub(crate) fn inputs<'a>(
    source: &'a Source,
    reading: Reading<'a>,
    end: &'a std::cell::RefCell<InputEnd>,
) -> Result<Box<dyn Iterator<Item = Input> + 'a>, Failure> {
    let unreadable =
        |path: &Path, error| Failure::input(format!("cannot read `{}`: {error}", path.display()));
    Ok(match source {
        Source::Contents(files) => Box::new(files.iter().map(|path| content(path, reading.signature))),
        Source::File { path, layout, state } => {
            let file = File::open(path).map_err(|error| unreadable(path, error))?;
            if FileState::of(&file).ok().as_ref() != Some(state) {
                return Err(Failure::input(format!("`{}` changed while it was read", path.display())));
            }
            let read = json_inputs(items(BufReader::new(file), *layout), reading, end);
            // Every item was checked, so a misfit now is a file that changed, or an object that cannot be made.
            Box::new(read.map_while(move |input| match input {
                Ok(input) => Some(Ok(input)),
                Err(message) => {
                    let same =
                        File::open(path).and_then(|file| FileState::of(&file)).ok().as_ref() == Some(state);
                    let mut end = end.borrow_mut();
                    if same {
                        end.damaged = Some(message);
                    } else {
                        end.changed = true;
                    }
                    None
                }
            }))
        }
        Source::Stream { path, format } => {
            let reader: Box<dyn BufRead> = match path {
                None => Box::new(io::stdin().lock()),
                Some(path) => {
                    Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(path, error))?))
                }
            };
            let mut reader = reader;
            let name = path.as_deref().unwrap_or_else(|| Path::new("-"));
            let layout = layout_of(name, *format, &mut reader).map_err(|error| unreadable(name, error))?;
            Box::new(json_inputs(items(reader, layout), reading, end))
        }
    })
}

fn json_inputs<'a, R: BufRead + 'a>(
    items: Items<R>,
    reading: Reading<'a>,
    end: &'a std::cell::RefCell<InputEnd>,
) -> impl Iterator<Item = Input> + 'a {
    let mut index = 0;
    items.map_while(move |item| match item {
        Ok(item) => {
            let input = reading.objects.arguments(reading.signature, &item.text);
            let input = input.map_err(|error| with_place(&item, index, error));
            index += 1;
            Some(input)
        }
        Err(error) => {
            end.borrow_mut().damaged = Some(error.to_string());
            None
        }
    })
}

fn content(path: &Path, signature: &Signature) -> Input {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    match signature.arguments_from_content(&bytes) {
        Some(arguments) => {
            arguments.map(RawArguments::from).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => Err("the task does not take a file's content".to_owned()),
    }
}
