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
/// itself keeps the engine out. A folder that is missing here is a failure: add it to the table.
const NEVER_REACHES: &[(&str, &[&str])] = &[
    (
        "callbacks",
        &["ids", "error", "outcome", "process", "guest", "dispatch", "manager", "server", "runtime", "pool"],
    ),
    (
        "lock",
        &[
            "callbacks",
            "ids",
            "error",
            "outcome",
            "process",
            "guest",
            "dispatch",
            "manager",
            "server",
            "runtime",
            "pool",
        ],
    ),
    ("ids", &["error", "outcome", "process", "guest", "dispatch", "manager", "server", "runtime", "pool"]),
    ("error", &["outcome", "process", "guest", "dispatch", "manager", "server", "runtime", "pool"]),
    ("outcome", &["process", "guest", "dispatch", "manager", "server", "runtime", "pool"]),
    ("process", &["guest", "dispatch", "manager", "server", "runtime", "pool"]),
    ("guest", &["dispatch", "manager", "server", "runtime", "pool"]),
    ("manager", &["process", "guest", "dispatch", "server", "runtime", "pool"]),
    ("server", &["process", "guest", "dispatch", "runtime", "pool"]),
    ("dispatch", &["process", "guest", "server", "runtime", "pool"]),
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

/// The beginnings of paths to clocks, threads, files, sockets, processes and locks. `Instant` as a value is none.
const EFFECTS: &[&[&str]] = &[
    &["Instant", "now"],
    &["std", "time", "SystemTime"],
    &["std", "thread"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "os"],
    &["std", "process"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "mpsc"],
    &["crossbeam_channel"],
    &["crate", "lock"],
    &["rustix"],
];

#[test]
fn decisions_use_no_clock_thread_or_file() {
    let has_effect = |path: &[String]| {
        EFFECTS.iter().any(|effect| {
            let mut parts = path.windows(effect.len());
            let is = |part: &[String]| part.iter().map(String::as_str).eq(effect.iter().copied());
            // A function of an imported type does not begin with the name of its crate.
            if effect[0] == "Instant" { parts.any(is) } else { parts.next().is_some_and(is) }
        })
    };
    assert!(has_effect(&["std", "time", "Instant", "now"].map(str::to_owned)));
    for folder in ["dispatch", "manager"] {
        let mut seen = 0;
        for (name, text) in files_of("host").iter().filter(|(name, _)| name.contains(&format!("/{folder}/")))
        {
            seen += 1;
            for path in imports::paths_in(text).unwrap() {
                // Grants are dropped anywhere, so the inbox that they go to has a lock of its own.
                let inbox = name.ends_with("manager/grant.rs") && path[1] == "lock";
                assert!(inbox || !has_effect(&path), "{name} uses {}", path.join("::"));
            }
        }
        assert!(seen > 3, "the files of {folder} were found");
    }
}

#[test]
fn every_file_opens_with_a_sentence() {
    let root = root();
    let more = ["guests/behaviours", "examples", "tests", "tests/bench", "tests/model", "tests/parent-only"];
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

/// The document pins version and sources together: a change of what travels needs a decision whether it is a new
/// version, and changes the document. Comments, documentation and tests do not count.
#[test]
fn the_protocol_document_pins_the_versions_and_the_sources() {
    let document = read(&root().join(PROTOCOL));
    let wire = root().join("host/wire/src");
    let abi = root().join("guest-sdk/abi/src");
    let protocol = number_after(&read(&wire.join("lib.rs")), "PROTOCOL_VERSION: u32 = ");
    let version = number_after(&read(&abi.join("lib.rs")), "VERSION: u32 = ");
    // The tags of a fingerprint are part of the ABI: a guest that was built with others does not match.
    let tags = root().join("guest-sdk/schema/src/fingerprint.rs");
    let abi = [rust_files(&abi), vec![tags]].concat();
    for (what, number, files) in [("Protocol", protocol, rust_files(&wire)), ("ABI", version, abi)] {
        let line = format!("{what} version {number}, sources `{}`", sources::fingerprint(&files).unwrap());
        assert!(document.contains(&line), "{PROTOCOL} does not say: {line}");
    }
}

/// The number of behaviours in the list.
const BEHAVIOURS: u32 = 115;

#[test]
fn every_numbered_behaviour_has_a_test() {
    let (tests, list) = (test_functions(), read(&root().join("docs/src/internals/behaviours.md")));
    let mut listed = BTreeSet::new();
    for number in 1..=BEHAVIOURS {
        let row = list.lines().find_map(|line| line.strip_prefix(&format!("| {number} | ")));
        let row = row.unwrap_or_else(|| panic!("behaviour {number} is not in the list"));
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        if row.starts_with('`') && row.ends_with("` |") {
            names
                .iter()
                .for_each(|name| assert!(tests.contains(*name), "{number}: there is no test `{name}`"));
        } else {
            assert!(row.len() > 20, "behaviour {number} has neither a test nor a reason");
        }
        listed.extend(names.into_iter().map(|name| (number, name.to_owned())));
    }
    for name in &tests {
        for number in numbers_in(name) {
            assert!(listed.contains(&(number, name.clone())), "`{name}` is not at {number} in the list");
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
