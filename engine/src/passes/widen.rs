//! Half-precision models on a CPU, whose kernels compute in f32: instead of widening and rounding around every step, values stay f32
//! from step to step. They are converted where they enter such a chain, and where somebody needs them in their own type: the
//! model's outputs, operators that can't.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use graph::{Attr, DType, Node, Tensor, ValueId};

use crate::exec;
use crate::op::{Fact, NEWEST};
use crate::registry;
use crate::tensor::constant_f32;
use crate::work::{NodeIx, Work, WorkNode};

/// Operators that move elements of any type. On what is not f32 yet they run as they are: it is half the bytes.
const MOVES: &[&str] = &[
    "CenterCropPad",
    "Compress",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Pad",
    "Reshape",
    "ReverseSequence",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Lets chains of steps run in f32; gives back how many steps do.
pub(super) fn run(work: &mut Work) -> usize {
    if !work.facts.iter().flatten().any(|f| is_half(f.dtype)) {
        return 0;
    }
    let nodes: Vec<WorkNode> = work.nodes.iter_mut().filter_map(Option::take).collect();
    let mut pass = Widen {
        work,
        wide: HashMap::new(),
        chain: HashSet::new(),
        kept: HashSet::new(),
        maker: HashMap::new(),
        made: Vec::new(),
    };
    let mut count = 0;
    for n in nodes {
        count += usize::from(pass.node(n));
    }
    for v in pass.work.graph.outputs.clone() {
        pass.restore(v);
    }
    let Widen { work, made, .. } = pass;
    work.set_nodes(made);
    count
}

/// 8-bit floats are left alone: what they round away is not noise.
fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

struct Widen<'a> {
    work: &'a mut Work,
    /// The f32 form of a value of half precision.
    wide: HashMap<ValueId, ValueId>,
    /// What was computed from such forms, in f32.
    chain: HashSet<ValueId>,
    /// Values of half precision of which only the f32 form is made so far.
    kept: HashSet<ValueId>,
    maker: HashMap<ValueId, NodeIx>,
    made: Vec<WorkNode>,
}

impl Widen<'_> {
    fn dtype(&self, v: ValueId) -> Option<DType> {
        self.work.fact(v).map(|f| f.dtype)
    }

    fn is_half(&self, v: ValueId) -> bool {
        self.dtype(v).is_some_and(is_half)
    }

    fn push(&mut self, n: WorkNode) {
        for &v in n.node.outputs.iter().flatten() {
            self.maker.insert(v, self.made.len());
        }
        self.made.push(n);
    }

    /// A conversion on behalf of a node of the file.
    fn cast(&mut self, from: ValueId, to: ValueId, dtype: DType, of: &Node) {
        let node = Node {
            name: format!("{}/to {dtype}", of.name),
            domain: String::new(),
            op_type: "Cast".into(),
            inputs: vec![Some(from)],
            outputs: vec![Some(to)],
            attrs: BTreeMap::from([("to".to_owned(), Attr::Int(dtype.to_onnx().into()))]),
            scope: of.scope.clone(),
            sources: of.sources.clone(),
        };
        // A Cast to a float type can always be read.
        if let Ok(op) = registry::read(&node, NEWEST) {
            self.push(WorkNode { node, op: Arc::from(op) });
        }
    }

    /// The f32 form of `v`, made for `reader` if it is new.
    fn widened(&mut self, v: ValueId, reader: &Node) -> ValueId {
        if let Some(&wide) = self.wide.get(&v) {
            return wide;
        }
        let name = self.work.graph.value(v).name.clone();
        let floats =
            self.work.constant(v).and_then(|t| Some(Tensor::from_vec(t.shape(), constant_f32(t)?.into_owned())));
        let wide = match floats {
            Some(floats) => self.work.add_constant(&name, floats),
            None => {
                let shape = self.work.fact(v).and_then(|f| f.shape.clone());
                let fact = shape.map_or(Fact::dynamic(DType::F32), |shape| Fact::new(DType::F32, shape));
                let wide = self.work.add_value(&name, fact);
                self.cast(v, wide, DType::F32, reader);
                self.chain.insert(wide);
                wide
            }
        };
        self.wide.insert(v, wide);
        wide
    }

    /// Makes `v` itself, where so far only its f32 form is made.
    fn restore(&mut self, v: ValueId) {
        if !self.kept.remove(&v) {
            return;
        }
        let (Some(&wide), Some(dtype)) = (self.wide.get(&v), self.dtype(v)) else { return };
        if let Some(maker) = self.maker.get(&wide).map(|&ix| self.made[ix].node.clone()) {
            self.cast(wide, v, dtype, &maker);
        }
    }

    /// Takes a node over, in f32 if it can be; true if so.
    fn node(&mut self, n: WorkNode) -> bool {
        let form = self.f32_form(&n);
        let is_wide = form.is_some();
        let mut n = n;
        if let Some((new, facts)) = form {
            n = new;
            let inputs = n.node.inputs.clone();
            for (i, v) in inputs.into_iter().enumerate() {
                if let Some(v) = v.filter(|&v| self.is_half(v) && !self.stays(&n.node, i, v)) {
                    n.node.inputs[i] = Some(self.widened(v, &n.node));
                }
            }
            let outputs = n.node.outputs.iter_mut().zip(facts);
            for (slot, fact) in outputs {
                let Some(v) = slot.filter(|&v| self.is_half(v)) else { continue };
                let name = self.work.graph.value(v).name.clone();
                let wide = self.work.add_value(&name, fact);
                self.wide.insert(v, wide);
                self.chain.insert(wide);
                self.kept.insert(v);
                *slot = Some(wide);
            }
        } else {
            for &v in n.node.inputs.iter().flatten() {
                self.restore(v);
            }
        }
        if n.node.inputs.iter().flatten().any(|v| self.chain.contains(v)) {
            let floats = n.node.outputs.iter().flatten().filter(|&&v| self.dtype(v) == Some(DType::F32));
            self.chain.extend(floats.copied().collect::<Vec<_>>());
        }
        self.push(n);
        is_wide
    }

    /// Weights that a kernel packs are converted there: no f32 copy of them is held beside.
    fn stays(&self, node: &Node, i: usize, v: ValueId) -> bool {
        let packs = match node.op_type.as_str() {
            "MatMul" | "Gemm" => self.work.shape(v).is_some_and(|s| s.len() == 2),
            "Conv" => true,
            _ => false,
        };
        let known = node.inputs.first().copied().flatten().is_some_and(|x| self.work.shape(x).is_some());
        i == 1 && packs && known && node.domain.is_empty() && self.work.constant(v).is_some()
    }

    /// True if `v` is computed in f32 as part of a chain, whatever its type in the file.
    fn is_wide(&self, v: ValueId) -> bool {
        self.chain.contains(self.wide.get(&v).unwrap_or(&v))
    }

    /// The node on f32 where it is on half precision, and its outputs' facts; `None` if it stays as it is.
    fn f32_form(&self, n: &WorkNode) -> Option<(WorkNode, Vec<Fact>)> {
        let mut n = n.clone();
        let values = || n.node.inputs.iter().chain(&n.node.outputs).flatten();
        if !values().any(|&v| self.is_half(v)) {
            return None;
        }
        let enters = n.node.inputs.iter().flatten().any(|&v| self.is_wide(v));
        let standard = n.node.domain.is_empty();
        if standard && n.node.op_type == "Cast" {
            // Integers are made from what the file rounds; and a chain does not round at the ends of its f32 islands, while f32
            // that comes from elsewhere is rounded as the file says.
            let to = self.dtype(n.node.outputs.first().copied().flatten()?)?;
            if !enters || !(is_half(to) || to == DType::F32) {
                return None;
            }
            n.node.attrs.insert("to".to_owned(), Attr::Int(DType::F32.to_onnx().into()));
            n.op = Arc::from(registry::read(&n.node, NEWEST).ok()?);
        } else if !(n.op.widens() || standard && enters && MOVES.contains(&n.node.op_type.as_str())) {
            return None;
        }
        let wide = |f: Option<Fact>| {
            f.map(|f| if is_half(f.dtype) { Fact { dtype: DType::F32, value: None, ..f } } else { f })
        };
        let facts: Vec<Option<Fact>> = self.work.input_facts(&n.node).into_iter().map(wide).collect();
        let new = exec::infer(&*n.op, &facts).ok()?;
        let same = n.node.outputs.iter().zip(&new).all(|(v, new)| {
            let Some(old) = v.and_then(|v| self.work.fact(v)) else { return true };
            let dtype = if is_half(old.dtype) { DType::F32 } else { old.dtype };
            old.shape == new.shape && new.dtype == dtype
        });
        same.then_some((n, new))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use cpu_kernels::pool::Pool;
    use graph::{Dim, Graph, TensorType, Value};
    use profiler::Recorder;

    use super::*;
    use crate::{Plan, PlanOptions, Session};

    struct Net {
        graph: Graph,
        seed: u64,
        dtype: DType,
        feeds: HashMap<String, Tensor>,
    }

    impl Net {
        fn new(dtype: DType) -> Net {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let seed = now.map_or(1, |d| d.as_nanos() as u64) | 1;
            println!("seed {seed}");
            let mut graph = Graph::default();
            graph.opsets.insert(String::new(), 17);
            Net { graph, seed, dtype, feeds: HashMap::new() }
        }

        fn random(&mut self, shape: &[usize]) -> Tensor {
            let mut next = || {
                self.seed ^= self.seed << 13;
                self.seed ^= self.seed >> 7;
                self.seed ^= self.seed << 17;
                (self.seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
            match self.dtype {
                DType::F16 => Tensor::from_vec(shape, values.into_iter().map(half::f16::from_f32).collect()),
                _ => Tensor::from_vec(shape, values.into_iter().map(half::bf16::from_f32).collect()),
            }
        }

        fn constant(&mut self, t: Tensor) -> ValueId {
            self.graph.add_value(Value { name: "c".into(), constant: Some(t), ..Value::default() })
        }

        fn weights(&mut self, shape: &[usize]) -> ValueId {
            let t = self.random(shape);
            self.constant(t)
        }

        fn input(&mut self, name: &str, t: Tensor) -> ValueId {
            let shape = Some(t.shape().iter().map(|&d| Dim::Known(d)).collect());
            let ty = Some(TensorType { dtype: t.dtype(), shape });
            let v = self.graph.add_value(Value { name: name.into(), ty, ..Value::default() });
            self.feeds.insert(name.into(), t);
            self.graph.inputs.push(v);
            v
        }

        fn floats(&mut self, shape: &[usize]) -> ValueId {
            let t = self.random(shape);
            self.input("x", t)
        }

        fn node(&mut self, op_type: &str, inputs: &[ValueId], attrs: &[(&str, i64)]) -> ValueId {
            let name = format!("{op_type} {}", self.graph.nodes.len());
            let out = self.graph.add_value(Value { name: format!("{name}.out"), ..Value::default() });
            self.graph.nodes.push(Node {
                name: name.clone(),
                domain: String::new(),
                op_type: op_type.into(),
                inputs: inputs.iter().map(|&v| Some(v)).collect(),
                outputs: vec![Some(out)],
                attrs: attrs.iter().map(|&(n, a)| (n.to_owned(), Attr::Int(a))).collect(),
                scope: String::new(),
                sources: vec![name],
            });
            out
        }

        fn cast(&mut self, v: ValueId, to: DType) -> ValueId {
            self.node("Cast", &[v], &[("to", to.to_onnx().into())])
        }

        fn run(&self, fusion: bool) -> (Arc<Plan>, Vec<Tensor>) {
            let pool = Arc::new(Pool::new(1));
            let cancel = AtomicBool::new(false);
            let options = PlanOptions { fusion, ..PlanOptions::default() };
            let plan = Arc::new(Plan::new(&self.graph, &options, &pool, &cancel).expect("a plan"));
            let mut session = Session::new(plan.clone(), pool);
            session.feed(&self.feeds).expect("the inputs fit");
            for _ in 0..2 {
                session.run(&mut Recorder::off(), &cancel).expect("a run");
            }
            (plan, session.outputs().expect("outputs").into_iter().map(|o| o.1).collect())
        }

        /// Runs both plans: their outputs have the same types, and differ by some roundings of values of this size; no node is lost.
        fn check(&self, size: f32, roundings: f32) -> (Arc<Plan>, Arc<Plan>) {
            let ((plain, expected), (plan, got)) = (self.run(false), self.run(true));
            let step = if self.dtype == DType::F16 { 1.0 / 2048.0 } else { 1.0 / 256.0 };
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                assert_eq!((got.dtype(), got.shape()), (expected.dtype(), expected.shape()), "output {i}");
                let Some(values) = constant_f32(got) else {
                    assert_eq!(got.bytes(), expected.bytes(), "output {i}");
                    continue;
                };
                let expected = constant_f32(expected).expect("floats");
                let worst = values.iter().zip(&*expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let all = values.iter().all(|v| v.is_finite());
                assert!(all && worst <= size * step * roundings, "output {i}: {worst}");
            }
            for node in &self.graph.nodes {
                assert!(plan.layers.iter().any(|l| l.source_nodes.contains(&node.name)), "{} is lost", node.name);
            }
            (plain, plan)
        }
    }

    fn casts(plan: &Plan) -> usize {
        plan.layers.iter().filter(|l| l.op == "Cast").count()
    }

    #[test]
    fn a_chain_is_converted_at_its_ends_alone_and_the_switch_turns_it_off() {
        for dtype in [DType::F16, DType::BF16] {
            let mut n = Net::new(dtype);
            let x = n.floats(&[5, 16]);
            let (w, b) = (n.weights(&[16, 16]), n.weights(&[16]));
            let y = n.node("MatMul", &[x, w], &[]);
            let y = n.node("Add", &[y, b], &[]);
            let y = n.node("Relu", &[y], &[]);
            let y = n.node("Transpose", &[y], &[]);
            let y = n.node("Tanh", &[y], &[]);
            n.graph.outputs = vec![y];
            let (plain, plan) = n.check(4.0, 4.0);
            assert_eq!((casts(&plain), casts(&plan)), (0, 2));
            let f32s = |p: &Plan| p.layers.iter().flat_map(|l| &l.outputs).filter(|t| t.starts_with("f32")).count();
            assert_eq!(f32s(&plain), 0);
            assert_eq!(f32s(&plan), plan.layers.len() - 1, "{:?}", plan.layers);
            // The weights are packed from the file's own bytes.
            assert!(
                plan.values.iter().all(|v| v.fact.shape.as_deref() != Some(&[16, 16][..]) || v.fact.dtype == dtype)
            );
        }
    }

    #[test]
    fn islands_of_f32_lose_their_casts_and_roundings_of_f32_inputs_stay() {
        let mut n = Net::new(DType::F16);
        let half = n.random(&[4, 8]);
        let x = n.input(
            "x",
            Tensor::from_vec(half.shape(), constant_f32(&half).expect("floats").iter().map(|v| v / 3.0).collect()),
        );
        let rounded = n.cast(x, DType::F16);
        let w = n.weights(&[8, 8]);
        let y = n.node("MatMul", &[rounded, w], &[]);
        let y = n.cast(y, DType::F32);
        let y = n.node("Softmax", &[y], &[("axis", -1)]);
        let y = n.cast(y, DType::F16);
        let w = n.weights(&[8, 8]);
        let y = n.node("MatMul", &[y, w], &[]);
        let y = n.cast(y, DType::F32);
        let back = n.cast(rounded, DType::F32);
        n.graph.outputs = vec![y, back];
        let (_, plan) = n.check(2.0, 4.0);
        // In, up, and one for each output of the model.
        assert_eq!(casts(&plan), 4, "{:?}", plan.layers);
        let (plain, made) = (n.run(false).1, n.run(true).1);
        assert_eq!(plain[1].bytes(), made[1].bytes(), "the file's own rounding is kept");
    }

    #[test]
    fn values_that_are_needed_in_both_types_and_beside_integers() {
        for dtype in [DType::F16, DType::BF16] {
            let mut n = Net::new(dtype);
            let table = n.weights(&[10, 8]);
            let ids = n.input("ids", Tensor::from_vec(&[3], vec![7i64, 0, 9]));
            let x = n.node("Gather", &[table, ids], &[]);
            let shared = n.node("Sigmoid", &[x], &[]);
            let four = n.constant(Tensor::from_vec(&[], vec![4i64]));
            let power = n.node("Pow", &[shared, four], &[]);
            // BitCast reads the value's own bits, and so does a conversion to integers.
            n.graph.opsets.insert(String::new(), 26);
            let bits = n.node("BitCast", &[shared], &[("to", DType::I16.to_onnx().into())]);
            let sum = n.node("Add", &[shared, shared], &[]);
            let whole = n.cast(sum, DType::I64);
            n.graph.outputs = vec![shared, power, bits, whole];
            let (_, plan) = n.check(1.0, 4.0);
            assert!(casts(&plan) >= 4, "{:?}", plan.layers);
        }
    }

    #[test]
    fn convolutions_take_their_batch_normalisation_whatever_type_the_weights_have() {
        let mut n = Net::new(DType::F16);
        let x = n.floats(&[1, 3, 9, 9]);
        let (w, b) = (n.weights(&[4, 3, 3, 3]), n.weights(&[4]));
        let y = n.node("Conv", &[x, w, b], &[]);
        let norm: Vec<ValueId> = (0..3).map(|_| n.weights(&[4])).collect();
        let variance = n.constant(Tensor::from_vec(&[4], [1.0, 0.5, 2.0, 0.75].map(half::f16::from_f32).to_vec()));
        let y = n.node("BatchNormalization", &[y, norm[0], norm[1], norm[2], variance], &[]);
        let y = n.node("Relu", &[y], &[]);
        n.graph.outputs = vec![y];
        let (_, plan) = n.check(16.0, 4.0);
        assert!(plan.layers.iter().all(|l| l.op != "BatchNormalization"), "{:?}", plan.layers);
    }
}
