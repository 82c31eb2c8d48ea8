//! Which task has submitted which: what sub-tasks may cost, and who hears of their end.
//!
//! There is no effect here: the pool tells what a task asks for and what has ended, and sends the answers.

use std::collections::HashMap;

use wpool_abi::SubTaskFailure;

use crate::ids::TaskId;
use crate::manager::Grant;
use wpool_wire::limits::SubTasks;

/// All tasks that have submitted others, and the others.
#[derive(Debug, Default)]
pub(super) struct Families {
    members: HashMap<TaskId, Member>,
    roots: HashMap<TaskId, Root>,
}

/// One task: what it has submitted.
#[derive(Debug)]
struct Member {
    root: TaskId,
    depth: u8,
    children: Vec<Child>,
    /// Which of them it waits for.
    awaits: Option<u32>,
}

#[derive(Debug)]
enum Child {
    Runs { task: TaskId, arguments: u64 },
    Ended(Ended),
    Taken,
}

/// What all descendants of one task have in common.
#[derive(Debug, Default)]
struct Root {
    submitted: u32,
    /// Bytes of arguments and of results that nobody has taken.
    held: u64,
}

/// What the tasks of a guest may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) sub_tasks: SubTasks,
    /// Bytes of arguments and results that one root's descendants may have in the parent.
    pub(super) held: u64,
}

/// Why a task gets no sub-task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("sub-tasks may lie {0} deep")]
    Depth(u8),
    #[error("a task and its sub-tasks may submit {0} together")]
    Total(u32),
    #[error("arguments and results of sub-tasks may take {0} bytes together")]
    Held(u64),
    #[error("the guest has no task `{0}`")]
    UnknownTask(String),
    #[error("`{task}` {what} another type")]
    WrongType { task: String, what: &'static str },
    #[error("the pool takes no more tasks")]
    Closed,
}

impl Refusal {
    /// A short name in snake case.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Refusal::Depth(_) | Refusal::Total(_) | Refusal::Held(_) => "quota",
            Refusal::UnknownTask(_) => "unknown_task",
            Refusal::WrongType { .. } => "wrong_type",
            Refusal::Closed => "pool_closed",
        }
    }
}

/// How a sub-task has ended.
#[derive(Debug, PartialEq)]
pub(super) enum Ended {
    /// Its value in postcard, and the handles in it.
    Value {
        bytes: Vec<u8>,
        grants: Vec<Grant>,
    },
    Failed(SubTaskFailure),
}

impl Ended {
    pub(super) fn failed(kind: &str, message: String) -> Self {
        Ended::Failed(failure(kind, message))
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::failed(refusal.kind(), refusal.to_string())
    }

    fn size(&self) -> u64 {
        let size = match self {
            Ended::Value { bytes, grants } => bytes.len() + size_of_val(grants.as_slice()),
            Ended::Failed(SubTaskFailure { kind, message, value }) => {
                kind.len() + message.len() + value.as_ref().map_or(0, Vec::len)
            }
        };
        size as u64
    }
}

pub(super) fn failure(kind: &str, message: String) -> SubTaskFailure {
    SubTaskFailure { kind: kind.to_owned(), message, value: None }
}

/// What a worker cannot honestly ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfTurn;

/// What there is for a task that asks for the outcome of a sub-task.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    Now(Ended),
    /// It hears of it when this sub-task ends.
    Later(TaskId),
    /// There is no such sub-task, or its outcome was taken before.
    Nothing,
}

impl Families {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Checks whether a task at this depth may have one more sub-task, its `number`th. Whatever the answer, the
    /// number is used: [`started`](Self::started) or [`refused`](Self::refused) says what for.
    pub(super) fn check(
        &mut self,
        parent: TaskId,
        depth: u8,
        number: u32,
        arguments: usize,
        quota: Quota,
    ) -> Result<Result<(), Refusal>, OutOfTurn> {
        let SubTasks { depth: deepest, fan_out, total } = quota.sub_tasks;
        let member = self.members.entry(parent).or_insert_with(|| Member::new(parent, depth));
        if member.children.len() != number as usize || number >= fan_out {
            return Err(OutOfTurn);
        }
        if depth == 0 {
            self.roots.entry(parent).or_default();
        }
        let Some(root) = self.roots.get(&member.root) else {
            // The root has ended, and its descendants are about to.
            return Ok(Err(Refusal::Closed));
        };
        let held = root.held.saturating_add(arguments as u64);
        Ok(if depth >= deepest {
            Err(Refusal::Depth(deepest))
        } else if root.submitted >= total {
            Err(Refusal::Total(total))
        } else if held > quota.held {
            Err(Refusal::Held(quota.held))
        } else {
            Ok(())
        })
    }

    /// The sub-task was submitted.
    pub(super) fn started(&mut self, parent: TaskId, task: TaskId, arguments: usize) {
        let Some(member) = self.members.get_mut(&parent) else { return };
        let (root, depth, arguments) = (member.root, member.depth + 1, arguments as u64);
        member.children.push(Child::Runs { task, arguments });
        self.members.insert(task, Member::new(root, depth));
        if let Some(root) = self.roots.get_mut(&root) {
            root.submitted += 1;
            root.held += arguments;
        }
    }

    /// The sub-task was not submitted, and this is its outcome.
    pub(super) fn refused(&mut self, parent: TaskId, outcome: Ended) {
        let Some(member) = self.members.get_mut(&parent) else { return };
        if let Some(root) = self.roots.get_mut(&member.root) {
            root.held += outcome.size();
        }
        member.children.push(Child::Ended(outcome));
    }

    /// A task asks for the outcome of its `number`th sub-task.
    pub(super) fn take(&mut self, parent: TaskId, number: u32) -> Wanted {
        let Some(member) = self.members.get_mut(&parent) else { return Wanted::Nothing };
        let Some(child) = member.children.get_mut(number as usize) else { return Wanted::Nothing };
        match child {
            Child::Runs { task, .. } => {
                member.awaits = Some(number);
                Wanted::Later(*task)
            }
            Child::Ended(_) => {
                let Child::Ended(outcome) = std::mem::replace(child, Child::Taken) else {
                    return Wanted::Nothing;
                };
                if let Some(root) = self.roots.get_mut(&member.root) {
                    root.held = root.held.saturating_sub(outcome.size());
                }
                Wanted::Now(outcome)
            }
            Child::Taken => Wanted::Nothing,
        }
    }

    /// A sub-task has ended. If its parent waits for it, the outcome comes back, to be sent there; else it is
    /// held, if it is not more than can be.
    pub(super) fn ended(&mut self, parent: TaskId, number: u32, outcome: Ended, held: u64) -> Option<Ended> {
        let member = self.members.get_mut(&parent)?;
        let child = member.children.get_mut(number as usize)?;
        let Child::Runs { arguments, .. } = *child else { return None };
        let mut root = self.roots.get_mut(&member.root);
        if let Some(root) = &mut root {
            root.held = root.held.saturating_sub(arguments);
        }
        if member.awaits == Some(number) {
            member.awaits = None;
            *child = Child::Taken;
            return Some(outcome);
        }
        let fits = |root: &Root| root.held.saturating_add(outcome.size()) <= held;
        let outcome = match root.as_deref().is_none_or(fits) {
            true => outcome,
            false => Ended::refused(&Refusal::Held(held)),
        };
        if let Some(root) = root {
            root.held += outcome.size();
        }
        *child = Child::Ended(outcome);
        None
    }

    /// A task has ended. Its sub-tasks that have not are of no use to anybody.
    pub(super) fn remove(&mut self, task: TaskId) -> Vec<TaskId> {
        self.roots.remove(&task);
        let children = self.members.remove(&task).map(|member| member.children).unwrap_or_default();
        let running = children.into_iter().filter_map(|child| match child {
            Child::Runs { task, .. } => Some(task),
            Child::Ended(_) | Child::Taken => None,
        });
        running.collect()
    }
}

impl Member {
    fn new(root: TaskId, depth: u8) -> Self {
        Self { root, depth, children: Vec::new(), awaits: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: TaskId = TaskId(1);
    const CHILD: TaskId = TaskId(2);
    const QUOTA: Quota = Quota { sub_tasks: SubTasks { depth: 2, fan_out: 3, total: 4 }, held: 100 };

    /// A task submits its next sub-task.
    fn submit(
        families: &mut Families,
        parent: TaskId,
        depth: u8,
        number: u32,
        task: TaskId,
    ) -> Result<(), Refusal> {
        let checked = families.check(parent, depth, number, 10, QUOTA).expect("the number is the next");
        match &checked {
            Ok(()) => families.started(parent, task, 10),
            Err(refusal) => families.refused(parent, Ended::refused(refusal)),
        }
        checked
    }

    fn value(bytes: &[u8]) -> Ended {
        Ended::Value { bytes: bytes.to_vec(), grants: Vec::new() }
    }

    fn end(families: &mut Families, parent: TaskId, number: u32, outcome: &[u8]) -> Option<Ended> {
        families.ended(parent, number, value(outcome), QUOTA.held)
    }

    #[test]
    fn an_outcome_waits_for_its_parent_or_the_parent_for_it() {
        let mut families = Families::default();
        submit(&mut families, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut families, ROOT, 0, 1, TaskId(3)).unwrap();
        assert_eq!(families.take(ROOT, 0), Wanted::Later(CHILD));
        assert_eq!(end(&mut families, ROOT, 1, b"early"), None);
        assert_eq!(end(&mut families, ROOT, 0, b"awaited"), Some(value(b"awaited")));
        assert_eq!(families.take(ROOT, 1), Wanted::Now(value(b"early")));
        assert_eq!(families.take(ROOT, 1), Wanted::Nothing, "once");
        assert_eq!(families.take(ROOT, 7), Wanted::Nothing, "there is none");
        assert_eq!(families.take(TaskId(99), 0), Wanted::Nothing);
    }

    #[test]
    fn every_quota_bites() {
        let mut families = Families::default();
        submit(&mut families, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut families, CHILD, 1, 0, TaskId(3)).unwrap();
        assert_eq!(submit(&mut families, TaskId(3), 2, 0, TaskId(4)), Err(Refusal::Depth(2)));
        submit(&mut families, CHILD, 1, 1, TaskId(5)).unwrap();
        submit(&mut families, ROOT, 0, 1, TaskId(6)).unwrap();
        assert_eq!(submit(&mut families, ROOT, 0, 2, TaskId(7)), Err(Refusal::Total(4)));
        let refused = Wanted::Now(Ended::refused(&Refusal::Total(4)));
        assert_eq!(families.take(ROOT, 2), refused, "it hears why when it asks");
        assert_eq!(families.check(ROOT, 0, 3, 0, QUOTA), Err(OutOfTurn), "the worker knows the fan-out");
        assert_eq!(families.check(CHILD, 1, 1, 0, QUOTA), Err(OutOfTurn), "and counts");
    }

    #[test]
    fn bytes_that_wait_are_bounded() {
        let mut families = Families::default();
        submit(&mut families, ROOT, 0, 0, CHILD).unwrap();
        assert_eq!(families.check(ROOT, 0, 1, 91, QUOTA), Ok(Err(Refusal::Held(100))));
        assert_eq!(end(&mut families, ROOT, 0, &[0; 101]), None);
        assert_eq!(families.take(ROOT, 0), Wanted::Now(Ended::refused(&Refusal::Held(100))));
        assert_eq!(families.check(ROOT, 0, 1, 100, QUOTA), Ok(Ok(())), "all of it came back");
    }

    #[test]
    fn the_end_of_a_task_names_the_sub_tasks_that_are_left() {
        let mut families = Families::default();
        submit(&mut families, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut families, ROOT, 0, 1, TaskId(3)).unwrap();
        submit(&mut families, CHILD, 1, 0, TaskId(4)).unwrap();
        assert_eq!(end(&mut families, ROOT, 1, b"done"), None);
        assert_eq!(families.remove(TaskId(3)), []);
        assert_eq!(families.remove(ROOT), [CHILD]);
        assert_eq!(end(&mut families, ROOT, 0, b"nobody wants it"), None);
        assert_eq!(submit(&mut families, CHILD, 1, 1, TaskId(5)), Err(Refusal::Closed));
        assert_eq!(families.remove(CHILD), [TaskId(4)]);
        assert_eq!(families.remove(TaskId(4)), []);
        assert!(families.is_empty() && families.roots.is_empty());
    }
}
