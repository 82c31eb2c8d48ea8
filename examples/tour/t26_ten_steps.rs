//! The ten steps of an executor's map, as they happen: this program's own, and those that each task has logged.

use std::error::Error;

use wpool::{Guest, Pool};
use wpool_examples::{guest, say, say_log};

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).workers(2).build()?;
    let steps = pool.raw_task("ten_steps")?;
    let signature = steps.signature().clone();
    let items = ["2", "3"].map(|item| {
        say(&format!("{item}: 1. taken from the items"));
        let arguments = signature.arguments_from_json(item.as_bytes());
        say(&format!("{item}: 2. encoded"));
        if let Ok(arguments) = &arguments {
            say(&format!("{item}: 3. sent, as {} byte", arguments.len()));
        }
        arguments.map_err(|error| error.to_string())
    });
    let mut merged = Vec::new();
    for (index, completed) in steps.map(items) {
        let item = ["2", "3"][usize::try_from(index)?];
        say_log(&completed.log);
        let value = completed.result?;
        say(&format!("{item}: 8. sent back, as {} byte", value.len()));
        let mut json = Vec::new();
        steps.signature().value_to_json(&value, &mut json)?;
        say(&format!("{item}: 9. decoded"));
        merged.push(String::from_utf8(json)?);
        say(&format!("{item}: 10. merged: [{}]", merged.join(", ")));
    }
    Ok(())
}
