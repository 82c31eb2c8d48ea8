use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use wpool_tests::{OK_SQUARE, bounded_by};

use crate::WPOOL;

/// A package that hosts a pool without the feature `worker`.
const PACKAGE: &str = "wpool-parent-only";
/// Its dependencies are built for this test alone.
const BUILD_BOUND: Duration = Duration::from_secs(15 * 60);

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    // The nested cargo is neither a clippy nor does it take the outer one's flags.
    for variable in
        ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "CLIPPY_ARGS"]
    {
        command.env_remove(variable);
    }
    command
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_program_without_the_feature_links_no_engine_and_runs_tasks_all_the_same() {
    bounded_by(BUILD_BOUND, || {
        let tree = run(cargo(&["tree", "--locked", "-p", PACKAGE, "-e", "normal", "--prefix", "none"]));
        for engine in ["wasmtime", "cranelift-codegen", "wpool-worker"] {
            let depends = tree.lines().any(|line| line.split(' ').next() == Some(engine));
            assert!(!depends, "{PACKAGE} depends on {engine}");
        }
        // A folder of its own: the outer cargo holds the lock of the other one.
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("parent-only");
        let mut build = cargo(&["build", "--locked", "--quiet", "-p", PACKAGE]);
        build.env("CARGO_TARGET_DIR", &target);
        run(build);
        let mut program = Command::new(target.join("debug").join(PACKAGE));
        program.args([WPOOL, OK_SQUARE, "square", "7"]);
        // Its cache is not the user's.
        let home = tempfile::tempdir().unwrap();
        program.env("HOME", home.path()).env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
        assert_eq!(run(program), "49\n");
    });
}
