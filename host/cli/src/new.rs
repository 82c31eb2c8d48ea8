//! `wpool new`: makes a guest package that builds, with a task and inputs to try it on.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::exit_code::{Done, Failure, SUCCESS};
use crate::report;

/// The guest crate in the source tree of this build. If it is there, a new package depends on it by path.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-sdk");

/// Makes the package in the folder `path`, whose last part is its name.
pub(crate) fn new(path: &Path) -> Done {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !valid {
        return Err(Failure::input(format!("`{name}` is no name for a package"))
            .hint("a name starts with a letter and has letters, digits, - and _"));
    }
    if path.exists() {
        return Err(Failure::input(format!("`{}` exists already", path.display())));
    }
    write_package(path, name)
        .map_err(|error| Failure::input(format!("cannot make `{}`", path.display())).because(error))?;
    let shown = path.display();
    report::print(&format!("made {shown}\ntry: wpool run {shown} --map {shown}/inputs.json\n"))?;
    Ok(ExitCode::from(SUCCESS))
}

fn write_package(path: &Path, name: &str) -> std::io::Result<()> {
    fs::create_dir_all(path.join("src"))?;
    fs::write(path.join("Cargo.toml"), manifest(name))?;
    fs::write(path.join("src/lib.rs"), SOURCE)?;
    fs::write(path.join("inputs.json"), "[\"World\", \"wpool\"]\n")?;
    fs::write(path.join(".gitignore"), "/target\n")
}

fn manifest(name: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let sdk = match fs::canonicalize(SDK) {
        Ok(path) => format!("{{ path = {:?} }}", path.display().to_string()),
        Err(_) => format!("{version:?}"),
    };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nserde = {{ version = \"1\", features = [\"derive\"] }}\nwpool-guest = {sdk}\n\n\
         # A workspace of its own: guests only link for WebAssembly.\n[workspace]\n\n\
         [profile.release]\nlto = true\ncodegen-units = 1\nstrip = \"debuginfo\"\n"
    )
}

const SOURCE: &str = "//! A guest: its tasks run in a sandbox, each call in an instance of its own.

/// Greets somebody.
#[wpool_guest::task]
fn greet(name: String) -> Result<String, String> {
    if name.is_empty() {
        return Err(\"nobody to greet\".to_owned());
    }
    Ok(format!(\"Hello, {name}!\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        assert_eq!(greet(\"you\".to_owned()).unwrap(), \"Hello, you!\");
        assert!(greet(String::new()).is_err());
    }
}
";
