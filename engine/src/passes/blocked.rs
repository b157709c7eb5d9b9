//! Chains of convolutions, pools and element-wise steps run in the blocked layout of `cpu_kernels::conv::blocked`, with the reorders at
//! their ends. For a CPU's plan; layers keep their names and sources, and values their shapes.

use std::collections::{BTreeMap, HashMap};

use cpu_kernels::conv::blocked::{InputLayout, block};
use cpu_kernels::gemm::Activation;
use graph::{Attr, DType, Node, ValueId};

use super::epilogue::activation_after;
use crate::attrs::Attrs;
use crate::op::Inputs;
use crate::ops::{activation, blocked, conv};
use crate::registry::{self, INTERNAL};
use crate::work::{NodeIx, Work, WorkNode, opset_of};

/// Operators that do the same to every element, so that blocks of channels are as good as any layout.
const SAME: &[&str] =
    &["Add", "Mul", "Sub", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Silu", "Gelu", "Tanh", "Clip"];

/// What a node becomes, and which of its inputs are then blocked.
struct Form {
    op_type: Option<&'static str>,
    inputs: Vec<bool>,
    output: bool,
    is_conv: bool,
}

/// Gives chains of at least two convolutions the blocked layout; gives back how many steps have it.
pub(crate) fn run(work: &mut Work) -> usize {
    for ix in 0..work.nodes.len() {
        residual(work, ix);
    }
    let forms: Vec<Option<Form>> = (0..work.nodes.len()).map(|ix| form(work, ix)).collect();
    let kept = chains(work, forms);
    let count = kept.iter().flatten().count();
    if count > 0 {
        rewrite(work, &kept);
    }
    count
}

fn is_standard(node: &Node, op_type: &str) -> bool {
    node.domain.is_empty() && node.op_type == op_type
}

/// A convolution's operator in the file's form, and the layout of the input of its blocked form.
fn conv_input(work: &Work, node: &Node) -> Option<(Activation, InputLayout)> {
    let fused = node.domain == INTERNAL && matches!(node.op_type.as_str(), "FusedConv" | "BlockedConv");
    if !fused && !is_standard(node, "Conv") {
        return None;
    }
    let op = conv::read_one(&Attrs::new(node, opset_of(&work.graph, node))).ok()?;
    let layout = blocked::conv_input(&op, &Inputs(&work.input_facts(node)))?;
    Some((op.activation, layout))
}

/// Conv, then a sum with another tensor, then an activation.
fn residual(work: &mut Work, ix: NodeIx) -> bool {
    let found = (|| {
        let node = work.node(ix).filter(|n| is_standard(n, "Add"))?;
        let mut out = work.output(ix, 0)?;
        let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
        let usable = |v: ValueId| work.shape(v) == work.shape(out) && work.constant(v).is_none();
        if a == b || !usable(a) || !usable(b) {
            return None;
        }
        let able = |v: ValueId| {
            let at = work.producer(v).filter(|_| work.is_private(v))?;
            let node = work.node(at)?;
            let (act, _) = conv_input(work, node)?;
            (act == Activation::None && node.inputs.len() <= 3).then_some((at, v))
        };
        // The later of two: the other one is then made already when it runs.
        let (at, v) = [a, b].into_iter().filter_map(able).max()?;
        let other = if v == a { b } else { a };
        let conv = work.node(at)?.clone();
        let mut removed = vec![at, ix];
        let mut attrs = conv.attrs.clone();
        if let Some((next, act)) = activation_after(work, out) {
            activation::write(act, &mut attrs);
            removed.push(next);
            out = work.output(next, 0)?;
        }
        let mut inputs = conv.inputs.clone();
        inputs.resize(3, None);
        inputs.push(Some(other));
        let (op_type, domain) = ("BlockedConv".into(), INTERNAL.into());
        Some((removed, Node { op_type, domain, inputs, outputs: vec![Some(out)], attrs, ..conv }))
    })();
    found.is_some_and(|(removed, node)| work.fuse(&removed, node))
}

fn form(work: &Work, ix: NodeIx) -> Option<Form> {
    let node = work.node(ix)?;
    let image = |v: Option<ValueId>| {
        let f = v.and_then(|v| work.fact(v))?;
        let shape = f.shape.as_ref().filter(|s| s.len() == 4 && !s.contains(&0))?;
        (f.dtype == DType::F32 && f.value.is_none()).then_some(shape)
    };
    let shape = image(*node.inputs.first()?)?;
    let whole_shape = image(*node.outputs.first()?)?;
    if node.outputs.iter().skip(1).any(Option::is_some) {
        return None;
    }
    if let Some((_, layout)) = conv_input(work, node) {
        let inputs = (0..node.inputs.len()).map(|i| i == 3 || (i == 0 && layout == InputLayout::Blocked)).collect();
        return Some(Form { op_type: Some("BlockedConv"), inputs, output: true, is_conv: true });
    }
    let first = || (0..node.inputs.len()).map(|i| i == 0).collect::<Vec<bool>>();
    for (name, new, output) in [
        ("MaxPool", "BlockedMaxPool", true),
        ("AveragePool", "BlockedAveragePool", true),
        ("GlobalAveragePool", "BlockedGlobalAveragePool", false),
    ] {
        if is_standard(node, name) {
            return Some(Form { op_type: Some(new), inputs: first(), output, is_conv: false });
        }
    }
    let whole = |s: &[usize]| s[1].is_multiple_of(block());
    // A gate: one number for each image and channel.
    if let (true, &[a, b]) = (is_standard(node, "Mul"), &node.inputs[..]) {
        let gate = vec![whole_shape[0], whole_shape[1], 1, 1];
        let fits = |x, s| image(x) == Some(whole_shape) && image(s) == Some(&gate);
        if fits(a, b) || fits(b, a) {
            return Some(Form { op_type: Some("BlockedScale"), inputs: vec![true; 2], output: true, is_conv: false });
        }
    }
    // Whole blocks one after the other are what they are with the channels first.
    let along_channels = matches!(node.attrs.get("axis"), Some(Attr::Int(1 | -3)));
    if is_standard(node, "Concat") && along_channels {
        let fits = node.inputs.iter().all(|&v| image(v).is_some_and(|s| whole(s)));
        let inputs = vec![true; node.inputs.len()];
        return fits.then_some(Form { op_type: None, inputs, output: true, is_conv: false });
    }
    let same = SAME.contains(&node.op_type.as_str()) && (node.domain.is_empty() || node.domain == INTERNAL);
    let two = matches!(node.op_type.as_str(), "Add" | "Mul" | "Sub");
    if !same || !whole(shape) || (two && node.inputs.iter().any(|&v| image(v) != Some(shape))) {
        return None;
    }
    let inputs = if two { vec![true; node.inputs.len()] } else { first() };
    Some(Form { op_type: None, inputs, output: true, is_conv: false })
}

/// The forms that are worth their reorders: those joined to at least two convolutions.
fn chains(work: &Work, mut forms: Vec<Option<Form>>) -> Vec<Option<Form>> {
    let mut parent: Vec<NodeIx> = (0..forms.len()).collect();
    fn root(parent: &mut [NodeIx], mut ix: NodeIx) -> NodeIx {
        while parent[ix] != ix {
            parent[ix] = parent[parent[ix]];
            ix = parent[ix];
        }
        ix
    }
    for (ix, f) in forms.iter().enumerate() {
        let (Some(f), Some(node)) = (f, work.node(ix)) else { continue };
        for v in node.inputs.iter().zip(&f.inputs).filter(|i| *i.1).filter_map(|i| *i.0) {
            let Some(from) = work.producer(v) else { continue };
            if forms[from].as_ref().is_some_and(|f| f.output) {
                let (a, b) = (root(&mut parent, from), root(&mut parent, ix));
                parent[a] = b;
            }
        }
    }
    let mut convs: HashMap<NodeIx, usize> = HashMap::new();
    for (ix, f) in forms.iter().enumerate() {
        if f.as_ref().is_some_and(|f| f.is_conv) {
            *convs.entry(root(&mut parent, ix)).or_default() += 1;
        }
    }
    for (ix, f) in forms.iter_mut().enumerate() {
        // A convolution that has taken over a sum has this form alone.
        let only = work.node(ix).is_some_and(|n| n.op_type == "BlockedConv");
        if !only && convs.get(&root(&mut parent, ix)).is_none_or(|&n| n < 2) {
            *f = None;
        }
    }
    forms
}

/// The nodes in their new order.
struct Rewriter<'a> {
    work: &'a mut Work,
    nodes: Vec<WorkNode>,
    /// The blocked form of a value that exists in both.
    twins: BTreeMap<ValueId, ValueId>,
}

fn rewrite(work: &mut Work, forms: &[Option<Form>]) {
    let read_plain = |work: &Work, v: ValueId| {
        let blocked = |ix: NodeIx| {
            let (Some(f), Some(node)) = (&forms[ix], work.node(ix)) else { return false };
            node.inputs.iter().zip(&f.inputs).all(|(&input, &blocked)| input != Some(v) || blocked)
        };
        work.graph.outputs.contains(&v) || work.readers(v).iter().any(|&r| !blocked(r))
    };
    let plain: Vec<bool> = (0..forms.len()).map(|ix| work.output(ix, 0).is_some_and(|v| read_plain(work, v))).collect();
    let old = work.nodes.clone();
    let mut r = Rewriter { work, nodes: Vec::new(), twins: BTreeMap::new() };
    for (ix, n) in old.into_iter().enumerate() {
        let Some(mut n) = n else { continue };
        let Some(form) = &forms[ix] else {
            r.nodes.push(n);
            continue;
        };
        for (input, blocked) in n.node.inputs.iter_mut().zip(&form.inputs) {
            if let (Some(v), true) = (&mut *input, blocked) {
                *v = r.blocked(*v, &n.node.name, &n.node.scope, &n.node.sources);
            }
        }
        if let Some(op_type) = form.op_type {
            n.node.op_type = op_type.into();
            n.node.domain = INTERNAL.into();
            if let Ok(op) = registry::read(&n.node, 1) {
                n.op = op.into();
            }
        }
        let made = n.node.outputs[0].filter(|_| form.output);
        let twin = made.filter(|_| plain[ix]).map(|v| r.twin(v));
        if let Some(twin) = twin {
            n.node.outputs[0] = Some(twin);
        } else if let Some(fact) = made.and_then(|v| r.work.facts[v.index()].as_mut()) {
            fact.blocked = true;
        }
        let Node { name, scope, sources, .. } = n.node.clone();
        r.nodes.push(n);
        if let (Some(v), Some(twin)) = (made, twin) {
            r.reorder("FromBlocked", twin, v, format!("{name}/to NCHW"), &scope, &sources);
        }
    }
    let nodes = std::mem::take(&mut r.nodes);
    work.set_nodes(nodes);
}

impl Rewriter<'_> {
    /// A new value: the blocked form of `v`.
    fn twin(&mut self, v: ValueId) -> ValueId {
        let name = format!("{} (blocked)", self.work.graph.value(v).name);
        let fact = self.work.fact(v).cloned().map(|f| crate::op::Fact { value: None, ..f }.into_blocked());
        let twin = self.work.add_value(&name, fact.unwrap_or(crate::op::Fact::dynamic(DType::F32)));
        self.twins.insert(v, twin);
        twin
    }

    /// The blocked form of `v`, which is made here if nobody has made it.
    fn blocked(&mut self, v: ValueId, name: &str, scope: &str, sources: &[String]) -> ValueId {
        if self.work.fact(v).is_some_and(|f| f.blocked) {
            return v;
        }
        if let Some(&twin) = self.twins.get(&v) {
            return twin;
        }
        let twin = self.twin(v);
        self.reorder("ToBlocked", v, twin, format!("{name}/to NCHW{}c", block()), scope, sources);
        twin
    }

    fn reorder(&mut self, op_type: &str, from: ValueId, to: ValueId, name: String, scope: &str, sources: &[String]) {
        let node = Node {
            name,
            domain: INTERNAL.into(),
            op_type: op_type.into(),
            inputs: vec![Some(from)],
            outputs: vec![Some(to)],
            attrs: BTreeMap::new(),
            scope: scope.to_owned(),
            sources: sources.to_vec(),
        };
        let op = registry::read(&node, 1).expect("a known operator without attributes");
        self.nodes.push(WorkNode { node, op: op.into() });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use cpu_kernels::pool::Pool;
    use graph::{Dim, Graph, Tensor, TensorType, Value};
    use profiler::Recorder;

    use super::*;
    use crate::tensor::constant_f32;
    use crate::{Plan, PlanOptions, Session};

    struct Net {
        graph: Graph,
        seed: u64,
    }

    impl Net {
        fn random(&mut self, shape: &[usize]) -> Tensor {
            let mut next = || {
                self.seed ^= self.seed << 13;
                self.seed ^= self.seed >> 7;
                self.seed ^= self.seed << 17;
                (self.seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| next() * 0.3).collect())
        }

        fn node(&mut self, op_type: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> ValueId {
            let name = format!("{op_type} {}", self.graph.nodes.len());
            let out = self.graph.add_value(Value { name: format!("{name}.out"), ..Value::default() });
            self.graph.nodes.push(Node {
                name: name.clone(),
                domain: String::new(),
                op_type: op_type.into(),
                inputs: inputs.iter().map(|&v| Some(v)).collect(),
                outputs: vec![Some(out)],
                attrs: attrs.iter().map(|(n, a)| ((*n).to_owned(), a.clone())).collect(),
                scope: String::new(),
                sources: vec![name],
            });
            out
        }

        fn conv(&mut self, x: ValueId, w: [usize; 4], stride: i64, group: i64) -> ValueId {
            let weights = [self.random(&w), self.random(&w[..1])]
                .map(|t| self.graph.add_value(Value { name: "w".into(), constant: Some(t), ..Value::default() }));
            let pad = (w[2] / 2) as i64;
            let attrs = [
                ("pads", Attr::Ints(vec![pad; 4])),
                ("strides", Attr::Ints(vec![stride; 2])),
                ("group", Attr::Int(group)),
            ];
            // Every other one has a bias.
            let inputs = [x, weights[0], weights[1]];
            self.node("Conv", &inputs[..2 + self.graph.nodes.len() % 2], &attrs)
        }
    }

    fn outputs(graph: &Graph, x: &Tensor, keep_all: bool) -> (Arc<Plan>, Vec<Tensor>) {
        let pool = Arc::new(Pool::new(2));
        let cancel = AtomicBool::new(false);
        let options = PlanOptions { keep_all, ..PlanOptions::default() };
        let plan = Arc::new(Plan::new(graph, &options, &pool, &cancel).expect("a plan"));
        let mut session = Session::new(plan.clone(), pool);
        session.feed(&HashMap::from([("x".to_owned(), x.clone())])).expect("the input fits");
        for _ in 0..2 {
            session.run(&mut Recorder::off(), &cancel).expect("a run");
        }
        let outputs = session.outputs().expect("outputs").into_iter().map(|o| o.1).collect();
        (plan, outputs)
    }

    /// Stem, residual sums over and under an activation, depthwise, groups, pools, values that are read in both layouts, and channels
    /// that fill no block: the same outputs as without the pass, and every node of the file is still somebody's source.
    #[test]
    fn the_layout_changes_no_output_and_loses_no_node() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        println!("seed {}", now | 1);
        for batch in [1, 2] {
            let mut n = Net { graph: Graph::default(), seed: now | 1 };
            n.graph.opsets.insert(String::new(), 17);
            let shape = [batch, 3, 23, 21];
            let ty = TensorType { dtype: DType::F32, shape: Some(shape.iter().map(|&d| Dim::Known(d)).collect()) };
            let x = n.graph.add_value(Value { name: "x".into(), ty: Some(ty), ..Value::default() });
            n.graph.inputs.push(x);
            let stem = n.conv(x, [32, 3, 3, 3], 2, 1);
            let stem = n.node("Relu", &[stem], &[]);
            let pads = [("kernel_shape", Attr::Ints(vec![3, 3])), ("pads", Attr::Ints(vec![1; 4]))];
            let pooled = n.node("MaxPool", &[stem], &pads);
            let a = n.conv(pooled, [32, 32, 3, 3], 1, 1);
            let a = n.node("Relu", &[a], &[]);
            let a = n.conv(a, [32, 32, 3, 3], 1, 1);
            let a = n.node("Add", &[a, pooled], &[]);
            let a = n.node("Relu", &[a], &[]);
            let b = n.conv(a, [32, 1, 3, 3], 2, 32);
            let b = n.node("Sigmoid", &[b], &[]);
            let b = n.conv(b, [20, 32, 1, 1], 1, 1);
            let c = n.conv(a, [20, 32, 1, 1], 2, 1);
            let sum = n.node("Add", &[b, c], &[]);
            let gate = n.node("GlobalAveragePool", &[sum], &[]);
            let gate = n.conv(gate, [20, 20, 1, 1], 1, 1);
            let gate = n.node("HardSigmoid", &[gate], &[]);
            let sum = n.node("Mul", &[gate, sum], &[]);
            let mean = n.node("AveragePool", &[sum], &pads);
            let odd = n.node("Sqrt", &[mean], &[]);
            let odd = n.node("Abs", &[odd], &[]);
            let last = n.conv(sum, [64, 20, 3, 3], 1, 1);
            let wide = n.conv(sum, [32, 20, 1, 1], 1, 1);
            let last = n.node("Concat", &[last, wide], &[("axis", Attr::Int(1))]);
            let last = n.node("Tanh", &[last], &[]);
            let global = n.node("GlobalAveragePool", &[last], &[]);
            let far = n.node("Neg", &[last], &[]);
            n.graph.outputs = vec![global, far, odd, sum];
            let input = n.random(&shape);
            let (plain, expected) = outputs(&n.graph, &input, true);
            let (plan, got) = outputs(&n.graph, &input, false);
            let blocked = |p: &Plan| p.layers.iter().filter(|l| l.kernel.contains("blocked")).count();
            assert_eq!(blocked(&plain), 0);
            assert!(blocked(&plan) >= 9, "{:?}", plan.layers.iter().map(|l| &l.kernel).collect::<Vec<_>>());
            for node in &n.graph.nodes {
                assert!(plan.layers.iter().any(|l| l.source_nodes.contains(&node.name)), "{} is lost", node.name);
            }
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let (got, expected) = (constant_f32(got).expect("f32"), constant_f32(expected).expect("f32"));
                let differ =
                    |(a, b): (&f32, &f32)| !((a - b).abs() <= 1e-5 * (1.0 + b.abs()) || (a.is_nan() && b.is_nan()));
                let wrong = got.iter().zip(expected.iter()).filter(|&p| differ(p)).count();
                assert!(wrong == 0 && got.len() == expected.len(), "output {i}: {wrong} of {} differ", got.len());
            }
        }
    }
}
