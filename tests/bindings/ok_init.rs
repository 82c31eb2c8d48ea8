// Bindings of a wpool guest, printed by `wpool inspect --rust`: its types, and a typed handle per task.
//
// They need the crates `wpool-host` and `serde`, the latter with its feature `derive`.

/// The argument of `Guest::initialized_with`.
///
/// Numbers the words, after `rounds` million rounds of computation.
pub type InitArgument = (Vec<String>, Option<u32>);

/// The guest's tasks.
#[derive(Debug, Clone)]
#[allow(clippy::type_complexity, reason = "the types are the guest's")]
pub struct Tasks {
    /// Returns the number of a word, the number of known words, and how often the initializer ran. Adds the word.
    pub look_up: wpool::Task<String, (Option<u32>, u32, u32)>,
}

impl Tasks {
    /// Returns the tasks of the guest that a pool was built with.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of(tasks: &wpool::Pool) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            look_up: tasks.task("look_up")?,
        })
    }

    /// Returns the tasks of a guest that was loaded into a pool.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of_loaded(tasks: &wpool::LoadedGuest) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            look_up: tasks.task("look_up")?,
        })
    }
}
