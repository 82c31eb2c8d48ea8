//! The command line of wpool: reads inputs, has them run, writes results. It uses the public API alone.
#![forbid(unsafe_code)]

mod args;
mod build;
mod exit_code;
mod inputs;
mod inspect;
mod interrupt;
mod journal;
mod new;
mod objects;
mod output;
mod report;
mod resume;
mod run;
mod source;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{CacheCommand, Command};
use crate::exit_code::Failure;

/// Runs the command that the process was started with, and says how it went.
pub fn main_impl() -> ExitCode {
    // A child process of a pool goes no further than this.
    wpool::init();
    report::start_logging();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return report::usage(&error),
    };
    let done = match args.command {
        Command::Run(args) => run::run(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::New(args) => new::new(&args),
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

/// What a command gives back: an exit code, or why it could not do its work.
type Done = Result<ExitCode, Failure>;
