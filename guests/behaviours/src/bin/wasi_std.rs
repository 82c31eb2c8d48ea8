//! A guest with WASI: prints, sleeps, reads the clock, and looks for files and arguments, of which there are none.
#![no_main]

use std::time::{Duration, Instant};

/// Prints to both streams.
#[wpool_guest::task]
fn print(text: &str) {
    println!("out: {text}");
    eprintln!("err: {text}");
}

/// Sleeps, and returns the elapsed time.
#[wpool_guest::task]
fn sleep(milliseconds: u64) -> u64 {
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(milliseconds));
    began.elapsed().as_millis() as u64
}

/// Returns the number of files, arguments and environment variables, and the content of standard input.
#[wpool_guest::task]
fn look_around() -> (u32, u32, u32, String) {
    let files = ["/", ".", "/etc/passwd", "/proc/self/environ"];
    let found = files
        .iter()
        .filter(|path| std::fs::metadata(path).is_ok() || std::fs::File::open(path).is_ok())
        .count();
    let input = std::io::read_to_string(std::io::stdin()).unwrap_or_default();
    (found as u32, std::env::args().count() as u32, std::env::vars().count() as u32, input)
}

/// Exits instead of returning.
#[wpool_guest::task]
fn exit(code: i32) {
    std::process::exit(code);
}

/// Random numbers are random.
#[wpool_guest::task]
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
