//! The handles of one task: what each of its numbers stands for.

use std::collections::{HashMap, HashSet};

use wpool_abi::object::{MAX_HANDLES, ObjectError, Reply, Rights, without_rights};

use crate::manager::{Grant, ObjectId, Stored};
use wpool_wire::message::Granted;

/// What a task was granted, in order: the numbers are places. It keeps all of it until it ends.
#[derive(Default)]
pub(super) struct Table {
    grants: Vec<Grant>,
    /// Where each stands, from the time on when more are added.
    places: Option<HashMap<(ObjectId, Rights), u32>>,
}

impl Table {
    pub(super) fn new(grants: Vec<Grant>) -> Self {
        Self { grants, places: None }
    }

    /// What a number stands for.
    pub(super) fn get(&self, number: u32) -> Result<&Grant, ObjectError> {
        self.grants.get(number as usize).ok_or(ObjectError::BadHandle)
    }

    /// What these numbers stand for, with the rights that they leave.
    pub(super) fn all(&self, numbers: impl IntoIterator<Item = u32>) -> Result<Vec<Grant>, ObjectError> {
        let passed = |number| {
            let (number, rights) = without_rights(number);
            self.get(number).map(|grant| grant.narrowed(rights))
        };
        numbers.into_iter().map(passed).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.grants.len()
    }

    /// Those from a place on.
    pub(super) fn since(&self, place: usize) -> &[Grant] {
        self.grants.get(place..).unwrap_or_default()
    }

    /// Adds a grant, or finds that the task has it. Returns its number.
    pub(super) fn add(&mut self, grant: Grant) -> u32 {
        let grants = &self.grants;
        let places =
            self.places.get_or_insert_with(|| (0..).zip(grants).map(|(n, grant)| (key(grant), n)).collect());
        let next = u32::try_from(self.grants.len()).expect("its length is bounded");
        *places.entry(key(&grant)).or_insert_with(|| {
            self.grants.push(grant);
            next
        })
    }

    /// Whether the task can have what comes with a reply, too.
    pub(super) fn has_room(&self, reply: &Reply<Stored>) -> bool {
        let grants: Vec<&Grant> = match reply {
            Reply::Items(items, _) => items.iter().flat_map(|item| &item.handles).collect(),
            Reply::Found(Some(item)) => item.handles.iter().collect(),
            Reply::Entries(entries) => entries.iter().flat_map(|(_, item)| &item.handles).collect(),
            _ => Vec::new(),
        };
        self.have_room(&grants)
    }

    /// Whether the task can have these, too.
    pub(super) fn have_room(&self, grants: &[&Grant]) -> bool {
        if self.grants.len() + grants.len() <= MAX_HANDLES {
            return true;
        }
        // Those that it has already are looked for only where it matters.
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
    use wpool_abi::object::with_rights;

    use super::*;
    use crate::manager::Shape;
    use crate::pool::objects::Objects;

    #[test]
    fn a_grant_has_one_number_and_its_rights_another() {
        let mut objects = Objects::new(0);
        let [first, second] = [Shape::Event, Shape::Event].map(|shape| objects.make(shape));
        let mut table = Table::new(vec![first.clone()]);
        assert_eq!(table.add(second.clone()), 1);
        assert_eq!((table.add(first.clone()), table.add(second)), (0, 1));
        assert_eq!(table.add(first.narrowed(Rights::READ)), 2);
        assert_eq!(
            (table.len(), table.since(1).len(), table.get(3).err()),
            (3, 2, Some(ObjectError::BadHandle))
        );
    }

    #[test]
    fn there_is_room_for_so_many_different_ones() {
        let mut objects = Objects::new(0);
        let mut table = Table::default();
        for _ in 0..MAX_HANDLES {
            table.add(objects.make(Shape::Event));
        }
        let (known, new) = (table.get(7).unwrap().clone(), objects.make(Shape::Event));
        assert!(table.have_room(&[]) && table.have_room(&[&known, &known]));
        assert!(!table.have_room(&[&new]));
        let item = Stored { bytes: Vec::new(), handles: vec![known, new] };
        assert!(!table.has_room(&Reply::Items(vec![item], false)));
    }

    #[test]
    fn a_number_can_say_that_less_is_passed_on() {
        let mut objects = Objects::new(0);
        let table = Table::new(vec![objects.make(Shape::Event)]);
        let passed = |number| table.all([number]).map(|grants| grants[0].rights);
        assert_eq!(passed(0), Ok(Rights::ALL));
        assert_eq!(passed(with_rights(0, Rights::READ)), Ok(Rights::READ));
        assert_eq!(passed(with_rights(0, Rights::WRITE)), Ok(Rights::WRITE));
        assert_eq!(passed(with_rights(1, Rights::ALL)), Err(ObjectError::BadHandle));
    }
}
