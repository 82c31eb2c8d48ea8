//! A plug-in host: loads every guest in a folder into a pool of its own, and calls the tasks that take a text.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use wpool::{Guest, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let folder = match std::env::args().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => wpool_examples::guests()?,
    };
    let mut modules: Vec<PathBuf> =
        std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    modules.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    modules.sort();
    for path in modules {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match run_plugin(path) {
            Ok(answers) => {
                answers.iter().for_each(|answer| wpool_examples::say(&format!("{name}: {answer}")));
            }
            // One plug-in that cannot be loaded does not stop the others.
            Err(error) => wpool_examples::say(&format!("{name}: not loaded: {error}")),
        }
    }
    Ok(())
}

// ANCHOR: plugin
/// Calls each task of a plug-in that takes a text, and returns a line for each of its tasks.
fn run_plugin(path: PathBuf) -> Result<Vec<String>, Box<dyn Error>> {
    let guest = Guest::from_file(path)?;
    // A stranger's code gets little time and memory.
    let pool =
        Pool::builder(guest.clone()).workers(1).timeout(Duration::from_secs(1)).memory(64 << 20).build()?;
    let mut answers = Vec::new();
    for signature in guest.tasks() {
        let Some(Ok(arguments)) = signature.arguments_from_content(b"a plug-in reads a text") else {
            answers.push(format!("{} takes no text", signature.name()));
            continue;
        };
        let completed = pool.raw_task(signature.name())?.submit(arguments)?.completed();
        answers.push(match &completed.result {
            Ok(value) => {
                let mut json = Vec::new();
                signature.value_to_json(value, &mut json)?;
                format!("{} says {}", signature.name(), String::from_utf8_lossy(&json))
            }
            Err(error) => format!("{} failed: {error}", signature.name()),
        });
    }
    Ok(answers)
}
// ANCHOR_END: plugin
