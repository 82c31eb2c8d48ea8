//! What can be typed, exactly as it is typed; nothing is looked at or opened here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Run functions that nobody trusts over many inputs, each call in a sandbox of its own
#[derive(Debug, Parser)]
#[command(name = "wpool", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Map a guest's task over inputs
    Run(Box<RunArgs>),
    /// Show a guest's tasks, their types, and what it imports
    Inspect(InspectArgs),
    /// Make a new guest package that builds
    New(NewArgs),
    /// Show the cache of compiled guests
    Cache(CacheArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,

    /// Inputs in JSON: a file, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["map_files", "call"], conflicts_with = "map_files")]
    pub(crate) map: Option<PathBuf>,

    /// Files whose contents are the inputs: each one's text or bytes is one argument
    #[arg(long, value_name = "GLOB", num_args = 1.., conflicts_with_all = [
        "queue", "dict", "list", "value", "event", "lock", "semaphore", "barrier", "shared_array", "broadcast",
    ])]
    pub(crate) map_files: Vec<String>,

    /// Call a task once, with each argument in JSON (a text may be as it is), and print its value
    #[arg(long, value_names = ["TASK", "ARGS"], num_args = 1.., allow_negative_numbers = true,
          conflicts_with_all = ["map", "map_files", "task", "resume"])]
    pub(crate) call: Vec<String>,

    /// The argument of the guest's initializer: JSON, or a file that holds it
    #[arg(long, value_name = "JSON|FILE", allow_negative_numbers = true)]
    pub(crate) init: Option<String>,

    /// How the inputs are written; auto looks at the file's name and first byte
    #[arg(long, value_enum, default_value_t = InputFormat::Auto)]
    pub(crate) input_format: InputFormat,

    /// The task to run; may be left out if the guest has only one
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,

    /// Worker processes [default: the processors that may be used]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,

    /// How long one task may run, such as 500ms, 2s or none
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub(crate) timeout: Limit<Duration>,

    /// How long one task may wait before it begins
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = parse_time)]
    pub(crate) queue_timeout: Limit<Duration>,

    /// How long the whole run may take; what has not ended by then fails
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = parse_time)]
    pub(crate) deadline: Limit<Duration>,

    /// Memory that one task may have, such as 64MiB or none
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) memory: Limit<u64>,

    /// Fuel that one task may use, about one unit per instruction
    #[arg(long, value_name = "UNITS")]
    pub(crate) fuel: Option<u64>,

    /// Size that one result may have
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_small_size)]
    pub(crate) max_result: u32,

    /// Size of one task's log; what is beyond is dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_small_size)]
    pub(crate) max_log: u32,

    /// What has an instance of its own: every task, every batch of small tasks, or every worker
    #[arg(long, value_enum, default_value_t = IsolationArg::Task)]
    pub(crate) isolation: IsolationArg,

    /// Replace a worker after so many tasks
    #[arg(long, value_name = "N")]
    pub(crate) max_tasks_per_worker: Option<u32>,

    /// How often a task runs again whose worker was ended from outside
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) retries: u8,

    /// Let tasks submit tasks of the guest, so deep below a task of the run
    #[arg(long, value_name = "DEPTH", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=i64::from(wpool::SubTasks::MAX_DEPTH)))]
    pub(crate) sub_tasks: u8,

    /// Tasks of higher priority go first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,

    /// Keep finished results in a file, and go on from there if the run was ended before its end
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "queue", "dict", "list", "value", "event", "lock", "semaphore", "barrier", "shared_array", "broadcast",
    ])]
    pub(crate) resume: Option<PathBuf>,

    /// Write results as they come instead of in the order of the inputs
    #[arg(long)]
    pub(crate) unordered: bool,

    /// Write the results to a file, whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// One array with failed results in their places, or one line per result
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,

    /// What happens when a task fails
    #[arg(long, value_enum, default_value_t = OnError::Continue)]
    pub(crate) on_error: OnError,

    /// Where the tasks' logs go: stderr, off, or a file
    #[arg(long, value_name = "WHERE", default_value = "stderr")]
    pub(crate) logs: PathBuf,

    /// Write each task's figures, and the totals, to a file in JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) objects: ObjectArgs,
}

/// Where a task takes a shared object, an input names one of these
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Shared objects")]
pub(crate) struct ObjectArgs {
    /// A queue in which so many values can wait; without a number, as many as fit in 64 MiB
    #[arg(long, value_name = "NAME[:CAPACITY]", value_parser = parse_maybe_counted)]
    pub(crate) queue: Vec<Counted>,

    /// An empty dictionary
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) dict: Vec<String>,

    /// An empty list
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) list: Vec<String>,

    /// One value, with what it is at first
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_assigned)]
    pub(crate) value: Vec<Assigned>,

    /// An event that is not set
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) event: Vec<String>,

    /// A lock
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) lock: Vec<String>,

    /// A semaphore that so many can hold
    #[arg(long, value_name = "NAME:COUNT", value_parser = parse_number)]
    pub(crate) semaphore: Vec<Counted>,

    /// A barrier that so many pass together
    #[arg(long, value_name = "NAME:PARTIES", value_parser = parse_counted)]
    pub(crate) barrier: Vec<Counted>,

    /// So many zeros in shared memory
    #[arg(long, value_name = "NAME:LENGTH", value_parser = parse_counted)]
    pub(crate) shared_array: Vec<Counted>,

    /// A file's bytes in shared memory, to be read only
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) broadcast: Vec<Assigned>,

    /// Write what comes out of a queue to a file as it fills, one value a line
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) drain: Vec<Assigned>,

    /// Write what an object holds at the end to a file in JSON
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) dump: Vec<Assigned>,
}

impl ObjectArgs {
    /// Whether tasks share anything.
    pub(crate) fn are_declared(&self) -> bool {
        let Self { queue, dict, list, value, event, lock, semaphore, barrier, .. } = self;
        let counted = [queue, semaphore, barrier].into_iter().any(|declared| !declared.is_empty());
        let named = [dict, list, event, lock].into_iter().any(|declared| !declared.is_empty());
        counted || named || !value.is_empty()
    }
}

/// A name, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned(pub(crate) String, pub(crate) String);

/// A name, and a number if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted(pub(crate) String, pub(crate) Option<u64>);

fn parse_name(text: &str) -> Result<String, String> {
    match text.contains([':', '=']) || text.is_empty() {
        true => Err("a name is not empty, and has neither : nor =".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn parse_assigned(text: &str) -> Result<Assigned, String> {
    let (name, value) = text.split_once('=').ok_or("a name and a value are written NAME=VALUE")?;
    Ok(Assigned(parse_name(name)?, value.to_owned()))
}

fn parse_maybe_counted(text: &str) -> Result<Counted, String> {
    if text.contains(':') { parse_counted(text) } else { Ok(Counted(parse_name(text)?, None)) }
}

fn parse_counted(text: &str) -> Result<Counted, String> {
    match parse_number(text)? {
        Counted(_, Some(0)) => Err("`0` is no number above zero".to_owned()),
        counted => Ok(counted),
    }
}

fn parse_number(text: &str) -> Result<Counted, String> {
    let (name, count) = text.split_once(':').ok_or("a name and a number are written NAME:NUMBER")?;
    let count = count.parse().map_err(|_| format!("`{count}` is no number"))?;
    Ok(Counted(parse_name(name)?, Some(count)))
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GuestArgs {
    /// A module (.wasm, .wat), or the folder of a Cargo package
    #[arg(value_name = "GUEST")]
    pub(crate) path: PathBuf,

    /// The target that a package is built for
    #[arg(long, value_name = "TARGET", default_value = "wasm32-unknown-unknown")]
    pub(crate) target: String,

    /// Compile the guest anew, and do not keep it
    #[arg(long)]
    pub(crate) no_cache: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,

    /// In JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewArgs {
    /// The folder to make; its last part is the package's name
    #[arg(value_name = "NAME")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CacheCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Remove all compiled guests
    Clear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    Auto,
    Json,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationArg {
    Task,
    Batch,
    Worker,
}

impl From<IsolationArg> for wpool::Isolation {
    fn from(isolation: IsolationArg) -> Self {
        match isolation {
            IsolationArg::Task => Self::Task,
            IsolationArg::Batch => Self::Batch,
            IsolationArg::Worker => Self::Worker,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    Continue,
    Stop,
}

/// A number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

fn parse_time(text: &str) -> Result<Limit<Duration>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("min", 60.0), ("h", 3600.0)];
    let seconds = with_unit(text, &units).ok_or("a time is a number with ms, s, min or h, or none")?;
    Duration::try_from_secs_f64(seconds).map(|time| Limit(Some(time))).map_err(|error| error.to_string())
}

fn parse_size(text: &str) -> Result<Limit<u64>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let (kib, mib, gib) = (1024.0, 1_048_576.0, 1_073_741_824.0);
    let units = [
        ("KiB", kib),
        ("MiB", mib),
        ("GiB", gib),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
        ("", 1.0),
    ];
    let bytes = with_unit(text, &units).ok_or("a size is a number with B, KiB, MiB or GiB, or none")?;
    if bytes > 1e15 {
        return Err("that is larger than any memory".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and below 2^53"
    )]
    Ok(Limit(Some(bytes.round() as u64)))
}

fn parse_small_size(text: &str) -> Result<u32, String> {
    match parse_size(text)?.0.map(u32::try_from) {
        Some(Ok(size)) if size <= wpool::Limits::MAX_PAYLOAD => Ok(size),
        _ => Err("at most 1GiB is possible".to_owned()),
    }
}

/// A number before one of the units; the first that fits.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_time("500ms"), Ok(Limit(Some(Duration::from_millis(500)))));
        assert_eq!(parse_time("1.5s"), Ok(Limit(Some(Duration::from_millis(1500)))));
        assert_eq!(parse_time("none"), Ok(Limit(None)));
        assert!(parse_time("5").is_err() && parse_time("-1s").is_err() && parse_time("1e308s").is_err());
        assert_eq!(parse_size("64MiB"), Ok(Limit(Some(64 << 20))));
        assert_eq!(parse_size("1 kB"), Ok(Limit(Some(1000))));
        assert_eq!(parse_size("10"), Ok(Limit(Some(10))));
        assert!(parse_size("x").is_err() && parse_size("9999999999999GiB").is_err());
        assert!(parse_small_size("2GiB").is_err());
    }

    #[test]
    fn objects_have_names_and_numbers() {
        let counted = |name: &str, count| Ok(Counted(name.to_owned(), count));
        assert_eq!(parse_maybe_counted("results:100"), counted("results", Some(100)));
        assert_eq!(parse_maybe_counted("results"), counted("results", None));
        assert!(parse_counted("results").is_err() && parse_counted("results:0").is_err());
        assert!(parse_counted("results:x").is_err() && parse_name("").is_err() && parse_name("a=b").is_err());
        let assigned = Assigned("total".to_owned(), "{\"a\": \"b=c\"}".to_owned());
        assert_eq!(parse_assigned("total={\"a\": \"b=c\"}"), Ok(assigned));
        assert!(parse_assigned("total").is_err() && parse_assigned("=1").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
