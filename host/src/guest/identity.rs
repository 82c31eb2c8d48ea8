//! The identity of a guest.

use std::fmt;

/// The identity of a guest: a hash of its module, and of its initializer's arguments if it has an initializer.
///
/// It is printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    pub(super) fn of(module: &[u8]) -> Self {
        Self(*blake3::hash(module).as_bytes())
    }

    /// Returns the identity of the same module with these arguments for its initializer.
    pub(super) fn initialized_with(&self, arguments: &[u8]) -> Self {
        Self(*blake3::keyed_hash(&self.0, arguments).as_bytes())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}
