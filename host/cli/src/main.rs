//! The `wpool` command; all of it is in the library, so that the tests can build it as a program of their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    wpool_cli::main_impl()
}
