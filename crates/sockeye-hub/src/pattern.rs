//! The patterns heard on one shard, who hears them, and which other shards do.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;

use crate::{audience::Audience, shard::ShardSet, tree::Tree};

/// One pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Arc<str>,
    pub(crate) audience: Audience,
    /// Local subscriptions, those that still wait for other shards included.
    pub(crate) references: u32,
    /// Other shards that hear it.
    pub(crate) shards: ShardSet,
    /// The delivery that last matched it.
    pub(crate) stamp: u32,
}

/// All patterns of a shard.
#[derive(Debug)]
pub(crate) struct Patterns {
    slots: Vec<Option<Pattern>>,
    free: Vec<u32>,
    by_text: HashMap<Arc<str>, u32, FixedState>,
    tree: Tree,
    /// Changes whenever a pattern comes or goes: what was matched before is stale.
    version: u64,
}

impl Patterns {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_text: HashMap::with_hasher(hasher),
            tree: Tree::default(),
            version: 1,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    pub(crate) fn get(&self, number: u32) -> &Pattern {
        self.slots[number as usize].as_ref().expect("a pattern lives while it is referred to")
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Pattern {
        self.slots[number as usize].as_mut().expect("a pattern lives while it is referred to")
    }

    /// The number of a pattern, which is added if it was not known.
    pub(crate) fn find_or_insert(&mut self, text: &str) -> u32 {
        if let Some(number) = self.find(text) {
            return number;
        }
        let text: Arc<str> = text.into();
        let pattern = Pattern {
            text: Arc::clone(&text),
            audience: Audience::default(),
            references: 0,
            shards: ShardSet::default(),
            stamp: 0,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = Some(pattern);
                number
            }
            None => {
                self.slots.push(Some(pattern));
                u32::try_from(self.slots.len() - 1).expect("patterns are fewer than 2^32")
            }
        };
        self.tree.insert(&text, number);
        self.by_text.insert(text, number);
        self.version += 1;
        number
    }

    /// Drops a pattern that nobody here or elsewhere hears.
    pub(crate) fn remove_if_unused(&mut self, number: u32) {
        let pattern = self.get(number);
        if pattern.references > 0 || !pattern.shards.is_empty() {
            return;
        }
        let text = Arc::clone(&pattern.text);
        self.slots[number as usize] = None;
        self.free.push(number);
        self.by_text.remove(&text);
        self.tree.remove(&text);
        self.version += 1;
    }

    /// The patterns that mean `name`, and how many nodes of the tree it took to find them.
    pub(crate) fn matching(&self, name: &str) -> (Box<[u32]>, usize) {
        let mut found = Vec::new();
        let nodes = self.tree.matches(name, &mut found);
        (found.into(), nodes)
    }

    /// Forgets every delivery's mark, when the counter of deliveries starts over.
    pub(crate) fn clear_stamps(&mut self) {
        for pattern in self.slots.iter_mut().flatten() {
            pattern.stamp = 0;
        }
    }
}
