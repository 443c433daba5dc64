//! The matching tree: which of many patterns mean a name, without asking each.
//!
//! One node per level. The tree knows pattern numbers only; who hears a pattern is in `pattern`.

use std::collections::BTreeMap;

/// A pattern tree over levels.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Node,
    patterns: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Levels spelled out. Ordered, so that two runs agree; small, since patterns are.
    names: BTreeMap<Box<str>, Node>,
    /// The level `+`.
    plus: Option<Box<Node>>,
    /// The pattern that ends here.
    here: Option<u32>,
    /// The pattern that ends here with `#`.
    rest: Option<u32>,
}

impl Tree {
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns == 0
    }

    pub(crate) fn insert(&mut self, pattern: &str, number: u32) {
        let mut node = &mut self.root;
        self.patterns += 1;
        for level in pattern.split('/') {
            node = match level {
                "#" => {
                    node.rest = Some(number);
                    return;
                }
                "+" => node.plus.get_or_insert_default(),
                name => node.names.entry(name.into()).or_default(),
            };
        }
        node.here = Some(number);
    }

    pub(crate) fn remove(&mut self, pattern: &str) {
        let levels: Vec<&str> = pattern.split('/').collect();
        if self.root.remove(&levels) {
            self.patterns -= 1;
        }
    }

    /// Appends the numbers of all patterns that mean `name`, each once. Returns how many nodes were looked at: depth is
    /// bounded by the levels of a name, and a level branches at most in two, but only the patterns bound the product.
    pub(crate) fn matches(&self, name: &str, found: &mut Vec<u32>) -> usize {
        let is_reserved = name.starts_with('$');
        self.root.matches(Some(name), is_reserved, found)
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.plus.is_none() && self.here.is_none() && self.rest.is_none()
    }

    /// Removes a pattern, and the nodes that only it needed.
    fn remove(&mut self, levels: &[&str]) -> bool {
        match levels {
            [] => self.here.take().is_some(),
            ["#"] => self.rest.take().is_some(),
            ["+", below @ ..] => {
                let Some(node) = &mut self.plus else { return false };
                let removed = node.remove(below);
                if node.is_empty() {
                    self.plus = None;
                }
                removed
            }
            [name, below @ ..] => {
                let Some(node) = self.names.get_mut(*name) else { return false };
                let removed = node.remove(below);
                if node.is_empty() {
                    self.names.remove(*name);
                }
                removed
            }
        }
    }

    fn matches(&self, name: Option<&str>, reserved: bool, found: &mut Vec<u32>) -> usize {
        // MQTT 5, 4.7.1.2: `a/#` also means `a`; 4.7.2: wildcards first do not mean names that begin with `$`.
        if let Some(number) = self.rest
            && !reserved
        {
            found.push(number);
        }
        let Some(name) = name else {
            found.extend(self.here);
            return 1;
        };
        let (level, below) = match name.split_once('/') {
            Some((level, below)) => (level, Some(below)),
            None => (name, None),
        };
        let mut nodes = 1;
        if let Some(node) = self.names.get(level) {
            nodes += node.matches(below, false, found);
        }
        if let Some(node) = &self.plus
            && !reserved
        {
            nodes += node.matches(below, false, found);
        }
        nodes
    }
}
