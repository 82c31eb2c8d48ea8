use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wpool_xtask::functions::{in_text, percentile, rust_files, without_tests};
use wpool_xtask::{CRATES, imports, picture, sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a crate that are no tests, with their paths below the root.
fn files_of(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let name = |file: &Path| file.strip_prefix(&root).unwrap().display().to_string();
    rust_files(&root.join(folder).join("src")).iter().map(|file| (name(file), read(file))).collect()
}

/// The folders and files of `host/src` that a folder must not reach, by whatever way. ARCHITECTURE.md says why; Cargo
/// itself keeps the engine out. A folder that is missing here is a failure: somebody has to decide.
const NEVER_REACHES: &[(&str, &[&str])] = &[
    ("ids", &["error", "outcome", "process", "guest", "dispatch", "manager", "runtime", "pool"]),
    ("error", &["outcome", "process", "guest", "dispatch", "manager", "runtime", "pool"]),
    ("outcome", &["process", "guest", "dispatch", "manager", "runtime", "pool"]),
    ("process", &["guest", "dispatch", "manager", "runtime", "pool"]),
    ("guest", &["dispatch", "manager", "runtime", "pool"]),
    ("manager", &["process", "guest", "dispatch", "runtime", "pool"]),
    ("dispatch", &["process", "guest", "runtime", "pool"]),
    ("runtime", &["pool"]),
    ("pool", &[]),
];

#[test]
fn imports_of_the_parent_run_one_way() {
    let graph = imports::of_crate(&root().join("host")).unwrap();
    let folders = graph.renamed(|file| {
        let first = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
        (first != "lib").then(|| first.to_owned())
    });
    let known: BTreeSet<&str> = NEVER_REACHES.iter().map(|(folder, _)| *folder).collect();
    assert_eq!(folders.nodes().collect::<BTreeSet<_>>(), known, "tests/it/tidy.rs knows every folder");
    for (folder, forbidden) in NEVER_REACHES {
        let reached = folders.reachable(folder);
        for other in *forbidden {
            assert!(!reached.contains(other), "`{folder}` reaches `{other}`");
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in CRATES {
        let graph = imports::of_crate(&root().join(folder)).unwrap();
        assert!(graph.nodes().count() > 0);
        let circles = graph.circles();
        assert!(circles.is_empty(), "{folder}: {circles:?}");
    }
}

#[test]
fn the_picture_of_the_imports_is_true() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let drawn = picture::drawn(&text, &root()).unwrap();
    assert!(drawn == text, "run `cargo xtask picture`");
}

/// Files of `host/` with more than 500 lines, tests not counted, and why.
const LONG_FILES: &[(&str, &str)] = &[];
/// Functions with more than 60 lines, and why.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

#[test]
fn files_and_functions_are_short_or_say_why_not() {
    let mut lengths = Vec::new();
    for folder in CRATES {
        for (name, text) in files_of(folder) {
            let lines = without_tests(&text).lines().count();
            let upper = ["host/src/pool/", "host/src/runtime/"].iter().any(|room| name.starts_with(room));
            let bound = if upper { 450 } else { 500 };
            let reasoned = LONG_FILES.iter().any(|(file, reason)| *file == name && !reason.is_empty());
            assert!(lines <= bound || !name.starts_with("host/") || reasoned, "{name} has {lines} lines");
            for function in in_text(&text) {
                let known = LONG_FUNCTIONS.iter().any(|(known, _)| *known == function.name);
                assert!(
                    function.lines <= 60 || known,
                    "{name}: {} has {} lines",
                    function.name,
                    function.lines
                );
                lengths.push(function.lines);
            }
        }
    }
    assert!(lengths.len() > 1000, "the functions were found");
    let (half, most) = (percentile(lengths.clone(), 50), percentile(lengths, 90));
    assert!(half <= 7 && most <= 22, "the median is {half} lines, the ninetieth percentile {most}");
}

#[test]
fn decisions_use_no_clock_thread_or_file() {
    for folder in ["dispatch", "manager"] {
        for (name, text) in files_of("host").iter().filter(|(name, _)| name.contains(&format!("/{folder}/")))
        {
            // Grants are dropped anywhere, so the inbox that they go to has a lock of its own.
            let inbox = name.ends_with("manager/grant.rs");
            for forbidden in ["Instant::now", "std::thread", "std::fs", "std::io", "rustix", "Mutex"] {
                let allowed = inbox && forbidden == "Mutex";
                assert!(allowed || !without_tests(text).contains(forbidden), "{name} uses {forbidden}");
            }
        }
    }
}

#[test]
fn every_file_opens_with_a_sentence() {
    let root = root();
    let more = ["guests/behaviours", "examples", "tests", "tests/bench", "tests/parent-only"];
    let guests = fs::read_dir(root.join("guests")).unwrap().flatten().map(|entry| entry.path());
    let guests = guests.filter(|path| path.join("src").is_dir());
    let folders = CRATES.iter().chain(&more).map(|folder| root.join(folder)).chain(guests);
    for folder in folders {
        for file in rust_files(&folder.join("src")) {
            let text = read(&file);
            let first = text.lines().next().unwrap_or_default();
            assert!(first.starts_with("//! "), "{} does not say what it is for", file.display());
        }
    }
}

#[test]
fn nothing_names_one_machine() {
    let output = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    // A source archive has no list of files; a checkout does.
    let Ok(output) = output else { return };
    let home = ["/ro", "ot/"].concat();
    for name in String::from_utf8_lossy(&output.stdout).split('\0').filter(|name| !name.is_empty()) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        assert!(!text.contains(&home), "{name} names a path of one machine");
    }
}

/// The document that a change of the protocol or the ABI has to touch.
const PROTOCOL: &str = "docs/src/reference/protocol.md";

/// The number that follows a text.
fn number_after(text: &str, before: &str) -> String {
    let at = text.find(before).unwrap_or_else(|| panic!("`{before}` is missing")) + before.len();
    text[at..].chars().take_while(char::is_ascii_digit).collect()
}

/// The document pins version and sources together: whoever changes what travels has to decide whether it is a new
/// version, and writes both down. Comments, documentation and tests do not count.
#[test]
fn the_protocol_document_pins_the_versions_and_the_sources() {
    let document = read(&root().join(PROTOCOL));
    let wire = root().join("host/wire/src");
    let abi = root().join("guest-sdk/abi/src");
    let protocol = number_after(&read(&wire.join("lib.rs")), "PROTOCOL_VERSION: u32 = ");
    let version = number_after(&read(&abi.join("lib.rs")), "VERSION: u32 = ");
    let messages =
        ["codec.rs", "control.rs", "message.rs", "memory.rs", "trap.rs"].map(|file| wire.join(file));
    for (what, number, files) in
        [("Protocol", protocol, messages.to_vec()), ("ABI", version, rust_files(&abi))]
    {
        let line = format!("{what} version {number}, sources `{}`", sources::fingerprint(&files).unwrap());
        assert!(document.contains(&line), "{PROTOCOL} does not say: {line}");
    }
}

/// Behaviours of Python's pools that no test names by its number, and the test that holds them, or why none is needed.
const HELD_OTHERWISE: &[(u32, &str)] = &[
    (10, "a future is completed by its pool alone: no call of the public interface sets a result"),
    (18, "arguments_are_freed_when_their_tasks_end"),
    (34, "a result is moved to the caller: the iterator has nothing left to refer to"),
    (51, "`ReturnWhen` is an enum: no other value can be given"),
    (58, "workers_start_when_there_is_work_and_go_when_there_is_none"),
    (59, "a_worker_is_replaced_after_so_many_tasks"),
    (60, "a_worker_is_replaced_after_so_many_tasks"),
    (61, "waits_double_then_it_opens_then_it_is_tried_with_one_and_closes"),
    (65, "every_task_starts_from_what_the_initializer_left"),
    (72, "every_way_to_fail_at_every_stage_is_an_error_of_one_task"),
    (90, "there is no listener: a connection is a handle, and no key can be guessed"),
    (112, "workers_die_with_their_parent"),
];

/// The number of behaviours in the list.
const BEHAVIOURS: u32 = 115;

#[test]
fn every_numbered_behaviour_has_a_test() {
    let tests = test_functions();
    let named: BTreeSet<u32> = tests.iter().flat_map(|name| numbers_in(name)).collect();
    for number in 1..=BEHAVIOURS {
        let otherwise = HELD_OTHERWISE.iter().find(|(known, _)| *known == number);
        match otherwise {
            Some((_, held)) if !held.contains(' ') => {
                assert!(tests.contains(*held), "behaviour {number} is held by `{held}`, which is no test");
            }
            Some(_) => {}
            None => assert!(named.contains(&number), "behaviour {number} has no test"),
        }
    }
}

/// The names of all test functions of the host and of the integration tests.
fn test_functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    collect(&root().join("host"), &mut files);
    collect(&root().join("tests/it"), &mut files);
    let texts = files.iter().map(|file| read(file));
    texts.flat_map(|text| after_test_attributes(&text)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The functions under `#[test]` in a text.
fn after_test_attributes(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let tests = lines.iter().enumerate().filter(|(_, line)| **line == "#[test]");
    let names = tests.filter_map(|(at, _)| lines[at..].iter().find_map(|line| line.strip_prefix("fn ")));
    names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

/// The numbers at the beginning of a test's name: `b01_b02_…`.
fn numbers_in(name: &str) -> Vec<u32> {
    name.split('_').map_while(|part| part.strip_prefix('b')?.parse().ok()).collect()
}

#[test]
fn every_guest_is_used_by_a_test() {
    let mut files = Vec::new();
    collect(&root().join("tests/it"), &mut files);
    let texts: Vec<String> = files.iter().map(|file| read(file)).collect();
    for guest in fs::read_dir(root().join("guests/behaviours/src/bin")).unwrap().flatten() {
        let name = guest.path().file_stem().unwrap().to_str().unwrap().to_uppercase();
        let used = texts.iter().any(|text| {
            text.contains("#[test]")
                && text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
        });
        assert!(used, "no test uses the guest {name}");
    }
}
