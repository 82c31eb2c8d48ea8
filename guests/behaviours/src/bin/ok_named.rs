//! Takes the content of a file with its name.
#![no_main]

/// Returns the name, and the number of bytes.
#[wpool_guest::task]
fn size(name: String, content: &[u8]) -> (String, u64) {
    (name, content.len() as u64)
}
