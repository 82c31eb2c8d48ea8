//! A guest with types of every form, names that are none in Rust, and types that contain themselves.
#![no_main]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wpool_guest::{Dict, Json, ObjectError, Queue, Schema, Sender, SharedSlice};

/// A library.
#[derive(Serialize, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
struct Library {
    /// Its name, as on the door.
    full_name: String,
    /// What is in it, by shelf:
    /// the top one is `0`.
    shelves: BTreeMap<u32, Vec<Book>>,
    /// ```
    /// panic!("docs are text, not a test");
    /// ```
    r#type: Option<Kind>,
    address: Address,
}

/// A book.
#[derive(Serialize, Deserialize, Schema)]
struct Book {
    title: String,
    /// The book that this one continues.
    continues: Option<Box<Book>>,
    scan: Vec<u8>,
    size: [f32; 3],
}

/// The kind of a library.
#[derive(Serialize, Deserialize, Schema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// For everybody.
    PublicLibrary,
    /// Of a school, by its number.
    School(u64),
    Of {
        /// Who owns it.
        owner: String,
        since: Option<i16>,
    },
    Between(i8, char),
}

mod abroad {
    use super::{Deserialize, Schema, Serialize};

    /// Another type of the same name.
    #[derive(Serialize, Deserialize, Schema)]
    pub(crate) struct Address {
        pub(crate) country: (String, u128),
    }
}

#[derive(Serialize, Deserialize, Schema)]
struct Address {
    street: String,
    number: i128,
}

/// Lists in lists without an end.
#[derive(Serialize, Deserialize, Schema)]
struct Nest(Vec<Nest>);

/// A wide tuple.
#[derive(Serialize, Deserialize, Schema)]
struct Wide(u8, u16, u32, u64, i8, i16, i32, i64, bool, ());

#[derive(Serialize, Schema)]
enum Refusal {
    /// There are none.
    NoBooks,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there are no books")
    }
}

/// The number of books, including those that others continue.
#[wpool_guest::task]
fn count(library: Library) -> Result<usize, Refusal> {
    let books = library.shelves.values().flatten();
    let length = |book: &Book| std::iter::successors(Some(book), |book| book.continues.as_deref()).count();
    match books.map(length).sum() {
        0 => Err(Refusal::NoBooks),
        count => Ok(count),
    }
}

/// The same library.
#[wpool_guest::task]
fn same(library: Library) -> Library {
    library
}

/// Sorts kinds by how many there are of each.
#[wpool_guest::task]
fn tally(kinds: BTreeMap<Kind, u32>) -> Vec<(Kind, u32)> {
    let mut tally: Vec<_> = kinds.into_iter().collect();
    tally.sort_by_key(|(_, count)| *count);
    tally
}

/// The depth of a nest.
#[wpool_guest::task]
fn depth(nest: Nest, any: Json) -> (u32, Json) {
    fn of(nest: &Nest) -> u32 {
        1 + nest.0.iter().map(of).max().unwrap_or_default()
    }
    (of(&nest), any)
}

/// The same, as it came.
#[wpool_guest::task]
fn r#move(wide: Wide, address: abroad::Address) -> (Wide, abroad::Address) {
    (wide, address)
}

/// Puts the numbers of a slice into a queue, and the sum into a dictionary.
#[wpool_guest::task]
fn add(
    numbers: SharedSlice<f64>,
    each: Sender<f64>,
    sums: Dict<String, Vec<f64>>,
    done: Queue<()>,
) -> Result<(), ObjectError> {
    let numbers = numbers.to_vec()?;
    numbers.iter().try_for_each(|number| each.put(number))?;
    sums.set(&"all".to_owned(), &vec![numbers.iter().sum()])?;
    done.put(&())
}
