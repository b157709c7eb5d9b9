//! What is in a model, whether or not it can run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use engine::{Plan, PlanOptions, Pool};
use graph::{Attr, DType, Model};
use serde::Serialize;

use crate::inputs::{self, default_dims};
use crate::latency::short_name;
use crate::settings::Settings;
use crate::structure::source_nodes;

/// An input of the model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// As declared, with symbols: `i64[batch,seq]`.
    pub ty: String,
    /// With the values in force.
    pub shape: Vec<usize>,
    /// How it is filled, in words.
    pub fill: String,
}

/// A node of the model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its operator, with the domain if it is not the standard one.
    pub op: String,
    /// Where it sits in the model.
    pub scope: String,
    /// The names of its inputs.
    pub inputs: Vec<String>,
    /// The names of its outputs.
    pub outputs: Vec<String>,
    /// Elements of its constant inputs.
    pub parameters: u64,
    /// Its attributes in words.
    pub attributes: Vec<(String, String)>,
}

/// What is in a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    /// The short name.
    pub model: String,
    /// What wrote it.
    pub producer: String,
    /// `onnx`.
    pub format: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Elements of its weights.
    pub parameters: u64,
    /// Bytes of its weights as stored.
    pub weights_bytes: u64,
    /// Nodes.
    pub nodes: usize,
    /// Operator-set versions by domain.
    pub opsets: Vec<(String, i64)>,
    /// Inputs.
    pub inputs: Vec<InputInfo>,
    /// Outputs: name and declared type.
    pub outputs: Vec<(String, String)>,
    /// Every symbolic dimension with the value in force.
    pub dims: BTreeMap<String, usize>,
    /// Operators with their counts, and whether each is implemented.
    pub operators: Vec<(String, usize, bool)>,
    /// Why it can't run, one message per node or problem; empty if it can.
    pub unsupported: Vec<String>,
    /// The planned layers with their costs; empty if it can't be planned.
    pub layers: Vec<profiler::Layer>,
    /// The sum of the layers' operations.
    pub flops: Option<u64>,
    /// The largest sum of activations alive at once.
    pub activations_peak_bytes: Option<u64>,
    /// Its nodes.
    pub nodes_list: Vec<NodeInfo>,
    /// Its nodes and how they are joined.
    #[serde(skip)]
    pub source_nodes: Vec<profiler::SourceNode>,
}

/// Looks into a model. Never fails: what is unknown is empty or `None`, and `unsupported` says why.
pub fn inspect(model: &Model, settings: &Settings) -> Inspection {
    let graph = &model.graph;
    let dims = default_dims(model, settings);
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for n in &graph.nodes {
        *counts.entry((&n.domain, &n.op_type)).or_default() += 1;
    }
    let mut operators: Vec<(String, usize, bool)> =
        counts.into_iter().map(|((d, o), n)| (qualified(d, o), n, engine::knows(d, o))).collect();
    operators.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));

    let mut out = Inspection {
        model: short_name(model),
        producer: model.producer.clone(),
        format: model.format.clone(),
        file_bytes: model.file_bytes,
        parameters: graph.parameter_count(),
        weights_bytes: graph.constant_bytes(),
        nodes: graph.nodes.len(),
        opsets: graph.opsets.iter().map(|(d, v)| (domain(d).to_owned(), *v)).collect(),
        inputs: graph.inputs.iter().map(|&id| input(model, settings, &dims, id)).collect(),
        outputs: graph
            .outputs
            .iter()
            .map(|&id| {
                let v = graph.value(id);
                (v.name.clone(), v.ty.as_ref().map_or("?".into(), |t| t.to_string()))
            })
            .collect(),
        operators,
        nodes_list: graph.nodes.iter().map(|n| node(model, n)).collect(),
        source_nodes: source_nodes(graph),
        dims,
        ..Inspection::default()
    };
    let options = PlanOptions {
        dims: out.dims.clone(),
        fusion: settings.fusion,
        // Packing is work and memory that only a run needs.
        pack: false,
        ..PlanOptions::default()
    };
    match Plan::new(graph, &options, &Pool::new(1), &AtomicBool::new(false)) {
        Ok(plan) => {
            out.flops = plan.layers.iter().map(|l| l.flops).sum();
            out.activations_peak_bytes = Some(plan.peak_bytes as u64);
            out.layers = plan.layers;
        }
        Err(engine::EngineError::Unsupported(list)) => out.unsupported = list,
        Err(e) => out.unsupported.push(e.to_string()),
    }
    out
}

fn domain(d: &str) -> &str {
    if d.is_empty() { "ai.onnx" } else { d }
}

fn qualified(d: &str, op: &str) -> String {
    if d.is_empty() { op.to_owned() } else { format!("{d}::{op}") }
}

fn input(model: &Model, settings: &Settings, dims: &BTreeMap<String, usize>, id: graph::ValueId) -> InputInfo {
    let v = model.graph.value(id);
    let shape = v.ty.iter().flat_map(|t| t.shape.iter().flatten()).enumerate();
    let size = |(axis, d): (usize, &graph::Dim)| match engine::symbol(&v.name, axis, d) {
        None => d.known().unwrap_or(0),
        Some(name) => dims.get(&name).copied().unwrap_or(0),
    };
    let dtype = v.ty.as_ref().map_or(DType::F32, |t| t.dtype);
    InputInfo {
        name: v.name.clone(),
        ty: v.ty.as_ref().map_or("?".into(), |t| t.to_string()),
        shape: shape.map(size).collect(),
        fill: inputs::in_words(settings.inputs.get(&v.name), &v.name, dtype, inputs::limit(&model.graph, id)),
    }
}

fn node(model: &Model, n: &graph::Node) -> NodeInfo {
    let graph = &model.graph;
    let names = |list: &[Option<graph::ValueId>]| {
        list.iter().map(|v| v.map_or(String::new(), |v| graph.value(v).name.clone())).collect()
    };
    let constants = n.inputs.iter().flatten().filter_map(|v| graph.value(*v).constant.as_ref());
    NodeInfo {
        name: n.name.clone(),
        op: qualified(&n.domain, &n.op_type),
        scope: n.scope.clone(),
        inputs: names(&n.inputs),
        outputs: names(&n.outputs),
        parameters: constants.filter(|t| t.dtype().is_float()).map(|t| t.len() as u64).sum(),
        attributes: n.attrs.iter().map(|(k, v): (&String, &Attr)| (k.clone(), v.to_string())).collect(),
    }
}
