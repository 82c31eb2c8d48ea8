//! [`Rights`]: the rights of a handle, and their place in a handle's wire index.

use serde::{Deserialize, Serialize};

/// The rights of a handle: a set of [`READ`](Rights::READ) and [`WRITE`](Rights::WRITE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rights(pub u8);

impl Rights {
    /// To take and read values, and to wait.
    pub const READ: Rights = Rights(1);
    /// To put and change values.
    pub const WRITE: Rights = Rights(2);
    /// Both.
    pub const ALL: Rights = Rights(3);

    /// Returns whether every right in `others` is also in this set.
    #[must_use]
    pub fn contain(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    /// Returns the rights that are in both sets.
    #[must_use]
    pub fn and(self, others: Rights) -> Rights {
        Rights(self.0 & others.0)
    }
}

/// The lowest of the bits of a wire index that name the withheld rights.
const WITHHELD: u32 = 30;

/// Returns the wire index of a handle: its index in the task's table, and in the two highest bits the rights that are
/// not passed on. With [`Rights::ALL`] it is the index itself.
#[must_use]
pub fn with_rights(index: u32, rights: Rights) -> u32 {
    let withheld = !rights.0 & Rights::ALL.0;
    index | u32::from(withheld) << WITHHELD
}

/// Splits a wire index into the index in the task's table and the rights that are passed on.
#[must_use]
pub fn without_rights(wire_index: u32) -> (u32, Rights) {
    let withheld = (wire_index >> WITHHELD) as u8;
    (wire_index & ((1 << WITHHELD) - 1), Rights(!withheld & Rights::ALL.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_index_holds_the_index_and_the_rights() {
        assert_eq!(with_rights(7, Rights::ALL), 7);
        for rights in [Rights(0), Rights::READ, Rights::WRITE, Rights::ALL] {
            assert_eq!(without_rights(with_rights(7, rights)), (7, rights));
        }
    }
}
