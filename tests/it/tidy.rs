use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target" && name != "ui") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Who may import whom in `host/src`; ARCHITECTURE.md explains the table. Plain data is for everybody.
const IMPORTS: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("limits", &[]),
    ("trap", &[]),
    ("error", &["trap"]),
    ("wire", &["ids", "limits", "trap", "error"]),
    ("child", &["worker", "compiler"]),
    ("process", &["error"]),
    ("guest", &["child", "process", "wire", "ids", "limits", "error"]),
    ("dispatch", &["ids", "error", "wire"]),
    ("manager", &["ids", "wire"]),
    ("pool", &["dispatch", "process", "guest", "child", "manager", "wire", "ids", "limits", "error"]),
    ("sandbox", &["wire"]),
    ("worker", &["sandbox", "child", "wire", "ids", "limits", "trap"]),
    ("compiler", &["worker", "sandbox", "child", "wire", "ids", "limits", "trap"]),
];

#[test]
fn imports_run_one_way() {
    let source = root().join("host/src");
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            panic!("tests/it/tidy.rs does not know `{module}`");
        };
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for (_, after) in line.match_indices("crate::").map(|(at, found)| (at, &line[at + found.len()..]))
            {
                let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let root_export = name.chars().next().is_none_or(char::is_uppercase);
                if line.trim_start().starts_with("//") || root_export || name == module {
                    continue;
                }
                assert!(
                    allowed.contains(&name.as_str()),
                    "{}:{}: `{module}` imports `{name}`",
                    inside.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn decisions_use_no_clock_thread_or_file() {
    let folders =
        ["host/src/dispatch", "host/src/manager/objects"].map(|folder| rust_files(&root().join(folder)));
    let store = root().join("host/src/manager/store.rs");
    for file in folders.into_iter().flatten().chain([store]) {
        if file.components().any(|part| ["tests", "tests.rs"].map(AsRef::as_ref).contains(&part.as_os_str()))
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let (text, _tests) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        for forbidden in ["Instant::now", "std::thread", "std::fs", "std::io", "rustix", "Mutex"] {
            assert!(!text.contains(forbidden), "{} uses {forbidden}", file.display());
        }
    }
}

#[test]
fn every_file_opens_with_a_sentence() {
    let root = root();
    for folder in [
        "host",
        "guest-sdk",
        "guests/behaviours",
        "guests/mandelbrot",
        "guests/primes",
        "guests/thumbnail",
        "guests/wordcount",
        "examples",
        "tests/src",
        "tests/bench",
    ] {
        let folder = root.join(folder);
        if !folder.exists() {
            continue;
        }
        for file in rust_files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
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

#[test]
fn the_protocol_document_knows_the_versions() {
    let document = fs::read_to_string(root().join("docs/src/reference/protocol.md")).unwrap();
    let wire = fs::read_to_string(root().join("host/src/wire/mod.rs")).unwrap();
    let abi = fs::read_to_string(root().join("guest-sdk/abi/src/lib.rs")).unwrap();
    let number = |text: &str, before: &str| {
        let at = text.find(before).unwrap() + before.len();
        text[at..].chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let protocol = number(&wire, "PROTOCOL_VERSION: u32 = ");
    let version = number(&abi, "VERSION: u32 = ");
    assert!(
        document.contains(&format!("Protocol version {protocol}")),
        "docs/protocol.md is of another protocol"
    );
    assert!(document.contains(&format!("ABI version {version}")), "docs/protocol.md is of another ABI");
}
