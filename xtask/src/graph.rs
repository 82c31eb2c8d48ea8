//! A directed graph of names: its circles, and the fewest arrows that say the same.

use std::collections::{BTreeMap, BTreeSet};

/// Names, and which of them point to which others.
#[derive(Debug, Default, Clone)]
pub struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub fn add_node(&mut self, node: &str) {
        self.edges.entry(node.to_owned()).or_default();
    }

    /// Adds an edge. A node that points to itself says nothing.
    pub fn add_edge(&mut self, from: &str, to: &str) {
        self.add_node(to);
        self.add_node(from);
        if from != to
            && let Some(targets) = self.edges.get_mut(from)
        {
            targets.insert(to.to_owned());
        }
    }

    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(String::as_str)
    }

    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges
            .iter()
            .flat_map(|(from, targets)| targets.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// The graph of the names that `name` gives to the nodes; nodes without a name are left out.
    #[must_use]
    pub fn renamed(&self, name: impl Fn(&str) -> Option<String>) -> Graph {
        let mut graph = Graph::default();
        self.nodes().filter_map(&name).for_each(|node| graph.add_node(&node));
        for (from, to) in self.edges() {
            if let (Some(from), Some(to)) = (name(from), name(to)) {
                graph.add_edge(&from, &to);
            }
        }
        graph
    }

    /// The nodes that can be reached from a node by one edge or more.
    #[must_use]
    pub fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = vec![from];
        while let Some(node) = next.pop() {
            for target in self.edges.get(node).into_iter().flatten() {
                if reached.insert(target.as_str()) {
                    next.push(target);
                }
            }
        }
        reached
    }

    /// The circles: sets of nodes that can all be reached from each other.
    #[must_use]
    pub fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reachable: BTreeMap<&str, BTreeSet<&str>> =
            self.nodes().map(|node| (node, self.reachable(node))).collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (node, reached) in reachable.iter().filter(|(node, reached)| reached.contains(*node)) {
            let circle = reached.iter().copied().filter(|other| reachable[other].contains(node)).collect();
            if !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    /// The same graph without the edges that follow from others. It must have no circle.
    #[must_use]
    pub fn reduced(&self) -> Graph {
        let mut reduced = self.clone();
        for (from, to) in self.edges() {
            let others = self.edges.get(from).into_iter().flatten().filter(|other| *other != to);
            if others.into_iter().any(|other| self.reachable(other).contains(to))
                && let Some(targets) = reduced.edges.get_mut(from)
            {
                targets.remove(to);
            }
        }
        reduced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        edges.iter().for_each(|(from, to)| graph.add_edge(from, to));
        graph
    }

    #[test]
    fn a_circle_is_found_however_long_it_is() {
        assert!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]).circles().is_empty());
        let graph = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("x", "y"), ("y", "x")]);
        assert_eq!(graph.circles(), [BTreeSet::from(["a", "b", "c"]), BTreeSet::from(["x", "y"])]);
    }

    #[test]
    fn an_edge_that_follows_from_others_is_left_out() {
        let reduced = graph(&[("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]).reduced();
        assert_eq!(reduced.edges().collect::<Vec<_>>(), [("a", "b"), ("a", "d"), ("b", "c")]);
    }

    #[test]
    fn nodes_of_one_name_become_one() {
        let folders = graph(&[("a/x", "a/y"), ("a/x", "b/z")]);
        let folders = folders.renamed(|file| file.split('/').next().map(str::to_owned));
        assert_eq!(folders.edges().collect::<Vec<_>>(), [("a", "b")]);
    }
}
