//! The `wpool` command; everything is in the library, so that tests can be it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    wpool_cli::main_impl()
}
