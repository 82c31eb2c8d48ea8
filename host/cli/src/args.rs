//! The command line exactly as it was typed; nothing is checked against the system or opened here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::values::{
    Assigned, Counted, Halt, Limit, parse_assigned, parse_counted, parse_halt, parse_maybe_counted,
    parse_name, parse_number, parse_size, parse_small_size, parse_time,
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
    /// Map a guest's task over inputs, or call it once
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show a guest's tasks, their types, and what it imports
    Inspect(InspectArgs),
    /// Make a new guest package that builds
    New(NewArgs),
    /// Show the cache of compiled guests
    Cache(CacheArgs),
    /// Print a script that completes this command's flags in a shell
    Completions(CompletionArgs),
    /// Print the manual page
    Man,
}

/// The examples at the end of `wpool run --help`.
const RUN_EXAMPLES: &str = "\
Examples:
  wpool run guest.wasm --map inputs.json                       one task per item of an array, or per line
  wpool run guest.wasm ::: 1 2 3                               inputs on the command line
  wpool run guest.wasm --task scale ::: 1 2 ::: 0.5 1.5        each of the first with each of the second
  seq 1000000 | wpool run guest.wasm --map - --format jsonl | head
  wpool run guest.wasm --map people.csv --output out.json      a header row names the fields
  wpool run thumbnail.wasm --map-files 'photos/*' --results thumbnails
  wpool run guest.wasm --call add 1 2                          one call, whose value is printed
  wpool run guest.wasm --map in.json --output out.json --resume run.journal
  wpool run guest.wasm --map in.json --retry 3 --halt soon,fail=10%
";

#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,

    /// Inputs in JSON: a file, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["map_files", "call", "words"], conflicts_with_all = ["map_files", "words"], help_heading = "Inputs")]
    pub(crate) map: Option<PathBuf>,

    /// Files whose contents are the inputs: each one's text or bytes is one argument
    #[arg(long, value_name = "GLOB", num_args = 1.., conflicts_with = "ObjectArgs", help_heading = "Inputs")]
    pub(crate) map_files: Vec<String>,

    /// With --map-files: the task takes the file's path before its content
    #[arg(long, requires = "map_files", conflicts_with_all = ["map", "words", "call"], help_heading = "Inputs")]
    pub(crate) with_name: bool,

    /// Call a task once, with each argument in JSON (a text may be as it is), and print its value
    #[arg(long, value_names = ["TASK", "ARGS"], num_args = 1.., allow_negative_numbers = true, conflicts_with_all = [
        "map", "map_files", "words", "task", "resume", "input_format", "unordered", "on_error", "halt", "retry", "results",
    ], help_heading = "Inputs")]
    pub(crate) call: Vec<String>,

    /// Inputs on the command line, each in JSON (a text may be as it is); several groups give their product
    #[arg(value_name = "::: INPUT", trailing_var_arg = true, num_args = 0.., conflicts_with = "map_files",
          help_heading = "Inputs")]
    pub(crate) words: Vec<String>,

    /// The argument of the guest's initializer: JSON, or a file that holds it
    #[arg(long, value_name = "JSON|FILE", allow_negative_numbers = true, help_heading = "Inputs")]
    pub(crate) init: Option<String>,

    /// How the inputs are written; auto looks at the file's name and first byte
    #[arg(long, value_enum, default_value_t = InputFormat::Auto, help_heading = "Inputs")]
    pub(crate) input_format: InputFormat,

    /// The task to run; may be left out if the guest has only one
    #[arg(long, value_name = "NAME", help_heading = "Inputs")]
    pub(crate) task: Option<String>,

    /// Worker processes [default: the processors that may be used]
    #[arg(long, value_name = "N", help_heading = "Workers")]
    pub(crate) workers: Option<usize>,

    /// How long one task may run, such as 500ms, 2s or none
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time, help_heading = "Limits and clocks")]
    pub(crate) timeout: Limit<Duration>,

    /// How long one task may wait before it begins
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = parse_time, help_heading = "Limits and clocks")]
    pub(crate) queue_timeout: Limit<Duration>,

    /// How long the whole run may take; tasks that have not ended by then fail
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = parse_time, help_heading = "Limits and clocks")]
    pub(crate) deadline: Limit<Duration>,

    /// How long running tasks may go on after Ctrl-C or SIGTERM; then they are killed
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time, help_heading = "Limits and clocks")]
    pub(crate) grace: Limit<Duration>,

    /// Memory that one task may have, such as 64MiB or none
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size, help_heading = "Limits and clocks")]
    pub(crate) memory: Limit<u64>,

    /// Fuel that one task may use, about one unit per instruction
    #[arg(long, value_name = "UNITS", help_heading = "Limits and clocks")]
    pub(crate) fuel: Option<u64>,

    /// Size that one result may have
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_small_size, help_heading = "Limits and clocks")]
    pub(crate) max_result: u32,

    /// Size of one task's log; the rest is dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_small_size, help_heading = "Limits and clocks")]
    pub(crate) max_log: u32,

    /// The scope of an instance: every task, every batch of small tasks, or every worker has its own
    #[arg(long, value_enum, default_value_t = IsolationArg::Task, help_heading = "Workers")]
    pub(crate) isolation: IsolationArg,

    /// Replace a worker after this number of tasks
    #[arg(long, value_name = "N", help_heading = "Workers")]
    pub(crate) max_tasks_per_worker: Option<u32>,

    /// How often a task is started again whose worker was killed from outside; for tasks that fail see --retry
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Workers")]
    pub(crate) retries: u8,

    /// Let tasks submit tasks of the guest, nested to this depth below a task of the run
    #[arg(long, value_name = "DEPTH", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=i64::from(wpool::SubTasks::MAX_DEPTH)), help_heading = "Workers")]
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
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = "Workers"
    )]
    pub(crate) priority: i32,

    /// Keep finished results in a file, and resume from them if the run was ended early
    #[arg(long, value_name = "FILE", conflicts_with = "ObjectArgs", help_heading = "Failures")]
    pub(crate) resume: Option<PathBuf>,

    /// Run a failed task again, at most this number of times, after 100ms, 200ms and so on up to 10s
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Failures")]
    pub(crate) retry: u32,

    /// End the run when tasks have failed: fail=N or fail=N%, after `soon,` (running tasks finish) or `now,` (they are
    /// killed)
    #[arg(long, value_name = "[WHEN,]fail=N[%]", value_parser = parse_halt, conflicts_with = "on_error",
          help_heading = "Failures")]
    pub(crate) halt: Option<Halt>,

    /// Check the guest, the task and the inputs, and say what would run
    #[arg(long, help_heading = "Inputs")]
    pub(crate) dry_run: bool,

    /// Print neither progress nor the summary; errors and logs are printed
    #[arg(long, short, help_heading = "Results")]
    pub(crate) quiet: bool,

    /// Write each result to a file of its own in this folder, named after its input
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub(crate) results: Option<PathBuf>,

    /// Write results as they come instead of in the order of the inputs
    #[arg(long, help_heading = "Results")]
    pub(crate) unordered: bool,

    /// Write the results to a file, whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) output: Option<PathBuf>,

    /// One array with failed results in their places, or one line per result
    #[arg(long, value_enum, default_value_t = Format::Json, help_heading = "Results")]
    pub(crate) format: Format,

    /// Whether the run continues when a task fails; stop is the same as --halt soon,fail=1
    #[arg(long, value_enum, default_value_t = OnError::Continue, help_heading = "Failures")]
    pub(crate) on_error: OnError,

    /// Where the tasks' logs go: stderr, off, or a file
    #[arg(long, value_name = "WHERE", default_value = "stderr", help_heading = "Results")]
    pub(crate) logs: PathBuf,

    /// Write each task's figures, and the totals, to a file in JSON
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) report: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) objects: ObjectArgs,
}

/// The shared objects of a run. Where a task takes one, an input names it.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Shared objects")]
pub(crate) struct ObjectArgs {
    /// A queue of this capacity, which can be joined; without a number, of as many values as fit in 64 MiB
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

    /// A pipe; its ends are NAME.a and NAME.b
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) pipe: Vec<String>,

    /// An event that is not set
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) event: Vec<String>,

    /// A lock
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) lock: Vec<String>,

    /// A reentrant lock
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) rlock: Vec<String>,

    /// A condition with a lock of its own
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) condition: Vec<String>,

    /// An empty namespace
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) namespace: Vec<String>,

    /// An array of fixed length, with its first values
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_assigned)]
    pub(crate) array: Vec<Assigned>,

    /// A semaphore that never has more than this count
    #[arg(long, value_name = "NAME:COUNT", value_parser = parse_number)]
    pub(crate) bounded_semaphore: Vec<Counted>,

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
    /// A module (.wasm, .wat), or the folder of a Cargo package, which cargo builds with your rights and outside of any
    /// sandbox
    #[arg(value_name = "GUEST")]
    pub(crate) path: PathBuf,

    /// Refuse the folder of a package instead of building it
    #[arg(long)]
    pub(crate) no_build: bool,

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
    /// Each line is a string
    Text,
    /// Each record is an object, whose fields the first row names
    Csv,
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
