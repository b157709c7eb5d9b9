//! Rows by the graph that the engine made of the model. Names of tensors survive its rewriting: what lies between the
//! tensors that a fused node reads and those that it makes is what it was made from.

use std::collections::{HashMap, HashSet};

use graph::{Graph, Node, Tensor};
use profiler::Layer;

use super::{Found, Wiring};

/// Constants of up to this size are equal if their content is: engines keep one of them.
const COMPARED_BYTES: usize = 4096;
/// What optimisers put between nodes.
const LAYOUT: &[&str] = &["ReorderInput", "ReorderOutput"];
/// What they move behind a node that thereby makes another tensor than before.
const MOVED: &[&str] = &["ReorderOutput", "Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze"];

/// Finds rows, and marks the model's nodes that are in them.
pub(super) fn find(
    w: &Wiring<'_>,
    layers: &[Layer],
    optimised: &Graph,
    found: &mut [Option<Found>],
    taken: &mut [bool],
) {
    let classes = Classes::new(w);
    let made = Made::new(w, &classes, optimised);
    let rows = rows_of(layers, optimised);
    for (i, node) in optimised.nodes.iter().enumerate() {
        let Some(row) = rows[i] else { continue };
        let mut nodes: Vec<usize> = made.sources(w, &classes, i, node).into_iter().filter(|&n| !taken[n]).collect();
        if nodes.is_empty() {
            continue;
        }
        nodes.sort_unstable();
        nodes.iter().for_each(|&n| taken[n] = true);
        found[row] = Some((nodes, "by the optimised graph"));
    }
}

/// The row of each optimised node: by name and operator, several of the same in the order in which they run.
fn rows_of(layers: &[Layer], optimised: &Graph) -> Vec<Option<usize>> {
    let mut rows: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (i, l) in layers.iter().enumerate() {
        // A node without a name is shown as its operator and its number.
        let unnamed = l.name.strip_prefix(l.op.as_str()).and_then(|n| n.strip_prefix(' '));
        let unnamed = unnamed.is_some_and(|n| n.parse::<u32>().is_ok());
        rows.entry((if unnamed { "" } else { &l.name }, &l.op)).or_default().push(i);
    }
    let mut nodes: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (i, n) in optimised.nodes.iter().enumerate() {
        let exact = (n.name.as_str(), n.op_type.as_str());
        let key = if rows.contains_key(&exact) { exact } else { ("", n.op_type.as_str()) };
        nodes.entry(key).or_default().push(i);
    }
    let mut of_node = vec![None; optimised.nodes.len()];
    for (key, nodes) in nodes {
        let Some(rows) = rows.get(&key).filter(|r| r.len() == nodes.len()) else { continue };
        for (&node, &row) in nodes.iter().zip(rows) {
            of_node[node] = Some(row);
        }
    }
    of_node
}

/// The model's tensors and nodes, equal ones in one class: an engine computes them once.
struct Classes {
    of_value: Vec<usize>,
    /// The class of a tensor's maker.
    makers: HashMap<usize, usize>,
    nodes: Vec<Class>,
    /// Tensors that are known without an input.
    constant: HashSet<usize>,
}

/// Equal nodes.
#[derive(Default)]
struct Class {
    members: Vec<usize>,
    inputs: Vec<usize>,
}

impl Classes {
    fn new(w: &Wiring<'_>) -> Classes {
        let graph = w.graph;
        let mut all = Classes {
            of_value: (0..graph.values.len()).collect(),
            makers: HashMap::new(),
            nodes: Vec::new(),
            constant: HashSet::new(),
        };
        let mut contents: HashMap<(String, &[usize], &[u8]), usize> = HashMap::new();
        for (v, constant) in w.constant.iter().enumerate() {
            let Some(t) = constant else { continue };
            if t.bytes().len() <= COMPARED_BYTES && t.strings().is_empty() {
                all.of_value[v] = *contents.entry(content(t)).or_insert(v);
            }
            all.constant.insert(all.of_value[v]);
        }
        let mut known: HashMap<String, usize> = HashMap::new();
        for (n, node) in graph.nodes.iter().enumerate() {
            let inputs: Vec<usize> = node.inputs.iter().flatten().map(|v| all.of_value[v.index()]).collect();
            let class = match key(node, &inputs).and_then(|k| known.get(&k).copied()) {
                Some(class) => {
                    let first = &graph.nodes[all.nodes[class].members[0]];
                    for (mine, its) in node.outputs.iter().zip(&first.outputs) {
                        if let (Some(mine), Some(its)) = (mine, its) {
                            all.of_value[mine.index()] = all.of_value[its.index()];
                        }
                    }
                    class
                }
                None => {
                    known.extend(key(node, &inputs).map(|k| (k, all.nodes.len())));
                    all.nodes.push(Class { members: Vec::new(), inputs: inputs.clone() });
                    all.nodes.len() - 1
                }
            };
            all.nodes[class].members.push(n);
            let folded = inputs.iter().all(|i| all.constant.contains(i)) && node.op_type != "Shape";
            for out in node.outputs.iter().flatten().map(|v| all.of_value[v.index()]) {
                all.makers.entry(out).or_insert(class);
                if folded {
                    all.constant.insert(out);
                }
            }
        }
        all
    }
}

fn content(t: &Tensor) -> (String, &[usize], &[u8]) {
    (t.dtype().to_string(), t.shape(), t.bytes())
}

/// What makes two nodes equal; `None` for those that equal no other.
fn key(node: &Node, inputs: &[usize]) -> Option<String> {
    let alone = ["If", "Loop", "Scan", "Dropout", "Multinomial", "Bernoulli"];
    if alone.contains(&node.op_type.as_str()) || node.op_type.starts_with("Random") {
        return None;
    }
    let mut text = format!("{}\0{}\0{}", node.domain, node.op_type, node.outputs.len());
    let absent: Vec<usize> = (0..node.inputs.len()).filter(|&i| node.inputs[i].is_none()).collect();
    text += &format!("\0{absent:?}\0{inputs:?}");
    for (name, value) in &node.attrs {
        text += &format!("\0{name}={value}");
    }
    Some(text)
}

/// The optimised graph in the classes of the model.
struct Made {
    /// What each node reads, as far as the model has it: through tensors that only the optimised graph has.
    inputs: Vec<HashSet<usize>>,
    /// What each node makes.
    outputs: Vec<HashSet<usize>>,
    /// Tensors of the model that the optimised graph has too.
    kept: HashSet<usize>,
}

impl Made {
    fn new(w: &Wiring<'_>, classes: &Classes, optimised: &Graph) -> Made {
        let by_name: HashMap<&str, usize> =
            w.graph.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), classes.of_value[i])).collect();
        let class = |v: &graph::ValueId| by_name.get(optimised.value(*v).name.as_str()).copied();
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        for (i, n) in optimised.nodes.iter().enumerate() {
            n.inputs.iter().flatten().for_each(|v| readers.entry(v.index()).or_default().push(i));
        }
        let mut kept: HashSet<usize> = optimised.inputs.iter().filter_map(class).collect();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        // Tensors that only the optimised graph has, and that hold what others hold: those others.
        let mut through: HashMap<usize, HashSet<usize>> = HashMap::new();
        for node in &optimised.nodes {
            let (mut reads, mut unbounded) = (HashSet::new(), false);
            let only_moves = LAYOUT.contains(&node.op_type.as_str()) || MOVED.contains(&node.op_type.as_str());
            for v in node.inputs.iter().flatten() {
                match (class(v), through.get(&v.index())) {
                    (Some(c), _) => drop(reads.insert(c)),
                    (None, Some(from)) => reads.extend(from),
                    // A weight in another layout has another name, and bounds nothing.
                    (None, None) => unbounded |= optimised.value(*v).constant.is_none(),
                }
            }
            let mut makes = HashSet::new();
            for v in node.outputs.iter().flatten() {
                if let Some(c) = class(v) {
                    makes.insert(c);
                    kept.insert(c);
                    continue;
                }
                if only_moves && !unbounded {
                    through.insert(v.index(), reads.clone());
                }
                if let Some([reader]) = readers.get(&v.index()).map(|r| &r[..]) {
                    let reader = &optimised.nodes[*reader];
                    if MOVED.contains(&reader.op_type.as_str()) {
                        makes.extend(reader.outputs.iter().flatten().filter_map(class));
                    }
                }
            }
            // What it is made from can't be told where it begins: the name has to do.
            if unbounded {
                makes.clear();
            }
            inputs.push(reads);
            outputs.push(makes);
        }
        Made { inputs, outputs, kept }
    }

    /// The model's nodes between what a node of the optimised graph reads and what it makes.
    fn sources(&self, w: &Wiring<'_>, classes: &Classes, i: usize, node: &Node) -> Vec<usize> {
        if LAYOUT.contains(&node.op_type.as_str()) {
            return Vec::new();
        }
        let (inputs, outputs) = (&self.inputs[i], &self.outputs[i]);
        let makers: HashSet<usize> = outputs.iter().filter_map(|o| classes.makers.get(o).copied()).collect();
        // Back from the outputs; a tensor that the optimised graph has too ends the way.
        let mut region: HashSet<usize> = makers.clone();
        let mut stack: Vec<usize> = makers.iter().copied().collect();
        while let Some(c) = stack.pop() {
            for input in &classes.nodes[c].inputs {
                let ends = inputs.contains(input) || self.kept.contains(input) || classes.constant.contains(input);
                let Some(&maker) = classes.makers.get(input).filter(|_| !ends || outputs.contains(input)) else {
                    continue;
                };
                // A size is no part of the arithmetic that depends on it.
                if w.op(classes.nodes[maker].members[0]) != "Shape" && region.insert(maker) {
                    stack.push(maker);
                }
            }
        }
        // Forth from the inputs: what does not depend on them was computed elsewhere, or not at all.
        let mut reached: HashSet<usize> = HashSet::new();
        let mut order: Vec<usize> = region.iter().copied().collect();
        order.sort_unstable();
        for c in order {
            let depends = |v: &usize| inputs.contains(v) || classes.makers.get(v).is_some_and(|m| reached.contains(m));
            if classes.nodes[c].inputs.iter().any(depends) {
                reached.insert(c);
            }
        }
        reached.extend(makers);
        reached.iter().flat_map(|&c| classes.nodes[c].members.iter().copied()).collect()
    }
}
