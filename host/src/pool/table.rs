//! The handles of one task: what each of its numbers stands for.

use std::collections::HashMap;

use wpool_abi::object::{MAX_HANDLES, ObjectError, Rights};

use crate::manager::{Grant, ObjectId};
use crate::wire::message::Granted;

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

    /// What these numbers stand for.
    pub(super) fn all(&self, numbers: impl IntoIterator<Item = u32>) -> Result<Vec<Grant>, ObjectError> {
        numbers.into_iter().map(|number| self.get(number).cloned()).collect()
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

    /// Takes what was added from a place on away again, if it is too much.
    pub(super) fn bound(&mut self, before: usize) -> Result<(), ObjectError> {
        if self.grants.len() <= MAX_HANDLES.max(before) {
            return Ok(());
        }
        self.grants.truncate(before);
        self.places = None;
        Err(ObjectError::Quota(format!("a task can have {MAX_HANDLES} handles")))
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
    fn what_is_too_much_is_taken_away_again() {
        let mut objects = Objects::new(0);
        let mut table = Table::default();
        for _ in 0..MAX_HANDLES {
            table.add(objects.make(Shape::Event));
        }
        assert_eq!(table.bound(0), Ok(()));
        table.add(objects.make(Shape::Event));
        assert!(matches!(table.bound(MAX_HANDLES), Err(ObjectError::Quota(_))));
        assert_eq!(table.len(), MAX_HANDLES);
    }
}
