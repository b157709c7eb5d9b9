//! Asynchronous events: pairs of a beginning and an end with the same id, which may overlap each other freely. Overlapping
//! ones get tracks of their own, so that each track nests.

use std::collections::{BTreeMap, HashMap};

use crate::Spans;

/// More tracks than these help nobody: what overlaps still shares the last.
const MAX_LANES: usize = 64;

/// What was begun, with the spans that stand for it.
#[derive(Default)]
pub(super) struct Pairs {
    /// Per category and id: what is open now, as an index into `groups`' trees and the span itself.
    open: HashMap<(String, String), Vec<(usize, u32)>>,
    /// A root span with the spans inside of it.
    trees: Vec<Vec<u32>>,
    /// Trees per process and category.
    groups: BTreeMap<(String, String), Vec<usize>>,
}

/// Spans that share a track.
pub(super) struct Lane {
    pub process: String,
    pub name: String,
    pub spans: Vec<u32>,
}

impl Pairs {
    pub fn begin(&mut self, process: &str, category: &str, id: &str, span: u32) {
        let tree = self.add(process, category, id, span);
        self.open.entry((category.to_owned(), id.to_owned())).or_default().push((tree, span));
    }

    /// The span that ends here.
    pub fn end(&mut self, category: &str, id: &str) -> Option<u32> {
        let key = (category.to_owned(), id.to_owned());
        let stack = self.open.get_mut(&key)?;
        let ended = stack.pop();
        if stack.is_empty() {
            self.open.remove(&key);
        }
        ended.map(|e| e.1)
    }

    pub fn instant(&mut self, process: &str, category: &str, id: &str, span: u32) {
        self.add(process, category, id, span);
    }

    pub fn never_ended(&self) -> Vec<u32> {
        self.open.values().flatten().map(|o| o.1).collect()
    }

    fn add(&mut self, process: &str, category: &str, id: &str, span: u32) -> usize {
        let inside = self.open.get(&(category.to_owned(), id.to_owned())).and_then(|stack| stack.last());
        match inside {
            Some(&(tree, _)) => {
                self.trees[tree].push(span);
                tree
            }
            None => {
                self.trees.push(vec![span]);
                let tree = self.trees.len() - 1;
                self.groups.entry((process.to_owned(), category.to_owned())).or_default().push(tree);
                tree
            }
        }
    }

    /// As few tracks per process and category as do without overlaps.
    pub fn lanes(self, spans: &Spans) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for ((process, category), mut trees) in self.groups {
            let start = |t: &usize| self.trees[*t].iter().map(|&i| spans.start_ns[i as usize]).min();
            let end = |t: &usize| self.trees[*t].iter().map(|&i| spans.end_ns[i as usize]).max();
            trees.sort_by_key(|t| (start(t), *t));
            let base = lanes.len();
            let mut ends: Vec<Option<u64>> = Vec::new();
            for tree in trees {
                let free = ends.iter().position(|&e| e <= start(&tree));
                let lane = free.unwrap_or_else(|| {
                    if ends.len() < MAX_LANES {
                        ends.push(None);
                        let word = if category.is_empty() { "async" } else { &category };
                        let name = if ends.len() == 1 { word.to_owned() } else { format!("{word} ({})", ends.len()) };
                        lanes.push(Lane { process: process.clone(), name, spans: Vec::new() });
                    }
                    ends.len() - 1
                });
                ends[lane] = ends[lane].max(end(&tree));
                lanes[base + lane].spans.extend(&self.trees[tree]);
            }
        }
        lanes
    }
}
