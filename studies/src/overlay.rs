//! A profile that came from another program, laid over its model file: its rows are told which of the model's nodes they
//! ran, so that they light up on the graph.
//!
//! A row that could be more than one node stays unmatched: a wrong claim is worse than none.

mod names;
mod optimised;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;

use engine::{Plan, PlanOptions, Pool};
use graph::{Graph, Model, Node, Tensor};
use profiler::{Layer, Trace};
use serde::Serialize;

use crate::inputs::default_dims;
use crate::settings::{Settings, StudyError};
use crate::structure::source_nodes;

/// How much of a profile was found in the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OverlayReport {
    /// Rows of the profile.
    pub rows: usize,
    /// Rows that were found.
    pub matched: usize,
    /// How: each rule in words, and how many rows it found.
    pub by_rule: Vec<(String, usize)>,
    /// The names of rows that were not found, with their operators.
    pub unmatched: Vec<(String, String)>,
    /// Nodes of the model that a row was found for.
    pub nodes: usize,
    /// Why operations and bytes were not filled in, if they were not.
    pub no_costs: Option<String>,
}

impl OverlayReport {
    /// `361 of 366 rows found in the model (355 by name, 6 by order)`.
    pub fn summary(&self) -> String {
        let rules: Vec<String> = self.by_rule.iter().map(|(rule, n)| format!("{n} {rule}")).collect();
        let how = if rules.is_empty() { String::new() } else { format!(" ({})", rules.join(", ")) };
        format!("{} of {} rows found in the model{how}", self.matched, self.rows)
    }
}

/// The nodes that a row ran, and by which rule they were found.
type Found = (Vec<usize>, &'static str);

/// Lays a trace over a model.
pub fn overlay(trace: &Trace, model: &Model, settings: &Settings) -> Result<(Trace, OverlayReport), StudyError> {
    lay(trace, model, None, settings)
}

/// Lays a trace over a model, with the help of the model as the engine rewrote it: what a row was made from is then known
/// by the tensors around it.
pub fn overlay_optimised(
    trace: &Trace,
    model: &Model,
    optimised: &Model,
    settings: &Settings,
) -> Result<(Trace, OverlayReport), StudyError> {
    lay(trace, model, Some(&optimised.graph), settings)
}

fn lay(
    trace: &Trace,
    model: &Model,
    optimised: Option<&Graph>,
    settings: &Settings,
) -> Result<(Trace, OverlayReport), StudyError> {
    let graph = &model.graph;
    if trace.layers.is_empty() {
        return Err(StudyError::Settings("the profile has no rows to lay over a model".to_owned()));
    }
    let wiring = Wiring::new(graph);
    let mut taken = vec![false; graph.nodes.len()];
    let mut found: Vec<Option<Found>> = vec![None; trace.layers.len()];
    if let Some(optimised) = optimised {
        optimised::find(&wiring, &trace.layers, optimised, &mut found, &mut taken);
    }
    for (slot, layer) in found.iter_mut().zip(&trace.layers).filter(|(slot, _)| slot.is_none()) {
        *slot = names::find(&wiring, layer);
        // Two rows of one node: which of them it was is not known, and the first is as good as any other.
        if slot.as_ref().is_some_and(|(nodes, _)| nodes.iter().any(|&n| taken[n])) {
            *slot = None;
        }
        for &n in slot.iter().flat_map(|s| &s.0) {
            taken[n] = true;
        }
    }
    order::find(&wiring, &trace.layers, &mut found, &mut taken);
    if found.iter().all(Option::is_none) {
        return Err(StudyError::Settings(format!(
            "no row of the profile is in {}: it is of another model, or names nothing of it",
            model.path.display()
        )));
    }
    let mut out = trace.clone();
    out.nodes = source_nodes(graph);
    let mut report = OverlayReport { rows: trace.layers.len(), ..OverlayReport::default() };
    let costs = Costs::new(model, settings, trace, &found);
    report.no_costs = costs.as_ref().err().cloned();
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for (layer, found) in out.layers.iter_mut().zip(&found) {
        let Some((nodes, rule)) = found else {
            // The importer's guess names nothing of this model.
            layer.source_nodes.clear();
            report.unmatched.push((layer.name.clone(), layer.op.clone()));
            continue;
        };
        *rules.entry(rule).or_default() += 1;
        report.matched += 1;
        report.nodes += nodes.len();
        layer.source_nodes = nodes.iter().map(|&n| graph.nodes[n].name.clone()).collect();
        layer.scope = common_scope(nodes.iter().map(|&n| graph.nodes[n].scope.as_str()));
        if let Ok(costs) = &costs {
            costs.fill(layer);
        }
    }
    report.by_rule = rules.into_iter().map(|(rule, n)| (rule.to_owned(), n)).collect();
    report.by_rule.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if !report.unmatched.is_empty() {
        let count = report.unmatched.len();
        out.meta.warnings.push(format!(
            "{count} of {} rows were not found in the model: no box of its graph stands for them",
            report.rows
        ));
    }
    if out.meta.model_path.is_empty() {
        out.meta.model_path = model.path.display().to_string();
    }
    out.meta.parameters = graph.parameter_count();
    Ok((out, report))
}

/// What all of these scopes begin with.
fn common_scope<'a>(mut scopes: impl Iterator<Item = &'a str>) -> String {
    let mut common: Vec<&str> = scopes.next().unwrap_or_default().split('/').collect();
    for scope in scopes {
        let same = common.iter().zip(scope.split('/')).take_while(|(a, b)| *a == b).count();
        common.truncate(same);
    }
    common.join("/")
}

/// Who makes and who reads what.
struct Wiring<'a> {
    graph: &'a Graph,
    /// Nodes by name; `None` where several have it.
    by_name: HashMap<&'a str, Option<usize>>,
    /// Nodes by the tensors that they make.
    by_output: HashMap<&'a str, usize>,
    readers: Vec<Vec<usize>>,
    makers: Vec<Vec<usize>>,
    /// The constant that a tensor is, be it through an `Identity`: exporters write equal weights once.
    constant: Vec<Option<&'a Tensor>>,
}

impl<'a> Wiring<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut by_name = HashMap::new();
        let mut by_output = HashMap::new();
        let mut maker = vec![None; graph.values.len()];
        for (i, n) in graph.nodes.iter().enumerate() {
            by_name.entry(n.name.as_str()).and_modify(|e| *e = None).or_insert(Some(i));
            for &v in n.outputs.iter().flatten() {
                by_output.insert(graph.value(v).name.as_str(), i);
                maker[v.index()] = Some(i);
            }
        }
        by_name.remove("");
        let mut constant: Vec<Option<&Tensor>> = graph.values.iter().map(|v| v.constant.as_ref()).collect();
        for n in graph.nodes.iter().filter(|n| n.op_type == "Identity") {
            if let ([Some(from)], [Some(to)]) = (&n.inputs[..], &n.outputs[..]) {
                constant[to.index()] = constant[from.index()];
            }
        }
        let mut makers: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes.len());
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        for (i, n) in graph.nodes.iter().enumerate() {
            let inputs = n.inputs.iter().flatten().filter(|v| constant[v.index()].is_none());
            let mut from: Vec<usize> = inputs.filter_map(|v| maker[v.index()]).collect();
            from.sort_unstable();
            from.dedup();
            for &m in &from {
                readers[m].push(i);
            }
            makers.push(from);
        }
        Wiring { graph, by_name, by_output, readers, makers, constant }
    }

    fn node(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied().flatten()
    }

    fn op(&self, n: usize) -> &str {
        &self.graph.nodes[n].op_type
    }

    /// The one node that reads what this one makes.
    fn only_reader(&self, n: usize) -> Option<usize> {
        match self.readers[n][..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The shapes of a node's constant inputs.
    fn constants(&self, n: usize) -> Vec<&[usize]> {
        let inputs = self.graph.nodes[n].inputs.iter().flatten();
        inputs.filter_map(|v| Some(self.constant[v.index()]?.shape())).collect()
    }

    /// True if all inputs but one are constants.
    fn is_unary(&self, n: usize) -> bool {
        self.makers[n].len() <= 1
    }
}

/// Operations and bytes of the model's nodes, with the dimensions of the profile.
struct Costs {
    by_node: HashMap<String, Layer>,
}

impl Costs {
    fn new(model: &Model, settings: &Settings, trace: &Trace, found: &[Option<Found>]) -> Result<Self, String> {
        let graph = &model.graph;
        let mut dims = default_dims(model, settings);
        for (layer, found) in trace.layers.iter().zip(found) {
            if let Some(([n], _)) = found.as_ref().map(|f| (&f.0[..], f.1)) {
                read_dims(graph, &graph.nodes[*n], layer, &mut dims);
            }
        }
        let options = PlanOptions { dims, fusion: false, pack: false, ..PlanOptions::default() };
        let plan = Plan::new(graph, &options, &Pool::new(1), &AtomicBool::new(false)).map_err(|e| e.to_string())?;
        let mut by_node = HashMap::new();
        for layer in plan.layers {
            if let [only] = &layer.source_nodes[..] {
                by_node.insert(only.clone(), layer);
            }
        }
        Ok(Costs { by_node })
    }

    /// Fills in what the row does not state, if its types do not speak against the plan's.
    fn fill(&self, layer: &mut Layer) {
        let planned: Vec<&Layer> = layer.source_nodes.iter().filter_map(|n| self.by_node.get(n)).collect();
        let (Some(first), Some(last)) = (planned.first(), planned.last()) else { return };
        let differ = |a: &[String], b: &[String]| match (a.first(), b.first()) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        // One of them has to be stated, or the dimensions of the run are a guess.
        let stated = !layer.outputs.is_empty() || !layer.inputs.is_empty();
        if !stated
            || differ(&layer.outputs, &last.outputs)
            || (layer.outputs.is_empty() && differ(&layer.inputs, &first.inputs))
        {
            return;
        }
        if layer.class == profiler::OpClass::Other {
            layer.class = first.class;
        }
        if planned.len() == layer.source_nodes.len() {
            let flops = planned.iter().map(|p| p.flops).try_fold(0_u64, |sum, f| sum.checked_add(f?));
            layer.flops = layer.flops.or(flops);
        }
        if let ([only], [_]) = (&planned[..], &layer.source_nodes[..]) {
            layer.bytes_read = layer.bytes_read.or(only.bytes_read);
            layer.bytes_written = layer.bytes_written.or(only.bytes_written);
            if layer.weight_bytes == 0 {
                layer.weight_bytes = only.weight_bytes;
            }
            if layer.outputs.is_empty() {
                layer.outputs.clone_from(&only.outputs);
            }
        }
    }
}

/// Learns symbolic dimensions of the model's inputs from a row that reads them.
fn read_dims(graph: &Graph, node: &Node, layer: &Layer, dims: &mut BTreeMap<String, usize>) {
    let inputs: Vec<_> = node.inputs.iter().flatten().collect();
    if inputs.len() != layer.inputs.len() {
        return;
    }
    for (&&v, ty) in inputs.iter().zip(&layer.inputs).filter(|(v, _)| graph.inputs.contains(v)) {
        let value = graph.value(v);
        let Some(shape) = value.ty.as_ref().and_then(|t| t.shape.as_ref()) else { continue };
        let sizes: Vec<usize> = ty
            .split_once('[')
            .and_then(|(_, rest)| rest.strip_suffix(']'))
            .map(|s| s.split(',').filter_map(|d| d.trim().parse().ok()).collect())
            .unwrap_or_default();
        if sizes.len() != shape.len() {
            continue;
        }
        for (axis, (dim, size)) in shape.iter().zip(sizes).enumerate() {
            if let Some(name) = engine::symbol(&value.name, axis, dim) {
                dims.insert(name, size);
            }
        }
    }
}

#[cfg(test)]
#[path = "overlay/tests.rs"]
mod tests;
