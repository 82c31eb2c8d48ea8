//! `--results DIR`: each result in a file of its own, which is named after the input.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::exit_code::Failure;
use crate::plan::files::check_results;
use crate::source::Source;
use crate::target::Target;

/// The length of a name at most, without its ending: a file system allows 255 bytes.
const LONGEST: usize = 200;

/// The folder, and the names of its files.
pub(crate) struct ResultsDir<'a> {
    folder: &'a Path,
    source: &'a Source,
}

impl<'a> ResultsDir<'a> {
    /// Checks that no two inputs have the same file, and that none of the run's other `files` is one of them.
    pub(crate) fn check(
        folder: &Path,
        source: &Source,
        total: Option<u64>,
        files: &[(&'static str, &Path)],
    ) -> Result<(), Failure> {
        if folder.exists() && !folder.is_dir() {
            return Err(Failure::input(format!("`{}` is no folder", folder.display())));
        }
        let mut known: HashMap<String, String> = HashMap::new();
        for index in 0..total.unwrap_or(0) {
            // Inputs without names are numbered, and numbers differ.
            let Some(name) = source.input_name(index) else { break };
            let file = file_name(&name);
            if let Some(other) = known.insert(file.clone(), name.clone()) {
                let message = format!("the results of `{other}` and `{name}` would both be in `{file}`");
                return Err(Failure::input(message).hint("rename one of them, or write to one --output"));
            }
        }
        let is_number =
            |name: &str| name.strip_suffix(".json").is_some_and(|stem| stem.parse::<u64>().is_ok());
        let is_result =
            |name: &str| if known.is_empty() { is_number(name) } else { known.contains_key(name) };
        check_results(folder, files, is_result)
    }

    /// Makes the folder if it is not there.
    pub(crate) fn open(folder: &'a Path, source: &'a Source) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| Failure::cannot_write(folder, error))?;
        Ok(Self { folder, source })
    }

    /// Writes the result of one input. A file that is there is replaced.
    pub(crate) fn write(&self, index: u64, text: &[u8]) -> Result<(), Failure> {
        let path = self.path(index);
        let write = || {
            let mut target = Target::open(&path)?;
            target.write_all(text)?;
            target.write_all(b"\n")?;
            target.finish_soon()
        };
        write().map_err(|error| Failure::cannot_write(&path, error))
    }

    fn path(&self, index: u64) -> PathBuf {
        let name = self.source.input_name(index);
        self.folder.join(name.map_or_else(|| format!("{index}.json"), |name| file_name(&name)))
    }
}

/// Returns a name that is one file in its folder, and is not hidden. Letters, digits and `.-_+=@` stay as they are.
fn file_name(name: &str) -> String {
    let mut plain: String =
        name.chars().map(|c| if c.is_alphanumeric() || ".-_+=@".contains(c) { c } else { '_' }).collect();
    if plain.starts_with('.') || plain.is_empty() {
        plain.insert(0, '_');
    }
    plain.truncate(plain.floor_char_boundary(LONGEST));
    plain + ".json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_but_into_its_folder() {
        for (name, expected) in [
            ("a.txt", "a.txt.json"),
            ("../../etc/passwd", "_.._.._etc_passwd.json"),
            ("..", "_...json"),
            (".hidden", "_.hidden.json"),
            ("", "_.json"),
            ("a b\n\0c", "a_b__c.json"),
            ("größe", "größe.json"),
        ] {
            assert_eq!(file_name(name), expected, "{name:?}");
        }
        let long = file_name(&"ß".repeat(300));
        assert_eq!(long.len(), 205);
    }
}
