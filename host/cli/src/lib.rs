//! The command `wpool`: runs, inspects and makes guests, and shows the cache. It uses the public API alone.
#![forbid(unsafe_code)]

mod args;
mod build;
mod call;
mod csv_items;
mod dry_run;
mod exit_code;
mod feed;
mod guest;
mod inspect;
mod interrupt;
mod items;
mod journal;
mod logs;
mod manual;
mod map;
mod new;
mod objects;
mod output;
mod plan;
mod pool;
mod reader_watch;
mod reading;
mod report;
mod results_dir;
mod resume;
mod retry;
mod run;
mod sinks;
mod source;
mod target;
mod types;
mod values;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{CacheCommand, Command};
use crate::guest::GuestSource;
use crate::inspect::Form;

/// Runs the command that the process was started with. Returns its exit code.
pub fn main_impl() -> ExitCode {
    // In a child process of a pool this does not return.
    wpool::init();
    report::start_logging();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return report::usage(&error),
    };
    let done = match args.command {
        Command::Run(args) => run::run(&args),
        Command::Inspect(args) => {
            let form = match (args.json, args.rust) {
                (_, true) => Form::Rust,
                (true, false) => Form::Json,
                (false, false) => Form::Text,
            };
            inspect::inspect(&GuestSource::from(&args.guest), form)
        }
        Command::New(args) => new::new(&args.path),
        Command::Completions(args) => manual::completions(args.shell),
        Command::Man => manual::page(),
        Command::Cache(args) => match args.command {
            None => inspect::cache(),
            Some(CacheCommand::Clear) => inspect::clear_cache(),
        },
    };
    match done {
        Ok(code) => code,
        Err(failure) => report::failure(&failure),
    }
}
