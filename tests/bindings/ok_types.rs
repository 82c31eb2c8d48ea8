// Bindings of a wpool guest, printed by `wpool inspect --rust`: its types, and a typed handle per task.
//
// They need the crates `wpool-host` and `serde`, the latter with its feature `derive`.

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Library {
    /// Its name, as on the door.
    #[serde(rename = "fullName")]
    pub full_name: String,
    /// What is in it, by shelf:
    /// the top one is `0`.
    pub shelves: std::collections::BTreeMap<u32, Vec<Book>>,
    /// '''
    /// panic!("docs are text, not a test");
    /// '''
    #[serde(rename = "type")]
    pub type_2: Option<Kind>,
    pub address: Address,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Book {
    pub title: String,
    /// The book that this one continues.
    pub continues: Option<Box<Book>>,
    pub scan: Vec<u8>,
    pub size: [f32; 3],
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub enum Kind {
    /// For everybody.
    #[serde(rename = "public-library")]
    PublicLibrary,
    /// Of a school, by its number.
    #[serde(rename = "school")]
    School(u64),
    #[serde(rename = "of")]
    Of {
        /// Who owns it.
        owner: String,
        since: Option<i16>,
    },
    #[serde(rename = "between")]
    Between(i8, char),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Address {
    pub street: String,
    pub number: i128,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub enum Refusal {
    /// There are none.
    NoBooks,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Type(pub Vec<Type>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Type2(pub u8, pub u16, pub u32, pub u64, pub i8, pub i16, pub i32, pub i64, pub bool, pub ());

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, wpool::Schema)]
pub struct Address2 {
    pub country: (String, u128),
}

/// The guest's tasks.
#[derive(Debug, Clone)]
#[allow(clippy::type_complexity, reason = "the types are the guest's")]
pub struct Tasks {
    /// Puts the numbers of a slice into a queue, and the sum into a dictionary.
    ///
    /// Takes (numbers, each, sums, done).
    pub add: wpool::Task<(wpool::SharedSlice<f64>, wpool::Sender<f64>, wpool::Dict<String, Vec<f64>>, wpool::Queue<()>), ()>,
    /// The number of books, including those that others continue.
    ///
    /// Its error is `Refusal`: see `wpool::GuestError::decode`.
    pub count: wpool::Task<Library, u32>,
    /// The depth of a nest.
    ///
    /// Takes (nest, any).
    pub depth: wpool::Task<(Type, wpool::Json), (u32, wpool::Json)>,
    /// The same, as it came.
    ///
    /// Takes (wide, address).
    pub move_2: wpool::Task<(Type2, Address2), (Type2, Address2)>,
    /// The same library.
    pub same: wpool::Task<Library, Library>,
    /// Sorts kinds by how many there are of each.
    pub tally: wpool::Task<std::collections::BTreeMap<Kind, u32>, Vec<(Kind, u32)>>,
}

impl Tasks {
    /// Returns the tasks of the guest that a pool was built with.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of(tasks: &wpool::Pool) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            add: tasks.task("add")?,
            count: tasks.task("count")?,
            depth: tasks.task("depth")?,
            move_2: tasks.task("move")?,
            same: tasks.task("same")?,
            tally: tasks.task("tally")?,
        })
    }

    /// Returns the tasks of a guest that was loaded into a pool.
    ///
    /// # Errors
    /// If the guest is another one: it lacks a task, or one has other types.
    pub fn of_loaded(tasks: &wpool::LoadedGuest) -> Result<Self, wpool::TaskLookupError> {
        Ok(Self {
            add: tasks.task("add")?,
            count: tasks.task("count")?,
            depth: tasks.task("depth")?,
            move_2: tasks.task("move")?,
            same: tasks.task("same")?,
            tally: tasks.task("tally")?,
        })
    }
}
