//! The `wpool` command again: a package's tests can only start programs of that package.

use std::process::ExitCode;

fn main() -> ExitCode {
    wpool_cli::main_impl()
}
