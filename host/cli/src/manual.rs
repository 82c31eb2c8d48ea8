//! The completions for shells and the manual page, both made from the flags themselves.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit_code::{Done, Failure, SUCCESS};
use crate::report;

/// Prints a script that completes the command's flags.
pub(crate) fn completions(shell: Shell) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "wpool", &mut script);
    report::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::from(SUCCESS))
}

/// Prints the manual page: that of the command, and then those of its subcommands.
pub(crate) fn page() -> Done {
    let mut text = Vec::new();
    pages(&mut text).map_err(Failure::input)?;
    report::print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::from(SUCCESS))
}

fn pages(out: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Args::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        clap_mangen::Man::new(sub.clone().disable_help_subcommand(true)).render(out)?;
    }
    Ok(())
}
