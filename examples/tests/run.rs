//! The example programs do what their first lines say.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program with a home of its own, and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).expect("a folder for the cache");
    let output = Command::new(program)
        .args(arguments)
        .env("HOME", &home)
        .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
        .output()
        .expect("the example starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Where cargo and rustup keep things, for a program whose HOME is another.
fn home_of(variable: &str, fallback: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    named.or_else(|| Some(std::env::home_dir()?.join(fallback))).unwrap_or_default()
}

#[test]
fn callbacks_count_primes() {
    let counts = [(10, 4), (100, 25), (1000, 168), (10_000, 1229), (100_000, 9592), (1_000_000, 78498)];
    let expected: String =
        counts.iter().map(|(limit, count)| format!("{count} primes below {limit}\n")).collect();
    assert_eq!(run(env!("CARGO_BIN_EXE_callbacks"), &[]), expected);
}

#[test]
fn awaiting_counts_primes() {
    let expected = "168 primes below a thousand\n78498 primes below a million\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_awaiting"), &[]), expected);
}

#[test]
fn mandelbrot_makes_a_picture() {
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mandelbrot.png");
    let said = run(env!("CARGO_BIN_EXE_mandelbrot"), &[picture.to_str().expect("a path in UTF-8")]);
    assert!(said.starts_with("24 tiles in "), "{said}");
    let bytes = std::fs::read(picture).expect("the picture is there");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{} bytes", bytes.len());
}

#[test]
fn plugins_are_called_each_in_a_pool_of_its_own() {
    let said = run(env!("CARGO_BIN_EXE_plugins"), &[]);
    assert!(said.contains("primes: primes takes no text\n"), "{said}");
    assert!(said.contains("wordcount: wordcount says {\"lines\":1,\"words\":6,"), "{said}");
    assert!(said.contains("thumbnail: thumbnail failed: "), "{said}");
}
