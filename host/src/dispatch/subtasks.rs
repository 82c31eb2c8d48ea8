//! The trees of tasks that submit sub-tasks: their quotas, and the outcomes that wait for their parents.
//!
//! There is no effect here: the runtime reports requests and ends of tasks, and sends the answers.

use std::collections::HashMap;

use wpool_abi::SubTaskFailure;

use crate::ids::TaskId;
use crate::manager::Stored;
use wpool_wire::limits::SubTasks;

/// The nodes of all trees: tasks that have submitted others, and the others.
#[derive(Debug, Default)]
pub(crate) struct SubTaskTree {
    nodes: HashMap<TaskId, Node>,
    roots: HashMap<TaskId, Root>,
}

/// One task, with its sub-tasks.
#[derive(Debug)]
struct Node {
    root: TaskId,
    depth: u8,
    children: Vec<Child>,
    /// The index of the child whose outcome the task awaits.
    awaits: Option<u32>,
}

#[derive(Debug)]
enum Child {
    /// The sub-task has not ended. Its `arguments` take this number of bytes.
    Runs { task: TaskId, arguments: u64 },
    /// The outcome waits for the parent to ask for it.
    Ended(SubTaskEnd),
    /// The parent has got the outcome.
    Taken,
}

/// The use that all descendants of one task make of their common quota.
#[derive(Debug, Default)]
struct Root {
    /// The number of descendants that were submitted.
    submitted: u32,
    /// The bytes of their arguments, and of their outcomes that were not taken yet.
    held: u64,
}

/// The limits on the sub-tasks of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) sub_tasks: SubTasks,
    /// The bytes of arguments and outcomes that one root's descendants may have in the parent process.
    pub(crate) held: u64,
}

/// Why a sub-task is not submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
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
    /// The kind of the failure, as guests see it.
    pub(crate) fn kind(&self) -> &'static str {
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
pub(crate) enum SubTaskEnd {
    /// The value in postcard, with its handles.
    Value(Stored),
    Failed(SubTaskFailure),
}

impl SubTaskEnd {
    pub(crate) fn failed(kind: &str, message: String) -> Self {
        SubTaskEnd::Failed(failure(kind, message))
    }

    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self::failed(refusal.kind(), refusal.to_string())
    }

    /// The bytes that the outcome takes.
    fn size(&self) -> u64 {
        let size = match self {
            SubTaskEnd::Value(Stored { bytes, handles }) => bytes.len() + size_of_val(handles.as_slice()),
            SubTaskEnd::Failed(SubTaskFailure { kind, message, value }) => {
                kind.len() + message.len() + value.as_ref().map_or(0, Vec::len)
            }
        };
        size as u64
    }
}

fn failure(kind: &str, message: String) -> SubTaskFailure {
    SubTaskFailure { kind: kind.to_owned(), message, value: None }
}

/// A request that an honest worker never makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProtocolViolation;

/// The answer to a request for the outcome of a sub-task.
#[derive(Debug, PartialEq)]
pub(crate) enum Wanted {
    Now(SubTaskEnd),
    /// This sub-task has not ended. Its outcome is sent when it does.
    Later(TaskId),
    /// There is no such sub-task, or its outcome was taken before.
    Nothing,
}

impl SubTaskTree {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Checks whether a task at `depth` may submit one more sub-task, its `index`th, with this number of bytes of
    /// `arguments`. Either way the index is used: [`started`](Self::started) or [`refused`](Self::refused) must follow.
    pub(crate) fn check(
        &mut self,
        parent: TaskId,
        depth: u8,
        index: u32,
        arguments: usize,
        quota: Quota,
    ) -> Result<Result<(), Refusal>, ProtocolViolation> {
        let SubTasks { depth: deepest, fan_out, total } = quota.sub_tasks;
        let node = self.nodes.entry(parent).or_insert_with(|| Node::new(parent, depth));
        if node.children.len() != index as usize || index >= fan_out {
            return Err(ProtocolViolation);
        }
        if depth == 0 {
            self.roots.entry(parent).or_default();
        }
        let Some(root) = self.roots.get(&node.root) else {
            // The root has ended, so its descendants are being killed.
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

    /// Adds a sub-task that was submitted.
    pub(crate) fn started(&mut self, parent: TaskId, task: TaskId, arguments: usize) {
        let Some(node) = self.nodes.get_mut(&parent) else { return };
        let (root, depth, arguments) = (node.root, node.depth + 1, arguments as u64);
        node.children.push(Child::Runs { task, arguments });
        self.nodes.insert(task, Node::new(root, depth));
        if let Some(root) = self.roots.get_mut(&root) {
            root.submitted += 1;
            root.held += arguments;
        }
    }

    /// Adds the outcome of a sub-task that was not submitted.
    pub(crate) fn refused(&mut self, parent: TaskId, outcome: SubTaskEnd) {
        let Some(node) = self.nodes.get_mut(&parent) else { return };
        if let Some(root) = self.roots.get_mut(&node.root) {
            root.held += outcome.size();
        }
        node.children.push(Child::Ended(outcome));
    }

    /// Whether a task waits for the outcome of a sub-task.
    pub(crate) fn awaits(&self, parent: TaskId) -> bool {
        self.nodes.get(&parent).is_some_and(|node| node.awaits.is_some())
    }

    /// Takes the outcome of a task's `index`th sub-task, or notes that the task awaits it. A task that awaits one asks
    /// for no other.
    pub(crate) fn take(&mut self, parent: TaskId, index: u32) -> Result<Wanted, ProtocolViolation> {
        let Some(node) = self.nodes.get_mut(&parent) else { return Ok(Wanted::Nothing) };
        if node.awaits.is_some() {
            return Err(ProtocolViolation);
        }
        let Some(child) = node.children.get_mut(index as usize) else { return Ok(Wanted::Nothing) };
        Ok(match child {
            Child::Runs { task, .. } => {
                node.awaits = Some(index);
                Wanted::Later(*task)
            }
            Child::Ended(_) => {
                let Child::Ended(outcome) = std::mem::replace(child, Child::Taken) else {
                    return Ok(Wanted::Nothing);
                };
                if let Some(root) = self.roots.get_mut(&node.root) {
                    root.held = root.held.saturating_sub(outcome.size());
                }
                Wanted::Now(outcome)
            }
            Child::Taken => Wanted::Nothing,
        })
    }

    /// Notes the end of a sub-task. Returns the outcome if the parent awaits it; otherwise keeps it, or a refusal in its
    /// place if the tree would hold more than `held` bytes.
    pub(crate) fn ended(
        &mut self,
        parent: TaskId,
        index: u32,
        outcome: SubTaskEnd,
        held: u64,
    ) -> Option<SubTaskEnd> {
        let node = self.nodes.get_mut(&parent)?;
        let child = node.children.get_mut(index as usize)?;
        let Child::Runs { arguments, .. } = *child else { return None };
        let mut root = self.roots.get_mut(&node.root);
        if let Some(root) = &mut root {
            root.held = root.held.saturating_sub(arguments);
        }
        if node.awaits == Some(index) {
            node.awaits = None;
            *child = Child::Taken;
            return Some(outcome);
        }
        let fits = |root: &Root| root.held.saturating_add(outcome.size()) <= held;
        let fits = root.as_deref().is_none_or(fits);
        let outcome = if fits { outcome } else { SubTaskEnd::refused(&Refusal::Held(held)) };
        if let Some(root) = root {
            root.held += outcome.size();
        }
        *child = Child::Ended(outcome);
        None
    }

    /// Removes a task that has ended. Returns its sub-tasks that have not: their outcomes can reach no task any more.
    pub(crate) fn remove(&mut self, task: TaskId) -> Vec<TaskId> {
        self.roots.remove(&task);
        let Some(Node { root, children, .. }) = self.nodes.remove(&task) else { return Vec::new() };
        let held: u64 = children.iter().map(Child::held).sum();
        if let Some(root) = self.roots.get_mut(&root) {
            root.held = root.held.saturating_sub(held);
        }
        let running = children.into_iter().filter_map(|child| match child {
            Child::Runs { task, .. } => Some(task),
            Child::Ended(_) | Child::Taken => None,
        });
        running.collect()
    }
}

impl Child {
    /// The bytes of its arguments or its outcome.
    fn held(&self) -> u64 {
        match self {
            Child::Runs { arguments, .. } => *arguments,
            Child::Ended(outcome) => outcome.size(),
            Child::Taken => 0,
        }
    }
}

impl Node {
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
        tree: &mut SubTaskTree,
        parent: TaskId,
        depth: u8,
        index: u32,
        task: TaskId,
    ) -> Result<(), Refusal> {
        let checked = tree.check(parent, depth, index, 10, QUOTA).expect("the index is the next");
        match &checked {
            Ok(()) => tree.started(parent, task, 10),
            Err(refusal) => tree.refused(parent, SubTaskEnd::refused(refusal)),
        }
        checked
    }

    fn value(bytes: &[u8]) -> SubTaskEnd {
        SubTaskEnd::Value(Stored { bytes: bytes.to_vec(), handles: Vec::new() })
    }

    fn end(tree: &mut SubTaskTree, parent: TaskId, index: u32, outcome: &[u8]) -> Option<SubTaskEnd> {
        tree.ended(parent, index, value(outcome), QUOTA.held)
    }

    #[test]
    fn an_outcome_waits_for_its_parent_or_the_parent_for_it() {
        let mut tree = SubTaskTree::default();
        submit(&mut tree, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut tree, ROOT, 0, 1, TaskId(3)).unwrap();
        assert_eq!(tree.take(ROOT, 0), Ok(Wanted::Later(CHILD)));
        assert_eq!(tree.take(ROOT, 1), Err(ProtocolViolation), "one question at a time");
        assert!(tree.awaits(ROOT) && !tree.awaits(CHILD));
        assert_eq!(end(&mut tree, ROOT, 1, b"early"), None);
        assert_eq!(end(&mut tree, ROOT, 0, b"awaited"), Some(value(b"awaited")));
        assert_eq!(tree.take(ROOT, 1), Ok(Wanted::Now(value(b"early"))));
        assert_eq!(tree.take(ROOT, 1), Ok(Wanted::Nothing), "once");
        assert_eq!(tree.take(ROOT, 7), Ok(Wanted::Nothing), "there is none");
        assert_eq!(tree.take(TaskId(99), 0), Ok(Wanted::Nothing));
    }

    #[test]
    fn every_quota_bites() {
        let mut tree = SubTaskTree::default();
        submit(&mut tree, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut tree, CHILD, 1, 0, TaskId(3)).unwrap();
        assert_eq!(submit(&mut tree, TaskId(3), 2, 0, TaskId(4)), Err(Refusal::Depth(2)));
        submit(&mut tree, CHILD, 1, 1, TaskId(5)).unwrap();
        submit(&mut tree, ROOT, 0, 1, TaskId(6)).unwrap();
        assert_eq!(submit(&mut tree, ROOT, 0, 2, TaskId(7)), Err(Refusal::Total(4)));
        let refused = Wanted::Now(SubTaskEnd::refused(&Refusal::Total(4)));
        assert_eq!(tree.take(ROOT, 2), Ok(refused), "the refusal is the outcome");
        assert_eq!(tree.check(ROOT, 0, 3, 0, QUOTA), Err(ProtocolViolation), "the worker knows the fan-out");
        assert_eq!(tree.check(CHILD, 1, 1, 0, QUOTA), Err(ProtocolViolation), "and counts");
    }

    #[test]
    fn bytes_that_are_held_are_bounded() {
        let mut tree = SubTaskTree::default();
        submit(&mut tree, ROOT, 0, 0, CHILD).unwrap();
        assert_eq!(tree.check(ROOT, 0, 1, 91, QUOTA), Ok(Err(Refusal::Held(100))));
        assert_eq!(end(&mut tree, ROOT, 0, &[0; 101]), None);
        assert_eq!(tree.take(ROOT, 0), Ok(Wanted::Now(SubTaskEnd::refused(&Refusal::Held(100)))));
        assert_eq!(tree.check(ROOT, 0, 1, 100, QUOTA), Ok(Ok(())), "all of it came back");
    }

    #[test]
    fn the_end_of_a_task_frees_what_its_own_sub_tasks_held() {
        let mut tree = SubTaskTree::default();
        submit(&mut tree, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut tree, CHILD, 1, 0, TaskId(3)).unwrap();
        submit(&mut tree, CHILD, 1, 1, TaskId(4)).unwrap();
        assert_eq!(end(&mut tree, CHILD, 0, &[0; 50]), None);
        assert_eq!(tree.remove(CHILD), [TaskId(4)]);
        assert_eq!(end(&mut tree, ROOT, 0, b""), None);
        assert_eq!(tree.roots[&ROOT].held, 0);
    }

    #[test]
    fn the_end_of_a_task_names_the_sub_tasks_that_are_left() {
        let mut tree = SubTaskTree::default();
        submit(&mut tree, ROOT, 0, 0, CHILD).unwrap();
        submit(&mut tree, ROOT, 0, 1, TaskId(3)).unwrap();
        submit(&mut tree, CHILD, 1, 0, TaskId(4)).unwrap();
        assert_eq!(end(&mut tree, ROOT, 1, b"done"), None);
        assert_eq!(tree.remove(TaskId(3)), []);
        assert_eq!(tree.remove(ROOT), [CHILD]);
        assert_eq!(end(&mut tree, ROOT, 0, b"too late"), None);
        assert_eq!(submit(&mut tree, CHILD, 1, 1, TaskId(5)), Err(Refusal::Closed));
        assert_eq!(tree.remove(CHILD), [TaskId(4)]);
        assert_eq!(tree.remove(TaskId(4)), []);
        assert!(tree.is_empty() && tree.roots.is_empty());
    }
}
