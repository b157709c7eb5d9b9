//! Spans merged by how they were reached: a tree of calls, and who calls one thing and what it calls in turn.
//!
//! A layer is reached through the spans around it and then through the parts of its scope, so that `attention` is a caller
//! of the products in it, whatever the block.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{LayerId, OpClass, Trace, TrackId};

/// One thing on the way to a span.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Frame {
    /// Everything.
    Root,
    /// A track.
    Track(TrackId),
    /// A span of no layer, by its name: an index into [`CallTree::names`].
    Span(u32),
    /// A part of a scope's path, by its name: an index into [`CallTree::names`].
    Scope(u32),
    /// A layer.
    Layer(LayerId),
    /// All layers of an operator, by its name: an index into [`CallTree::names`].
    Op(u32),
}

/// What was reached in one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallNode {
    /// What it is.
    pub frame: Frame,
    /// What it was reached from; the root's is itself.
    pub parent: u32,
    /// What was reached from it; the longest first.
    pub children: Vec<u32>,
    /// How many spans.
    pub count: u64,
    /// Their time.
    pub total_ns: u64,
    /// Their time without that of what was reached from them.
    pub self_ns: u64,
}

/// The measured runs' spans by the way they were reached; parents stand before their children.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallTree {
    /// The root first.
    pub nodes: Vec<CallNode>,
    /// Distinct names of spans, scopes and operators.
    pub names: Vec<String>,
    /// The operator of each layer, as an index into `names`.
    pub ops: Vec<u32>,
}

/// The tables of a [`CallTree`] list one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FrameKind {
    /// Operators.
    #[default]
    Op,
    /// Parts of scopes' paths.
    Scope,
    /// Single layers.
    Layer,
    /// Spans of no layer.
    Span,
}

/// A row of the table of names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameSum {
    /// What it is.
    pub frame: Frame,
    /// The class, if all of its layers share it.
    pub class: Option<OpClass>,
    /// Spans of that name; for scopes, spans in them.
    pub count: u64,
    /// Their time, once where one is inside of another.
    pub total_ns: u64,
    /// Their time without that of what was reached from them.
    pub self_ns: u64,
}

/// One thing with all that leads to it, and all that it leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sandwich {
    /// What it is.
    pub frame: Frame,
    /// Rooted in the thing; a child is what the parent was reached from.
    pub callers: CallTree,
    /// Rooted in the thing; a child is what was reached from the parent.
    pub callees: CallTree,
}

const STRIDE: usize = 1 << 14;

#[derive(Default)]
struct Names {
    names: Vec<String>,
    index: HashMap<String, u32>,
}

impl Names {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(&i) = self.index.get(name) {
            return i;
        }
        self.names.push(name.to_owned());
        let i = (self.names.len() - 1) as u32;
        self.index.insert(name.to_owned(), i);
        i
    }
}

struct Growing {
    nodes: Vec<CallNode>,
    index: HashMap<(u32, Frame), u32>,
}

impl Growing {
    fn new(frame: Frame) -> Growing {
        let root = CallNode { frame, parent: 0, children: Vec::new(), count: 0, total_ns: 0, self_ns: 0 };
        Growing { nodes: vec![root], index: HashMap::new() }
    }

    fn child(&mut self, parent: u32, frame: Frame) -> u32 {
        if let Some(&i) = self.index.get(&(parent, frame)) {
            return i;
        }
        let i = self.nodes.len() as u32;
        self.nodes.push(CallNode { frame, parent, children: Vec::new(), count: 0, total_ns: 0, self_ns: 0 });
        self.nodes[parent as usize].children.push(i);
        self.index.insert((parent, frame), i);
        i
    }

    fn add(&mut self, node: u32, count: u64, total_ns: u64, self_ns: u64) {
        let n = &mut self.nodes[node as usize];
        n.count += count;
        n.total_ns = n.total_ns.saturating_add(total_ns);
        n.self_ns = n.self_ns.saturating_add(self_ns);
    }

    fn finish(mut self, names: Vec<String>, ops: Vec<u32>) -> CallTree {
        for i in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[i].children);
            children.sort_by_key(|&c| std::cmp::Reverse(self.nodes[c as usize].total_ns));
            self.nodes[i].children = children;
        }
        CallTree { nodes: self.nodes, names, ops }
    }
}

impl CallTree {
    /// Merges the spans of a trace, without those of warm-up runs. `None` if `cancel` was set on the way.
    pub fn of(trace: &Trace, cancel: &AtomicBool) -> Option<CallTree> {
        let mut names = Names::default();
        let span_names: Vec<u32> = trace.spans.names.iter().map(|n| names.of(n)).collect();
        let ops: Vec<u32> = trace.layers.iter().map(|l| names.of(&l.op)).collect();
        let scopes: Vec<Vec<u32>> = trace
            .layers
            .iter()
            .map(|l| l.scope.split('/').filter(|p| !p.is_empty()).map(|p| names.of(p)).collect())
            .collect();
        let mut tree = Growing::new(Frame::Root);
        let spans = &trace.spans;
        const NONE: u32 = u32::MAX;
        let mut node_of = vec![NONE; spans.len()];
        // How far the inside of each span is covered by its children; those stand in order of start.
        let mut covered = vec![0u64; spans.len()];
        for i in 0..spans.len() {
            if i.is_multiple_of(STRIDE) && cancel.load(Ordering::Relaxed) {
                return None;
            }
            if spans.run[i].and_then(|r| trace.runs.get(r.index())).is_some_and(|r| r.warmup) {
                continue;
            }
            let parent = spans.parent[i].map(|p| p.index()).filter(|&p| node_of[p] != NONE);
            let mut at = match parent {
                Some(p) => node_of[p],
                None => tree.child(0, Frame::Track(spans.track[i])),
            };
            let frame = match spans.layer[i] {
                Some(layer) => {
                    for &part in scopes.get(layer.index()).into_iter().flatten() {
                        at = tree.child(at, Frame::Scope(part));
                    }
                    Frame::Layer(layer)
                }
                None => Frame::Span(span_names.get(spans.name[i] as usize).copied().unwrap_or_default()),
            };
            let node = tree.child(at, frame);
            node_of[i] = node;
            let time = spans.end_ns[i] - spans.start_ns[i];
            tree.add(node, 1, time, time);
            if let Some(p) = parent {
                let (a, b) = (spans.start_ns[i].max(covered[p]), spans.end_ns[i].min(spans.end_ns[p]));
                if b > a {
                    let up = &mut tree.nodes[node_of[p] as usize];
                    up.self_ns = up.self_ns.saturating_sub(b - a);
                    covered[p] = b;
                }
            }
        }
        // Scopes, tracks and the root are as long as what is in them.
        for i in (0..tree.nodes.len()).rev() {
            if matches!(tree.nodes[i].frame, Frame::Scope(_) | Frame::Track(_) | Frame::Root) {
                let parts = tree.nodes[i].children.clone();
                let (count, total) = parts
                    .iter()
                    .map(|&c| &tree.nodes[c as usize])
                    .fold((0, 0u64), |(n, t), c| (n + c.count, t.saturating_add(c.total_ns)));
                tree.add(i as u32, count, total, 0);
            }
        }
        Some(tree.finish(names.names, ops))
    }

    /// What a frame is called.
    pub fn name<'a>(&'a self, trace: &'a Trace, frame: Frame) -> &'a str {
        let named = |i: u32| self.names.get(i as usize).map_or("?", String::as_str);
        match frame {
            Frame::Root => "all",
            Frame::Track(t) => trace.tracks.get(t.index()).map_or("?", |t| &t.name),
            Frame::Layer(l) => trace.layers.get(l.index()).map_or("?", |l| &l.name),
            Frame::Span(i) | Frame::Scope(i) | Frame::Op(i) => named(i),
        }
    }

    /// True if `frame` stands for what is at a node.
    fn is(&self, node: &CallNode, frame: Frame) -> bool {
        match (frame, node.frame) {
            (Frame::Op(op), Frame::Layer(l)) => self.ops.get(l.index()) == Some(&op),
            (a, b) => a == b,
        }
    }

    /// The table of one kind of names, longest own time first, then longest total.
    pub fn sums(&self, trace: &Trace, kind: FrameKind) -> Vec<FrameSum> {
        let mut rows: Vec<FrameSum> = Vec::new();
        let mut index: HashMap<Frame, usize> = HashMap::new();
        // What each node adds to its kind of table, and what it stands in, to count what is inside of itself once.
        let key = |node: &CallNode| match (kind, node.frame) {
            (FrameKind::Op, Frame::Layer(l)) => self.ops.get(l.index()).map(|&op| Frame::Op(op)),
            (FrameKind::Layer, Frame::Layer(_))
            | (FrameKind::Scope, Frame::Scope(_))
            | (FrameKind::Span, Frame::Span(_)) => Some(node.frame),
            _ => None,
        };
        for (i, node) in self.nodes.iter().enumerate() {
            let Some(frame) = key(node) else { continue };
            let class = self.class_below(trace, i);
            let row = *index.entry(frame).or_insert_with(|| {
                rows.push(FrameSum { frame, class, count: 0, total_ns: 0, self_ns: 0 });
                rows.len() - 1
            });
            let row = &mut rows[row];
            row.class = row.class.filter(|c| class == Some(*c));
            row.self_ns = row.self_ns.saturating_add(node.self_ns);
            if !self.inside_of_its_own(i, frame) {
                row.count += node.count;
                row.total_ns = row.total_ns.saturating_add(node.total_ns);
            }
        }
        rows.sort_by_key(|r| std::cmp::Reverse((r.total_ns, r.self_ns)));
        rows
    }

    /// The class of a layer; that of what is below a scope, if one is.
    fn class_below(&self, trace: &Trace, node: usize) -> Option<OpClass> {
        let mut at = node;
        loop {
            match self.nodes[at].frame {
                Frame::Layer(l) => return trace.layers.get(l.index()).map(|l| l.class),
                Frame::Scope(_) if self.nodes[at].children.len() == 1 => at = self.nodes[at].children[0] as usize,
                _ => return None,
            }
        }
    }

    fn inside_of_its_own(&self, node: usize, frame: Frame) -> bool {
        let mut at = node;
        while at != 0 {
            at = self.nodes[at].parent as usize;
            if self.is(&self.nodes[at], frame) {
                return true;
            }
        }
        false
    }

    /// Who leads to `frame`, and what it leads to. Layers are merged by operator, so that blocks of a kind add up.
    pub fn sandwich(&self, frame: Frame) -> Sandwich {
        let merged = |f: Frame| match f {
            Frame::Layer(l) => self.ops.get(l.index()).map_or(f, |&op| Frame::Op(op)),
            f => f,
        };
        let (mut callers, mut callees) = (Growing::new(frame), Growing::new(frame));
        // The callees' node of each node below one of the frame's; parents stand before their children.
        let mut below: Vec<Option<u32>> = vec![None; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let up = if i == 0 { None } else { below[node.parent as usize] };
            if let Some(up) = up {
                let at = callees.child(up, merged(node.frame));
                callees.add(at, node.count, node.total_ns, node.self_ns);
                below[i] = Some(at);
                continue;
            }
            if !self.is(node, frame) {
                continue;
            }
            below[i] = Some(0);
            callees.add(0, node.count, node.total_ns, node.self_ns);
            let mut at = 0;
            callers.add(0, node.count, node.total_ns, 0);
            let mut outer = node.parent as usize;
            while outer != 0 {
                at = callers.child(at, merged(self.nodes[outer].frame));
                callers.add(at, node.count, node.total_ns, 0);
                outer = self.nodes[outer].parent as usize;
            }
        }
        let finish = |g: Growing| g.finish(self.names.clone(), self.ops.clone());
        Sandwich { frame, callers: finish(callers), callees: finish(callees) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::{self, Random};

    fn tree(trace: &Trace) -> CallTree {
        CallTree::of(trace, &AtomicBool::new(false)).unwrap()
    }

    fn warmup(trace: &Trace, i: usize) -> bool {
        trace.spans.run[i].is_some_and(|r| trace.runs[r.index()].warmup)
    }

    /// The way to each span in words, by walking up its parents: the naive form of the tree.
    fn stack(trace: &Trace, i: usize) -> Vec<String> {
        let s = trace.spans.get(i);
        let mut path = match s.parent.filter(|p| !warmup(trace, p.index())) {
            Some(p) => stack(trace, p.index()),
            None => vec![format!("track {}", s.track.0)],
        };
        match s.layer {
            Some(l) => {
                let layer = &trace.layers[l.index()];
                path.extend(layer.scope.split('/').filter(|p| !p.is_empty()).map(|p| format!("scope {p}")));
                path.push(format!("layer {}", l.0));
            }
            None => path.push(format!("span {}", trace.spans.names[s.name as usize])),
        }
        path
    }

    fn words(tree: &CallTree, i: usize) -> String {
        match tree.nodes[i].frame {
            Frame::Root => "root".into(),
            Frame::Track(t) => format!("track {}", t.0),
            Frame::Span(n) => format!("span {}", tree.names[n as usize]),
            Frame::Scope(n) => format!("scope {}", tree.names[n as usize]),
            Frame::Op(n) => format!("op {}", tree.names[n as usize]),
            Frame::Layer(l) => format!("layer {}", l.0),
        }
    }

    fn own_ns(trace: &Trace, i: usize) -> u64 {
        let s = &trace.spans;
        let covers = |j: usize, t: u64| s.start_ns[j] <= t && t < s.end_ns[j];
        let child = |j: usize| s.parent[j].is_some_and(|p| p.index() == i) && !warmup(trace, j);
        (s.start_ns[i]..s.end_ns[i]).filter(|&t| !(0..s.len()).any(|j| child(j) && covers(j, t))).count() as u64
    }

    #[test]
    fn the_tree_is_that_of_the_stacks() {
        let mut random = Random::fresh();
        let seed = random.seed;
        for _ in 0..100 {
            let trace = fixtures::random(&mut random);
            let tree = tree(&trace);
            let mut want: BTreeMap<Vec<String>, (u64, u64, u64)> = BTreeMap::new();
            for i in (0..trace.spans.len()).filter(|&i| !warmup(&trace, i)) {
                let entry = want.entry(stack(&trace, i)).or_default();
                entry.0 += 1;
                entry.1 += trace.spans.get(i).duration_ns();
                entry.2 += own_ns(&trace, i);
            }
            let mut got = BTreeMap::new();
            for (i, node) in tree.nodes.iter().enumerate() {
                if matches!(node.frame, Frame::Span(_) | Frame::Layer(_)) {
                    let mut path = Vec::new();
                    let mut at = i;
                    while at != 0 {
                        path.push(words(&tree, at));
                        at = tree.nodes[at].parent as usize;
                    }
                    path.reverse();
                    got.insert(path, (node.count, node.total_ns, node.self_ns));
                }
            }
            assert_eq!(got, want, "seed {seed}");
        }
    }

    /// Sums by name straight from the spans' stacks.
    #[test]
    fn tables_and_sandwiches_agree_with_the_stacks() {
        let mut random = Random::fresh();
        let seed = random.seed;
        for _ in 0..60 {
            let trace = fixtures::random(&mut random);
            let tree = tree(&trace);
            let spans = || (0..trace.spans.len()).filter(|&i| !warmup(&trace, i));
            for row in tree.sums(&trace, FrameKind::Op) {
                let Frame::Op(op) = row.frame else { panic!("seed {seed}") };
                let is = |i: usize| {
                    trace.spans.layer[i].is_some_and(|l| trace.layers[l.index()].op == tree.names[op as usize])
                };
                let inside = |i: usize| {
                    let mut at = trace.spans.parent[i];
                    while let Some(p) = at.filter(|p| !warmup(&trace, p.index())) {
                        if is(p.index()) {
                            return true;
                        }
                        at = trace.spans.parent[p.index()];
                    }
                    false
                };
                let total: u64 =
                    spans().filter(|&i| is(i) && !inside(i)).map(|i| trace.spans.get(i).duration_ns()).sum();
                let own: u64 = spans().filter(|&i| is(i)).map(|i| own_ns(&trace, i)).sum();
                assert_eq!((row.total_ns, row.self_ns), (total, own), "seed {seed}");
                let sandwich = tree.sandwich(row.frame);
                for side in [&sandwich.callers, &sandwich.callees] {
                    assert_eq!((side.nodes[0].total_ns, side.nodes[0].count), (row.total_ns, row.count), "seed {seed}");
                }
                for (i, node) in sandwich.callers.nodes.iter().enumerate() {
                    let up: u64 = node.children.iter().map(|&c| sandwich.callers.nodes[c as usize].total_ns).sum();
                    // Every way in comes from a track.
                    let track = matches!(node.frame, Frame::Track(_));
                    assert_eq!(up, if track { 0 } else { node.total_ns }, "seed {seed}, caller {i}");
                }
            }
        }
    }

    #[test]
    fn attention_is_reached_from_every_block() {
        let trace = fixtures::transformer(3, 2, 1);
        let tree = tree(&trace);
        let find = |name: &str, kind| {
            let rows = tree.sums(&trace, kind);
            *rows.iter().find(|r| tree.name(&trace, r.frame) == name).unwrap()
        };
        let attention = find("attention", FrameKind::Scope);
        let sandwich = tree.sandwich(attention.frame);
        let callers: Vec<&str> = sandwich.callers.nodes[0]
            .children
            .iter()
            .map(|&c| tree.name(&trace, sandwich.callers.nodes[c as usize].frame))
            .collect();
        let mut blocks = callers.clone();
        blocks.sort_unstable();
        assert_eq!(blocks, ["layer.0", "layer.1", "layer.2"]);
        let inside = sandwich.callees.nodes.iter().map(|n| n.self_ns).sum::<u64>();
        assert_eq!(inside, attention.total_ns, "all of a scope's time is its layers' own");
        let layers = trace.layers.len();
        assert_eq!(tree.sums(&trace, FrameKind::Layer).len(), layers);
        assert!(CallTree::of(&trace, &AtomicBool::new(true)).is_none());
        assert_eq!(tree.nodes.iter().filter(|n| matches!(n.frame, Frame::Layer(_))).count(), layers);
    }
}
