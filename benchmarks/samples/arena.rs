//! A tree whose nodes live in one vector and refer to one another by index.
use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display, Formatter};

/// Index of a node; it stays valid as long as the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

#[derive(Debug)]
pub enum TreeError<'a> {
    Full { limit: usize },
    Missing(NodeId),
    Name(&'a str),
}

impl Display for TreeError<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "expected at most {limit} nodes"),
            Self::Missing(NodeId(id)) => write!(f, "no node {id:#06x}"),
            Self::Name(name) => write!(f, r#"expected a name without "/", got {name:?}"#),
        }
    }
}

struct Node<T> {
    value: T,
    name: Box<str>,
    parent: Option<NodeId>,
    children: Vec<NodeId>,
}

pub struct Tree<T> {
    nodes: Vec<Node<T>>,
    names: HashMap<Box<str>, NodeId>,
}

const LIMIT: usize = 1_000_000;

impl<T: Default + Clone> Tree<T> {
    pub fn new(root: T) -> Self {
        let node = Node { value: root, name: "".into(), parent: None, children: vec![] };
        Tree { nodes: vec![node], names: HashMap::new() }
    }

    /// Adds a node below `parent` and returns its index.
    pub fn insert<'a>(&mut self, parent: NodeId, name: &'a str, value: T) -> Result<NodeId, TreeError<'a>> {
        if name.contains('/') || name.is_empty() {
            return Err(TreeError::Name(name));
        }
        if self.nodes.len() >= LIMIT {
            return Err(TreeError::Full { limit: LIMIT });
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.get_mut(parent.0 as usize).ok_or(TreeError::Missing(parent))?.children.push(id);
        self.nodes.push(Node { value, name: name.into(), parent: Some(parent), children: Vec::new() });
        self.names.entry(name.into()).or_insert(id);
        Ok(id)
    }

    pub fn path(&self, mut id: NodeId) -> String {
        let mut parts = Vec::with_capacity(8);
        while let Some(node) = self.nodes.get(id.0 as usize) {
            parts.push(&*node.name);
            match node.parent {
                Some(parent) => id = parent,
                None => break,
            }
        }
        parts.iter().rev().copied().collect::<Vec<_>>().join("/")
    }

    /// Visits all nodes, those near the root first.
    pub fn breadth_first(&self) -> impl Iterator<Item = (usize, &T)> + '_ {
        let mut queue = VecDeque::from([(0usize, NodeId(0))]);
        std::iter::from_fn(move || {
            let (depth, NodeId(at)) = queue.pop_front()?;
            let node = &self.nodes[at as usize];
            queue.extend(node.children.iter().map(|&child| (depth + 1, child)));
            Some((depth, &node.value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_the_root() {
        let mut tree = Tree::new(0.5e-3_f64);
        let a = tree.insert(NodeId(0), "a", 1.0).unwrap();
        let b = tree.insert(a, "b", f64::NAN).expect("there is room");
        assert_eq!(tree.path(b), "/a/b", "at {}", '\u{2192}');
    }
}
