//! A plan: ordered steps over planned values, with every tensor's place known before anything runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cpu_kernels::pool::Pool;
use graph::{Graph, Tensor, ValueId};
use profiler::Layer;

use crate::error::EngineError;
use crate::memory;
use crate::needs::{MemoryNeeds, StepNeed, TensorNeed};
use crate::op::{Cost, Env, Fact, Inputs, Operator, describe};
use crate::options::{PlanOptions, input_facts};
use crate::passes;
use crate::prepare::{NodeFacts, prepare};
use crate::tensor::{aligned, own};
use crate::work::{Work, opset_of};

/// Constants smaller than this are copied: a system maps more than that around each page of a file that is read.
const SMALL: usize = 64 << 10;

/// An index into [`Plan::values`].
pub type ValueIx = usize;

/// Where a value's bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the model: aligned for its type, unless all that read it move bytes ([`Operator::moves_bytes`]).
    Constant(Tensor),
    /// A constant that every reader holds in a form of its own: its bytes are in the model alone.
    Absorbed,
    /// Fed by the caller: the input's index.
    Input(usize),
    /// In the arena.
    Arena {
        /// Its first byte.
        offset: usize,
        /// Its size.
        bytes: usize,
    },
    /// Another value's bytes under another shape.
    View(ValueIx),
    /// Made at run time, because its shape depends on data.
    Dynamic,
}

/// A value of the plan.
#[derive(Clone, Debug)]
pub struct PlanValue {
    /// The name in the model.
    pub name: String,
    /// Its type and, unless dynamic, its shape.
    pub fact: Fact,
    /// Where it is.
    pub place: Place,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What runs.
    pub op: Arc<dyn Operator>,
    /// The inputs that it reads; `None` where left out, or absorbed by the prepared operator.
    pub inputs: Vec<Option<ValueIx>>,
    /// The outputs that somebody wants.
    pub outputs: Vec<Option<ValueIx>>,
    /// The input whose place output 0 takes over.
    pub in_place: Option<usize>,
    /// True if shapes are known only at run time.
    pub dynamic: bool,
    /// Dynamic values that nobody reads after this step.
    pub frees: Vec<ValueIx>,
    /// The node, for messages.
    pub node: String,
    /// The node's operator before it was prepared, and its inputs: for running a layer alone.
    pub original: Arc<dyn Operator>,
    /// See `original`.
    pub original_inputs: Vec<Option<ValueIx>>,
}

/// A tensor's place in the arena and its first and last step.
#[derive(Clone, Debug)]
pub struct Lifetime {
    /// The value.
    pub value: ValueIx,
    /// Its first byte.
    pub offset: usize,
    /// Its size.
    pub bytes: usize,
    /// The step that makes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// What runs, in which order, and where each tensor is.
pub struct Plan {
    /// The values.
    pub values: Vec<PlanValue>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// One per step, for the trace.
    pub layers: Vec<Layer>,
    /// The model's inputs, in its order.
    pub inputs: Vec<ValueIx>,
    /// The model's outputs, in its order.
    pub outputs: Vec<ValueIx>,
    /// The arena's size.
    pub arena_bytes: usize,
    /// The largest sum of tensors alive at once.
    pub peak_bytes: usize,
    /// Who is where in the arena, and when.
    pub lifetimes: Vec<Lifetime>,
    /// What its steps need of the arena, to try other orders on.
    pub needs: MemoryNeeds,
    /// Bytes of the weights as read by the run: packed, or as they are in the model (and then perhaps still in its file).
    pub weights_bytes: usize,
    /// The most bytes for one output whose size depends on data.
    pub limit: usize,
    /// Whether nodes were fused.
    pub fusion: bool,
    /// True where some weights were dequantised on load.
    pub simulated: bool,
}

impl Plan {
    /// Plans a graph: binds dimensions, folds, fuses, packs weights, places tensors.
    pub fn new(graph: &Graph, options: &PlanOptions, pool: &Pool, cancel: &AtomicBool) -> Result<Plan, EngineError> {
        let limit = usize::try_from(options.memory_limit).unwrap_or(usize::MAX);
        let env = Env { pool, cancel, limit, fusion: options.fusion, depth: 0 };
        Plan::with_facts(graph, input_facts(graph, options)?, options, env)
    }

    /// As [`Plan::new`], for a graph of whose inputs just this is known.
    pub(crate) fn with_facts(
        graph: &Graph,
        facts: Vec<Fact>,
        options: &PlanOptions,
        env: Env<'_>,
    ) -> Result<Plan, EngineError> {
        let mut work = Work::new(graph.clone())?;
        for (id, fact) in graph.inputs.iter().zip(facts) {
            work.facts[id.index()] = Some(fact);
        }
        passes::infer_and_fold(&mut work, env)?;
        work.remove_dead();
        if options.fusion {
            passes::fuse(&mut work, options.pack);
        }
        let simulated = passes::apply_precision(&mut work, options.precision, options.pack);
        work.remove_dead();
        // A tap sees values as the file has them.
        if options.fusion && options.pack && !options.keep_all {
            passes::block_channels(&mut work);
        }
        Builder::new(&work, options).build(&work, env, simulated)
    }
}

struct Builder<'a> {
    options: &'a PlanOptions,
    values: Vec<PlanValue>,
    index: HashMap<ValueId, ValueIx>,
    steps: Vec<Step>,
    layers: Vec<Layer>,
    absorbed_bytes: usize,
}

impl<'a> Builder<'a> {
    fn new(work: &Work, options: &'a PlanOptions) -> Self {
        let mut b = Builder {
            options,
            values: Vec::new(),
            index: HashMap::new(),
            steps: Vec::new(),
            layers: Vec::new(),
            absorbed_bytes: 0,
        };
        for (i, &id) in work.graph.inputs.iter().enumerate() {
            b.value(work, id, Some(Place::Input(i)));
        }
        b
    }

    /// The plan's index of a value, added if it is new.
    fn value(&mut self, work: &Work, id: ValueId, place: Option<Place>) -> ValueIx {
        if let Some(&ix) = self.index.get(&id) {
            return ix;
        }
        let fact = work.fact(id).cloned().unwrap_or(Fact::dynamic(graph::DType::F32));
        let place = place.unwrap_or_else(|| match &fact.value {
            Some(t) => Place::Constant(t.clone()),
            None => Place::Dynamic,
        });
        self.values.push(PlanValue { name: work.graph.value(id).name.clone(), fact, place });
        self.index.insert(id, self.values.len() - 1);
        self.values.len() - 1
    }

    fn build(mut self, work: &Work, env: Env<'_>, simulated: bool) -> Result<Plan, EngineError> {
        let nodes =
            work.iter().map(|(_, n)| Ok((n, NodeFacts::of(work, n)?))).collect::<Result<Vec<_>, EngineError>>()?;
        let prepared =
            if self.options.pack { prepare(work, &nodes, env)? } else { nodes.iter().map(|_| None).collect() };
        for ((n, facts), prepared) in nodes.into_iter().zip(prepared) {
            let node = &n.node;
            let NodeFacts { inputs: in_facts, outputs: out_facts, is_static: static_shapes } = facts;
            let inputs: Vec<Option<ValueIx>> =
                node.inputs.iter().map(|v| v.map(|v| self.value(work, v, None))).collect();

            // A view costs nothing and is no step, unless its shape is known only at run time.
            if let (Some(from), true, Some(Some(out))) = (n.op.view_of(), static_shapes, node.outputs.first())
                && let Some(source) = inputs.get(from).copied().flatten()
            {
                self.value(work, *out, Some(Place::View(source)));
                continue;
            }
            let outputs: Vec<Option<ValueIx>> =
                node.outputs.iter().map(|v| v.map(|v| self.value(work, v, None))).collect();
            let wanted = |v: ValueId| !work.readers(v).is_empty() || work.graph.outputs.contains(&v);
            let outputs: Vec<Option<ValueIx>> =
                outputs.into_iter().zip(&node.outputs).map(|(ix, v)| ix.filter(|_| v.is_some_and(wanted))).collect();
            let mut run_inputs = inputs.clone();
            let mut weight_bytes = 0;
            let op: Arc<dyn Operator> = match prepared {
                None => n.op.clone(),
                Some(p) => {
                    for i in p.absorbed {
                        run_inputs[i] = None;
                    }
                    weight_bytes += p.bytes;
                    self.absorbed_bytes += p.bytes;
                    p.op.into()
                }
            };
            for ix in run_inputs.iter().flatten() {
                if let Place::Constant(t) = &self.values[*ix].place {
                    weight_bytes += t.bytes().len();
                }
            }
            self.layers.push(layer(node, &*op, &in_facts, &out_facts, weight_bytes));
            self.steps.push(Step {
                op,
                inputs: run_inputs,
                outputs,
                in_place: None,
                dynamic: !static_shapes,
                frees: Vec::new(),
                node: describe(node, opset_of(&work.graph, node)),
                original: n.op.clone(),
                original_inputs: inputs,
            });
        }
        make_unique(&mut self.layers);
        let outputs: Vec<ValueIx> = work.graph.outputs.iter().map(|&v| self.value(work, v, None)).collect();
        let inputs: Vec<ValueIx> = work.graph.inputs.iter().map(|&v| self.index[&v]).collect();
        self.settle_constants(&outputs);
        // Passes and neighbours of what was read have left pages in memory.
        work.graph.release_all();
        self.place(inputs, outputs, simulated)
    }

    /// Gives every constant the form in which the run reads it, and forgets those that it does not read.
    fn settle_constants(&mut self, outputs: &[ValueIx]) {
        let (mut read, mut elements) = (vec![false; self.values.len()], vec![false; self.values.len()]);
        for s in &self.steps {
            for (k, &v) in s.inputs.iter().enumerate().filter_map(|(k, v)| Some((k, v.as_ref()?))) {
                let root = self.root(v);
                read[root] = true;
                elements[root] |= !s.op.moves_bytes(k) || !self.options.pack;
            }
        }
        for root in outputs.iter().map(|&v| self.root(v)) {
            (read[root], elements[root]) = (true, true);
        }
        for (i, v) in self.values.iter_mut().enumerate() {
            let Place::Constant(t) = &v.place else { continue };
            let t = match (read[i], elements[i]) {
                (false, _) => None,
                (true, true) if t.bytes().len() < SMALL => Some(own(t)),
                (true, true) => Some(aligned(t)),
                (true, false) => Some(t.clone()),
            };
            v.fact.value.clone_from(&t);
            v.place = t.map_or(Place::Absorbed, Place::Constant);
        }
    }

    /// Follows views to the value that holds the bytes.
    fn root(&self, mut ix: ValueIx) -> ValueIx {
        while let Place::View(of) = self.values[ix].place {
            ix = of;
        }
        ix
    }

    fn place(mut self, inputs: Vec<ValueIx>, outputs: Vec<ValueIx>, simulated: bool) -> Result<Plan, EngineError> {
        let n = self.steps.len();
        let (needs, tensors) = self.needs(&outputs);
        let lives = needs.lives(&needs.order(), !self.options.keep_all);
        for (step, taken) in self.steps.iter_mut().zip(&lives.taken) {
            step.in_place = *taken;
        }
        let layout = memory::lay_out(&lives.requests);
        if layout.total as u64 > self.options.memory_limit {
            return Err(EngineError::Memory {
                what: "the activations' arena".into(),
                need: layout.total as u64,
                limit: self.options.memory_limit,
            });
        }
        let mut lifetimes = Vec::new();
        for (t, &v) in tensors.iter().enumerate() {
            let Some(request) = lives.of_tensor[t] else { continue };
            let (offset, bytes) = (layout.offsets[request], needs.tensors[t].bytes);
            self.values[v].place = Place::Arena { offset, bytes };
            let (first, last) = lives.spans[t];
            lifetimes.push(Lifetime { value: v, offset, bytes, first, last: last.min(n.saturating_sub(1)) });
        }
        lifetimes.sort_by_key(|l| (l.first, l.value));
        self.free_dynamic(&outputs);
        let constants: usize = self
            .used_constants()
            .map(|v| match &self.values[v].place {
                Place::Constant(t) => t.bytes().len(),
                _ => 0,
            })
            .sum();
        let plan = Plan {
            weights_bytes: constants + self.absorbed_bytes,
            peak_bytes: layout.peak,
            arena_bytes: layout.total,
            values: self.values,
            steps: self.steps,
            layers: self.layers,
            inputs,
            outputs,
            lifetimes,
            needs,
            limit: usize::try_from(self.options.memory_limit).unwrap_or(usize::MAX),
            fusion: self.options.fusion,
            simulated,
        };
        plan.check();
        Ok(plan)
    }

    fn used_constants(&self) -> impl Iterator<Item = ValueIx> {
        let mut used = vec![false; self.values.len()];
        for v in self.steps.iter().flat_map(|s| s.inputs.iter().flatten()) {
            used[self.root(*v)] = true;
        }
        used.into_iter().enumerate().filter(|u| u.1).map(|u| u.0)
    }

    /// Dynamic values are given back after the last step that reads them.
    fn free_dynamic(&mut self, outputs: &[ValueIx]) {
        let mut last: Vec<Option<usize>> = vec![None; self.values.len()];
        for (i, s) in self.steps.iter().enumerate() {
            for v in s.inputs.iter().flatten() {
                last[self.root(*v)] = Some(i);
            }
        }
        for &v in outputs {
            last[self.root(v)] = None;
        }
        for (v, at) in last.into_iter().enumerate() {
            if let (Place::Dynamic, Some(at)) = (&self.values[v].place, at) {
                self.steps[at].frees.push(v);
            }
        }
    }

    /// What the steps need of the arena, and the value of each of its tensors. What steps of unknown shapes make is not in it.
    fn needs(&self, outputs: &[ValueIx]) -> (MemoryNeeds, Vec<ValueIx>) {
        let mut needs = MemoryNeeds::default();
        let mut values = Vec::new();
        let mut tensor_of: Vec<Option<usize>> = vec![None; self.values.len()];
        let mut maker: Vec<Option<usize>> = vec![None; self.values.len()];
        for (i, step) in self.steps.iter().enumerate() {
            let mut need = StepNeed::default();
            for root in step.inputs.iter().flatten().map(|&v| self.root(v)) {
                let missing = |list: &[usize], x: usize| !list.contains(&x);
                need.reads.extend(tensor_of[root].filter(|&t| missing(&need.reads, t)));
                need.after.extend(maker[root].filter(|&s| missing(&need.after, s)));
            }
            for &v in step.outputs.iter().flatten() {
                maker[v] = Some(i);
                if !step.dynamic {
                    let fact = &self.values[v].fact;
                    let is_f32 = fact.dtype == graph::DType::F32;
                    needs.tensors.push(TensorNeed { bytes: fact.bytes().unwrap_or(0), is_f32, is_output: false });
                    values.push(v);
                    need.makes.push(values.len() - 1);
                }
            }
            if let (Some(Some(out)), false) = (step.outputs.first(), step.dynamic) {
                let takes =
                    step.op.in_place().iter().filter_map(|&k| Some((k, self.can_take(step, k, *out, &tensor_of)?)));
                need.may_take = takes.collect();
            }
            for (&v, &t) in step.outputs.iter().flatten().zip(&need.makes) {
                tensor_of[v] = Some(t);
            }
            needs.steps.push(need);
        }
        for t in outputs.iter().filter_map(|&v| tensor_of[self.root(v)]) {
            needs.tensors[t].is_output = true;
        }
        (needs, values)
    }

    /// The tensor of input `k` if output 0 may be written over it wherever it dies: it lives in the arena, is read once by the
    /// step, and has the output's type and shape.
    fn can_take(&self, step: &Step, k: usize, out: ValueIx, tensor_of: &[Option<usize>]) -> Option<usize> {
        let input = (*step.inputs.get(k)?)?;
        let root = self.root(input);
        let uses = step.inputs.iter().flatten().filter(|v| self.root(**v) == root).count();
        let (have, want) = (&self.values[input].fact, &self.values[out].fact);
        tensor_of[root].filter(|_| uses == 1 && have.dtype == want.dtype && have.shape == want.shape)
    }
}

/// Numbers the layers that would share a name, from the second on.
fn make_unique(layers: &mut [Layer]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for l in layers {
        let count = seen.entry(l.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            l.name = format!("{} {count}", l.name);
        }
    }
}

/// A name that says where the layer is: the node's own if it has its scope in it (`encoder/layer.0/query/MatMul`), else the
/// scope and the operator, since many exporters number their nodes (`node_MatMul_84`).
fn readable(node: &graph::Node) -> String {
    let own = node.name.trim_start_matches('/');
    if node.scope.is_empty() || own.starts_with(&node.scope) {
        return own.to_owned();
    }
    format!("{}/{}", node.scope, node.op_type.trim_start_matches("Fused"))
}

fn layer(node: &graph::Node, op: &dyn Operator, ins: &[Option<Fact>], outs: &[Fact], weight_bytes: usize) -> Layer {
    let known = ins.iter().flatten().chain(outs).all(|f| f.shape.is_some());
    let Cost { flops } = if known { op.cost(&Inputs(ins), outs) } else { Cost::default() };
    let label = op.label(&Inputs(ins)).unwrap_or_else(|| node.op_type.clone());
    let ty = |f: &Fact| match &f.shape {
        Some(s) => graph::TensorType::known(f.dtype, s).to_string(),
        None => graph::TensorType { dtype: f.dtype, shape: None }.to_string(),
    };
    let bytes = |f: &Fact| f.bytes().unwrap_or(0) as u64;
    let read: u64 = ins.iter().flatten().filter(|f| f.value.is_none()).map(bytes).sum();
    Layer {
        name: readable(node),
        op: label,
        class: op.class(),
        scope: node.scope.clone(),
        source_nodes: node.sources.clone(),
        device: "cpu".into(),
        inputs: ins.iter().flatten().map(ty).collect(),
        outputs: outs.iter().take(node.outputs.len()).map(ty).collect(),
        flops: known.then_some(flops),
        bytes_read: known.then_some(read + weight_bytes as u64),
        bytes_written: known
            .then(|| outs.iter().zip(&node.outputs).filter(|o| o.1.is_some()).map(|o| bytes(o.0)).sum()),
        weight_bytes: weight_bytes as u64,
        kernel: op.kernel(),
    }
}

impl Plan {
    /// Follows views to the value that holds the bytes.
    pub fn root(&self, mut ix: ValueIx) -> ValueIx {
        while let Place::View(of) = self.values[ix].place {
            ix = of;
        }
        ix
    }

    /// What its steps are given from around them.
    pub(crate) fn env<'a>(&self, pool: &'a Pool, cancel: &'a AtomicBool, depth: usize) -> Env<'a> {
        Env { pool, cancel, limit: self.limit, fusion: self.fusion, depth }
    }

    /// The place in the arena that a value's bytes have.
    pub(crate) fn arena_range(&self, ix: ValueIx) -> Option<(usize, usize)> {
        match self.values[self.root(ix)].place {
            Place::Arena { offset, bytes } => Some((offset, offset + bytes)),
            _ => None,
        }
    }

    /// The arena's promise, on which the executor's unsafe code rests: within one step no output overlaps another output or an
    /// input, except the one that it takes over, and every place is inside the arena. Panics if the planner broke it.
    fn check(&self) {
        for s in &self.steps {
            let outs: Vec<(usize, usize)> = s.outputs.iter().flatten().filter_map(|&v| self.arena_range(v)).collect();
            for (i, a) in outs.iter().enumerate() {
                assert!(a.1 <= self.arena_bytes && a.0 % memory::ALIGN == 0, "{}: outside the arena", s.node);
                let apart = |b: &(usize, usize)| a.1 <= b.0 || b.1 <= a.0 || a.0 == a.1 || b.0 == b.1;
                assert!(outs[i + 1..].iter().all(apart), "{}: outputs overlap", s.node);
                for (k, v) in s.inputs.iter().enumerate() {
                    let taken = i == 0 && s.in_place == Some(k);
                    let range = v.and_then(|v| self.arena_range(v));
                    assert!(taken || range.is_none_or(|b| apart(&b)), "{}: output over input {k}", s.node);
                }
            }
        }
    }
}
