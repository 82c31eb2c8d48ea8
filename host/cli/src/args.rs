//! The command line exactly as it was typed; nothing is checked against the system or opened here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::values::{
    Assigned, Counted, Limit, parse_assigned, parse_counted, parse_maybe_counted, parse_name, parse_number,
    parse_size, parse_small_size, parse_time,
};

/// Run untrusted functions over many inputs, each call in a sandbox of its own
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
    #[arg(long, value_names = ["TASK", "ARGS"], num_args = 1.., allow_negative_numbers = true, conflicts_with_all = [
        "map", "map_files", "task", "resume", "input_format", "unordered", "output", "format", "on_error", "report",
    ])]
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

    /// How long the whole run may take; tasks that have not ended by then fail
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

    /// Size of one task's log; the rest is dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_small_size)]
    pub(crate) max_log: u32,

    /// The scope of an instance: every task, every batch of small tasks, or every worker has its own
    #[arg(long, value_enum, default_value_t = IsolationArg::Task)]
    pub(crate) isolation: IsolationArg,

    /// Replace a worker after this number of tasks
    #[arg(long, value_name = "N")]
    pub(crate) max_tasks_per_worker: Option<u32>,

    /// How often a task is retried if its worker was ended from outside
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) retries: u8,

    /// Let tasks submit tasks of the guest, nested to this depth below a task of the run
    #[arg(long, value_name = "DEPTH", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=i64::from(wpool::SubTasks::MAX_DEPTH)))]
    pub(crate) sub_tasks: u8,

    /// Draw the tasks' random numbers from this seed: the same in every run
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    pub(crate) seed: Option<u64>,

    /// Deny tasks the clocks with sleeping, or random numbers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub(crate) deny: Vec<DenyArg>,

    /// Let tasks read the name and the process id of their worker, and of this command
    #[arg(long)]
    pub(crate) worker_info: bool,

    /// Tasks of higher priority go first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,

    /// Keep finished results in a file, and resume from them if the run was ended early
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

    /// Whether the run continues when a task fails
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

/// The shared objects of a run. Where a task takes one, an input names it.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Shared objects")]
pub(crate) struct ObjectArgs {
    /// A queue of this capacity; without a number, of as many values as fit in 64 MiB
    #[arg(long, value_name = "NAME[:CAPACITY]", value_parser = parse_maybe_counted)]
    pub(crate) queue: Vec<Counted>,

    /// An empty dictionary
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) dict: Vec<String>,

    /// An empty list
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) list: Vec<String>,

    /// One value, with its initial content
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_assigned)]
    pub(crate) value: Vec<Assigned>,

    /// An event that is not set
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) event: Vec<String>,

    /// A lock
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) lock: Vec<String>,

    /// A semaphore with this count
    #[arg(long, value_name = "NAME:COUNT", value_parser = parse_number)]
    pub(crate) semaphore: Vec<Counted>,

    /// A barrier for this number of parties
    #[arg(long, value_name = "NAME:PARTIES", value_parser = parse_counted)]
    pub(crate) barrier: Vec<Counted>,

    /// An array of this length in shared memory, filled with zeros
    #[arg(long, value_name = "NAME:LENGTH", value_parser = parse_counted)]
    pub(crate) shared_array: Vec<Counted>,

    /// A file's bytes in shared memory, read-only
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) broadcast: Vec<Assigned>,

    /// Write a queue's values to a file as they come, one per line
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) drain: Vec<Assigned>,

    /// Write an object's content at the end to a file in JSON
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_assigned)]
    pub(crate) dump: Vec<Assigned>,
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

    /// Print JSON, with a JSON Schema of each task's input, result and error
    #[arg(long)]
    pub(crate) json: bool,

    /// Print typed bindings for an embedding program in Rust
    #[arg(long, conflicts_with = "json")]
    pub(crate) rust: bool,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DenyArg {
    Clock,
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    Continue,
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
