//! The handles of one task: the grant behind each index.

use std::collections::{HashMap, HashSet};

use wpool_abi::object::{MAX_HANDLES, ObjectError, Reply, Rights, without_rights};

use crate::manager::{Grant, ObjectId, Stored};
use wpool_wire::message::Granted;

/// The grants of a task, in the order in which it got them; a handle is an index. They stay until the task ends.
#[derive(Default)]
pub(super) struct HandleTable {
    grants: Vec<Grant>,
    /// The index of each grant; made when the first one is added.
    indices: Option<HashMap<(ObjectId, Rights), u32>>,
}

impl HandleTable {
    pub(super) fn new(grants: Vec<Grant>) -> Self {
        Self { grants, indices: None }
    }

    /// The grant at an index.
    pub(super) fn get(&self, index: u32) -> Result<&Grant, ObjectError> {
        self.grants.get(index as usize).ok_or(ObjectError::BadHandle)
    }

    /// The grants at wire indices, each with the rights that the wire index leaves.
    pub(super) fn all(&self, indices: impl IntoIterator<Item = u32>) -> Result<Vec<Grant>, ObjectError> {
        let passed = |index| {
            let (index, rights) = without_rights(index);
            self.get(index).map(|grant| grant.narrowed(rights))
        };
        indices.into_iter().map(passed).collect()
    }

    /// The number of grants.
    pub(super) fn len(&self) -> usize {
        self.grants.len()
    }

    /// The grants from an index on.
    pub(super) fn since(&self, first: usize) -> &[Grant] {
        self.grants.get(first..).unwrap_or_default()
    }

    /// Adds a grant unless the task has it. Returns its index.
    pub(super) fn add(&mut self, grant: Grant) -> u32 {
        let grants = &self.grants;
        let indices =
            self.indices.get_or_insert_with(|| (0..).zip(grants).map(|(n, grant)| (key(grant), n)).collect());
        let next = u32::try_from(self.grants.len()).expect("its length is bounded");
        *indices.entry(key(&grant)).or_insert_with(|| {
            self.grants.push(grant);
            next
        })
    }

    /// Whether there is room for the grants that come with a reply.
    pub(super) fn has_room(&self, reply: &Reply<Stored>) -> bool {
        let grants: Vec<&Grant> = match reply {
            Reply::Items(items, _) => items.iter().flat_map(|item| &item.handles).collect(),
            Reply::Found(Some(item)) => item.handles.iter().collect(),
            Reply::Entries(entries) => entries.iter().flat_map(|(_, item)| &item.handles).collect(),
            _ => Vec::new(),
        };
        self.have_room(&grants)
    }

    /// Whether there is room for these grants.
    pub(super) fn have_room(&self, grants: &[&Grant]) -> bool {
        if self.grants.len() + grants.len() <= MAX_HANDLES {
            return true;
        }
        // Grants that the task has already cost no room; they are looked for only where that matters.
        let known: HashSet<_> = self.grants.iter().map(key).collect();
        let new: HashSet<_> =
            grants.iter().map(|grant| key(grant)).filter(|key| !known.contains(key)).collect();
        self.grants.len() + new.len() <= MAX_HANDLES
    }
}

fn key(grant: &Grant) -> (ObjectId, Rights) {
    (grant.id(), grant.rights)
}

/// A grant, as a worker knows it.
pub(super) fn granted(grant: &Grant) -> Granted {
    let memory = grant.region().map(|_| grant.id().memory());
    Granted { kind: grant.kind(), rights: grant.rights, memory }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wpool_abi::object::with_rights;

    use super::*;
    use crate::manager::ObjectInit;
    use crate::server::SharedObjects;

    #[test]
    fn a_grant_has_one_index_and_with_other_rights_another() {
        let mut objects = SharedObjects::new(0, Arc::default());
        let [first, second] = [ObjectInit::Event, ObjectInit::Event].map(|shape| objects.make(shape));
        let mut table = HandleTable::new(vec![first.clone()]);
        assert_eq!(table.add(second.clone()), 1);
        assert_eq!((table.add(first.clone()), table.add(second)), (0, 1));
        assert_eq!(table.add(first.narrowed(Rights::READ)), 2);
        assert_eq!(
            (table.len(), table.since(1).len(), table.get(3).err()),
            (3, 2, Some(ObjectError::BadHandle))
        );
    }

    #[test]
    fn there_is_room_for_max_handles_different_grants() {
        let mut objects = SharedObjects::new(0, Arc::default());
        let mut table = HandleTable::default();
        for _ in 0..MAX_HANDLES {
            table.add(objects.make(ObjectInit::Event));
        }
        let (known, new) = (table.get(7).unwrap().clone(), objects.make(ObjectInit::Event));
        assert!(table.have_room(&[]) && table.have_room(&[&known, &known]));
        assert!(!table.have_room(&[&new]));
        let item = Stored { bytes: Vec::new(), handles: vec![known, new] };
        assert!(!table.has_room(&Reply::Items(vec![item], false)));
    }

    #[test]
    fn a_wire_index_can_pass_fewer_rights_on() {
        let mut objects = SharedObjects::new(0, Arc::default());
        let table = HandleTable::new(vec![objects.make(ObjectInit::Event)]);
        let passed = |index| table.all([index]).map(|grants| grants[0].rights);
        assert_eq!(passed(0), Ok(Rights::ALL));
        assert_eq!(passed(with_rights(0, Rights::READ)), Ok(Rights::READ));
        assert_eq!(passed(with_rights(0, Rights::WRITE)), Ok(Rights::WRITE));
        assert_eq!(passed(with_rights(1, Rights::ALL)), Err(ObjectError::BadHandle));
    }
}
