//! Single operators through the planner and the executor, against values computed here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::{EngineError, Plan, PlanOptions, Pool, Session};
use graph::{Attr, DType, Dim, Element, Graph, Node, Tensor, TensorType, Value};
use profiler::Recorder;

#[path = "ops/hostile.rs"]
mod hostile;
#[path = "ops/standard.rs"]
mod standard;

/// A graph of one node.
struct One {
    op: &'static str,
    opset: i64,
    inputs: Vec<Option<Tensor>>,
    /// The inputs that are constants of the model.
    constant: Vec<usize>,
    attrs: Vec<(&'static str, Attr)>,
    outputs: usize,
}

fn one(op: &'static str, opset: i64, inputs: Vec<Tensor>) -> One {
    One { op, opset, inputs: inputs.into_iter().map(Some).collect(), constant: vec![], attrs: vec![], outputs: 1 }
}

impl One {
    fn attr(mut self, name: &'static str, value: Attr) -> One {
        self.attrs.push((name, value));
        self
    }
    fn int(self, name: &'static str, v: i64) -> One {
        self.attr(name, Attr::Int(v))
    }
    fn float(self, name: &'static str, v: f32) -> One {
        self.attr(name, Attr::Float(v))
    }
    fn ints(self, name: &'static str, v: &[i64]) -> One {
        self.attr(name, Attr::Ints(v.to_vec()))
    }
    fn text(self, name: &'static str, v: &'static str) -> One {
        self.attr(name, Attr::String(v.into()))
    }
    fn constant(mut self, i: &[usize]) -> One {
        self.constant = i.to_vec();
        self
    }
    fn without(mut self, i: usize) -> One {
        self.inputs[i] = None;
        self
    }
    fn outputs(mut self, n: usize) -> One {
        self.outputs = n;
        self
    }

    fn run(&self) -> Result<Vec<Tensor>, EngineError> {
        self.run_within(PlanOptions::default().memory_limit)
    }

    /// Runs with at most this many bytes; a name as `domain::Name` is one of that domain.
    fn run_within(&self, memory_limit: u64) -> Result<Vec<Tensor>, EngineError> {
        let (domain, op) = self.op.split_once("::").unwrap_or(("", self.op));
        let mut g = Graph { name: "one".into(), ..Graph::default() };
        g.opsets.insert(String::new(), self.opset);
        let mut fed = HashMap::new();
        let mut ids = Vec::new();
        for (i, t) in self.inputs.iter().enumerate() {
            let Some(t) = t else {
                ids.push(None);
                continue;
            };
            let shape = t.shape().iter().map(|&d| Dim::Known(d)).collect();
            let ty = Some(TensorType { dtype: t.dtype(), shape: Some(shape) });
            let fixed = self.constant.contains(&i);
            let id = g.add_value(Value {
                name: format!("in{i}"),
                ty,
                constant: fixed.then(|| t.clone()),
                ..Value::default()
            });
            if !fixed {
                g.inputs.push(id);
                fed.insert(format!("in{i}"), t.clone());
            }
            ids.push(Some(id));
        }
        for o in 0..self.outputs {
            let id = g.add_value(Value { name: format!("out{o}"), ..Value::default() });
            g.outputs.push(id);
        }
        g.nodes.push(Node {
            name: "node".into(),
            domain: domain.into(),
            op_type: op.into(),
            inputs: ids,
            outputs: g.outputs.iter().map(|&o| Some(o)).collect(),
            attrs: self.attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            scope: String::new(),
            sources: vec!["node".into()],
        });
        let (pool, cancel) = (Arc::new(Pool::new(2)), AtomicBool::new(false));
        let plan = Plan::new(&g, &PlanOptions { memory_limit, ..PlanOptions::default() }, &pool, &cancel)?;
        let mut session = Session::new(Arc::new(plan), pool);
        session.feed(&fed)?;
        session.run(&mut Recorder::off(), &cancel)?;
        Ok(session.outputs()?.into_iter().map(|(_, t)| t).collect())
    }

    /// Runs with the constants as constants, and once more with everything fed.
    #[track_caller]
    fn gives(&self, want: &[Tensor]) {
        let fed = One { constant: vec![], inputs: self.inputs.clone(), attrs: self.attrs.clone(), ..*self };
        for (how, got) in [("constants", self.run()), ("all fed", fed.run())] {
            let got = got.unwrap_or_else(|e| panic!("{} ({how}): {e}", self.op));
            assert_eq!(got.len(), want.len());
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert_eq!((g.dtype(), g.shape()), (w.dtype(), w.shape()), "{} output {i} ({how})", self.op);
                match w.elements::<f32>() {
                    Ok(w) => {
                        let g = g.elements::<f32>().unwrap();
                        for (k, (&a, &b)) in g.iter().zip(w.iter()).enumerate() {
                            let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 + 1e-4 * b.abs();
                            assert!(close, "{} output {i} element {k} ({how}): {a} for {b}", self.op);
                        }
                    }
                    Err(_) => assert_eq!(g.bytes(), w.bytes(), "{} output {i} ({how})", self.op),
                }
            }
        }
    }

    /// Fails with words that contain `why`.
    #[track_caller]
    fn fails(&self, why: &str) {
        let e = self.run().map(|t| t.len()).expect_err(self.op).to_string();
        assert!(e.contains(why), "{}: \"{e}\" lacks \"{why}\"", self.op);
    }
}

fn t<T: Element>(shape: &[usize], v: &[T]) -> Tensor {
    Tensor::from_vec(shape, v.to_vec())
}
fn f(shape: &[usize], v: &[f32]) -> Tensor {
    t(shape, v)
}
fn i(v: &[i64]) -> Tensor {
    t(&[v.len()], v)
}
fn bools(shape: &[usize], v: &[u8]) -> Tensor {
    Tensor::new(DType::Bool, shape.to_vec(), v.to_vec().into()).unwrap()
}
/// 0, 1, 2, ...
fn count(shape: &[usize]) -> Tensor {
    f(shape, &(0..shape.iter().product::<usize>()).map(|v| v as f32).collect::<Vec<_>>())
}

#[test]
fn casts() {
    let x = f(&[4], &[-1.7, 0.0, 2.9, 300.0]);
    one("Cast", 13, vec![x.clone()]).int("to", 7).gives(&[t(&[4], &[-1i64, 0, 2, 300])]);
    one("Cast", 13, vec![x.clone()]).int("to", 9).gives(&[bools(&[4], &[1, 0, 1, 1])]);
    one("CastLike", 15, vec![i(&[3, -4]), f(&[1], &[0.0])]).gives(&[f(&[2], &[3.0, -4.0])]);
    let wrapped = Tensor::new(DType::I4, vec![4], vec![0x87, 0xf8].into()).unwrap();
    one("Cast", 21, vec![f(&[4], &[-9.0, 8.9, -8.0, 15.0])]).int("to", 22).gives(&[wrapped]);
    one("Cast", 13, vec![x.clone()]).int("to", 999).fails("999");
    one("Cast", 13, vec![x]).int("to", 8).fails("unsupported");
    one("BitCast", 26, vec![f(&[1], &[1.0])]).int("to", 6).gives(&[t(&[1], &[0x3f80_0000i32])]);
}

#[test]
fn comparison_and_logic() {
    let (a, b) = (f(&[2, 1], &[1.0, f32::NAN]), f(&[3], &[0.0, 1.0, 2.0]));
    one("Less", 13, vec![a.clone(), b.clone()]).gives(&[bools(&[2, 3], &[0, 0, 1, 0, 0, 0])]);
    one("GreaterOrEqual", 16, vec![a.clone(), b.clone()]).gives(&[bools(&[2, 3], &[1, 1, 0, 0, 0, 0])]);
    one("Equal", 13, vec![bools(&[2], &[1, 0]), bools(&[2], &[7, 1])]).gives(&[bools(&[2], &[1, 0])]);
    one("Where", 16, vec![bools(&[2, 1], &[1, 0]), i(&[1, 2]), i(&[9])]).gives(&[t(&[2, 2], &[1i64, 2, 9, 9])]);
    one("Xor", 7, vec![bools(&[2], &[1, 0]), bools(&[1], &[1])]).gives(&[bools(&[2], &[0, 1])]);
    one("IsNaN", 13, vec![a]).gives(&[bools(&[2, 1], &[0, 1])]);
    one("IsInf", 10, vec![f(&[3], &[f32::INFINITY, f32::NEG_INFINITY, 1.0])])
        .int("detect_negative", 0)
        .gives(&[bools(&[3], &[1, 0, 0])]);
    one("BitShift", 11, vec![t(&[3], &[-8i8, 4, -1]), t(&[3], &[-1i8, 9, 1])])
        .text("direction", "RIGHT")
        .gives(&[t(&[3], &[-1i8, 0, -1])]);
    one("BitwiseNot", 18, vec![t(&[2], &[0u8, 0xf0])]).gives(&[t(&[2], &[0xffu8, 0x0f])]);
    one("And", 7, vec![b.clone(), b.clone()]).fails("f32");
    one("Less", 13, vec![b.clone(), f(&[2], &[0.0, 0.0])]).fails("broadcast");
}

#[test]
fn dropout_trains_only_if_asked_perhaps_only_at_run_time() {
    let x = f(&[2], &[1.0, 2.0]);
    let dropout = |on: u8| one("Dropout", 13, vec![x.clone(), f(&[], &[0.5]), bools(&[], &[on])]);
    dropout(0).outputs(2).gives(&[x.clone(), bools(&[2], &[1, 1])]);
    dropout(0).gives(std::slice::from_ref(&x));
    for constant in [&[][..], &[2]] {
        let y = dropout(1).constant(constant).run().unwrap()[0].elements::<f32>().unwrap().to_vec();
        assert!(y[0] % 2.0 == 0.0 && y[1] % 4.0 == 0.0, "{y:?}: each is dropped or doubled");
    }
}

#[test]
fn clip_reads_bounds_from_either_place() {
    let x = f(&[4], &[-3.0, -0.5, 0.5, 3.0]);
    let want = [f(&[4], &[-1.0, -0.5, 0.5, 1.0])];
    one("Clip", 6, vec![x.clone()]).float("min", -1.0).float("max", 1.0).gives(&want);
    one("Clip", 13, vec![x.clone(), f(&[], &[-1.0]), f(&[], &[1.0])]).constant(&[1, 2]).gives(&want);
    one("Clip", 13, vec![x.clone(), f(&[], &[0.0]), f(&[], &[1.0])])
        .without(1)
        .gives(&[f(&[4], &[-3.0, -0.5, 0.5, 1.0])]);
    one("Clip", 13, vec![t(&[3], &[-5i8, 0, 5]), t(&[], &[-2i8])]).gives(&[t(&[3], &[-2i8, 0, 5])]);
    one("Clip", 13, vec![x, f(&[2], &[0.0, 0.0])]).fails("one number");
}

#[test]
fn softmax_changed_at_opset_13() {
    let x = count(&[1, 2, 2]);
    let (a, b) = (1.0 / (1.0 + 1f32.exp()), 1f32.exp() / (1.0 + 1f32.exp()));
    one("Softmax", 13, vec![x.clone()]).gives(&[f(&[1, 2, 2], &[a, b, a, b])]);
    let e: Vec<f32> = (0..4).map(|v| (v as f32).exp()).collect();
    let sum: f32 = e.iter().sum();
    let all: Vec<f32> = e.iter().map(|v| v / sum).collect();
    one("Softmax", 11, vec![x.clone()]).gives(&[f(&[1, 2, 2], &all)]);
    let (c, d) = (1.0 / (1.0 + 2f32.exp()), 2f32.exp() / (1.0 + 2f32.exp()));
    one("Softmax", 13, vec![x.clone()]).int("axis", -2).gives(&[f(&[1, 2, 2], &[c, c, d, d])]);
    one("LogSoftmax", 13, vec![x.clone()]).int("axis", 1).gives(&[f(&[1, 2, 2], &[c.ln(), c.ln(), d.ln(), d.ln()])]);
    one("Hardmax", 13, vec![f(&[2, 3], &[1.0, 3.0, 3.0, 5.0, 0.0, 1.0])])
        .gives(&[f(&[2, 3], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0])]);
    one("Softmax", 13, vec![f(&[0, 3], &[])]).gives(&[f(&[0, 3], &[])]);
    one("Softmax", 13, vec![x]).int("axis", 3).fails("axis 3");
}

#[test]
fn normalisations() {
    let x = f(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 4.0]);
    let std = |v: &[f32]| {
        let mean = v.iter().sum::<f32>() / v.len() as f32;
        let var = v.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / v.len() as f32;
        (mean, 1.0 / (var + 1e-5).sqrt())
    };
    let (m0, s0) = std(&[1.0, 2.0, 3.0, 4.0]);
    let (m1, s1) = std(&[0.0, 0.0, 0.0, 4.0]);
    let y: Vec<f32> = [1.0, 2.0, 3.0, 4.0]
        .iter()
        .map(|v| (v - m0) * s0 * 2.0)
        .chain([0.0, 0.0, 0.0, 4.0].iter().map(|v| (v - m1) * s1 * 2.0))
        .collect();
    // A scale of one element spreads over the normalised dimensions.
    one("LayerNormalization", 17, vec![x.clone(), f(&[2, 1], &[2.0, 2.0])]).int("axis", 1).outputs(3).gives(&[
        f(&[2, 2, 2], &y),
        f(&[2, 1, 1], &[m0, m1]),
        f(&[2, 1, 1], &[s0, s1]),
    ]);
    let rms = |a: f32, b: f32| 1.0 / ((a * a + b * b) / 2.0 + 1e-5).sqrt();
    let z: Vec<f32> = [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [0.0, 4.0]]
        .iter()
        .flat_map(|&[a, b]| [a * rms(a, b), b * rms(a, b) * 10.0])
        .collect();
    one("RMSNormalization", 23, vec![x.clone(), f(&[2], &[1.0, 10.0])]).gives(&[f(&[2, 2, 2], &z)]);
    let per = |v: [f32; 2]| f(&[2], &v);
    let inputs = vec![x.clone(), per([1.0, 2.0]), per([0.5, 0.0]), per([1.0, 3.0]), per([4.0 - 1e-5, 1.0 - 1e-5])];
    one("BatchNormalization", 15, inputs.clone()).gives(&[f(&[2, 2, 2], &[0.5, 1.0, 0.0, 2.0, 0.0, 0.0, -6.0, 2.0])]);
    one("BatchNormalization", 13, inputs).outputs(5).fails("training");
    // Before opset 21 the scale is per group, since then per channel.
    let grouped = f(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let g: Vec<f32> = [1.0, 2.0, 3.0, 4.0].iter().map(|v| (v - m0) * s0).collect();
    one("GroupNormalization", 18, vec![grouped.clone(), f(&[1], &[1.0]), f(&[1], &[0.0])])
        .int("num_groups", 1)
        .gives(&[f(&[1, 2, 2], &g)]);
    let h: Vec<f32> = g.iter().zip([1.0, 1.0, 3.0, 3.0]).map(|(v, s)| v * s).collect();
    one("GroupNormalization", 21, vec![grouped, per([1.0, 3.0]), per([0.0, 0.0])])
        .int("num_groups", 1)
        .gives(&[f(&[1, 2, 2], &h)]);
    one("LpNormalization", 22, vec![f(&[1, 2], &[3.0, 4.0])]).gives(&[f(&[1, 2], &[0.6, 0.8])]);
}

#[test]
fn reductions() {
    let x = count(&[2, 3]);
    one("ReduceSum", 13, vec![x.clone(), i(&[-1])]).constant(&[1]).gives(&[f(&[2, 1], &[3.0, 12.0])]);
    one("ReduceSum", 11, vec![x.clone()]).ints("axes", &[0]).int("keepdims", 0).gives(&[f(&[3], &[3.0, 5.0, 7.0])]);
    one("ReduceMean", 18, vec![x.clone()]).gives(&[f(&[1, 1], &[2.5])]);
    one("ReduceSum", 13, vec![x.clone()]).int("noop_with_empty_axes", 1).gives(std::slice::from_ref(&x));
    one("ReduceMax", 20, vec![bools(&[2, 2], &[0, 1, 0, 0]), i(&[1])])
        .int("keepdims", 0)
        .gives(&[bools(&[2], &[1, 0])]);
    one("ReduceMin", 18, vec![t(&[2, 2], &[3i64, 1, 2, 5]), i(&[1])]).int("keepdims", 0).gives(&[i(&[1, 2])]);
    one("ReduceProd", 18, vec![f(&[0, 2], &[]), i(&[0])]).int("keepdims", 0).gives(&[f(&[2], &[1.0, 1.0])]);
    let lse = (1f32 + 1f32.exp() + 2f32.exp()).ln();
    one("ReduceLogSumExp", 18, vec![x.clone(), i(&[1])]).gives(&[f(&[2, 1], &[lse, lse + 3.0])]);
    one("ReduceL2", 18, vec![f(&[2], &[3.0, 4.0])]).int("keepdims", 0).gives(&[f(&[], &[5.0])]);
    one("ReduceSum", 13, vec![x.clone(), i(&[2])]).fails("axis 2");
    one("ReduceSum", 13, vec![x, i(&[0, -2])]).fails("twice");
}

#[test]
fn extremes_and_running_sums() {
    let x = f(&[2, 3], &[1.0, 5.0, 5.0, 2.0, 2.0, 0.0]);
    one("ArgMax", 13, vec![x.clone()]).int("axis", 1).gives(&[t(&[2, 1], &[1i64, 0])]);
    one("ArgMax", 13, vec![x.clone()])
        .int("axis", -1)
        .int("keepdims", 0)
        .int("select_last_index", 1)
        .gives(&[i(&[2, 1])]);
    one("ArgMin", 13, vec![f(&[0, 2], &[])]).int("axis", 0).fails("empty");
    one("TopK", 11, vec![x.clone(), i(&[2])])
        .constant(&[1])
        .outputs(2)
        .gives(&[f(&[2, 2], &[5.0, 5.0, 2.0, 2.0]), t(&[2, 2], &[1i64, 2, 0, 1])]);
    one("TopK", 11, vec![x.clone(), i(&[1])])
        .int("axis", 0)
        .int("largest", 0)
        .outputs(2)
        .gives(&[f(&[1, 3], &[1.0, 2.0, 0.0]), t(&[1, 3], &[0i64, 1, 1])]);
    one("TopK", 11, vec![x.clone(), i(&[4])]).outputs(2).fails("k = 4");
    one("CumSum", 14, vec![x.clone(), t(&[], &[1i32])])
        .int("exclusive", 1)
        .int("reverse", 1)
        .gives(&[f(&[2, 3], &[10.0, 5.0, 0.0, 2.0, 0.0, 0.0])]);
    one("CumSum", 14, vec![x, t(&[], &[2i32])]).fails("axis 2");
}

#[test]
fn shapes_that_depend_on_data() {
    let x = f(&[2, 2], &[1.0, 0.0, 3.0, 4.0]);
    one("NonZero", 13, vec![x.clone()]).gives(&[t(&[2, 3], &[0i64, 1, 1, 0, 0, 1])]);
    one("Compress", 11, vec![x.clone(), bools(&[2], &[0, 1])]).int("axis", 0).gives(&[f(&[1, 2], &[3.0, 4.0])]);
    one("Compress", 11, vec![x, bools(&[3], &[0, 1, 1])]).gives(&[f(&[2], &[0.0, 3.0])]);
    let u = one("Unique", 11, vec![f(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0])]).outputs(4);
    u.gives(&[f(&[4], &[1.0, 2.0, 3.0, 4.0]), i(&[1, 0, 3, 4]), i(&[1, 0, 0, 2, 3, 2]), i(&[2, 1, 2, 1])]);
    one("Unique", 11, vec![t(&[3, 2], &[1i64, 0, 1, 0, 2, 3])])
        .int("axis", 0)
        .int("sorted", 0)
        .gives(&[t(&[2, 2], &[1i64, 0, 2, 3])]);
}

#[test]
fn scatters() {
    let x = f(&[3], &[1.0, 2.0, 3.0]);
    one("ScatterElements", 18, vec![x.clone(), i(&[0, -1, 0]), f(&[3], &[10.0, 20.0, 30.0])])
        .text("reduction", "add")
        .gives(&[f(&[3], &[41.0, 2.0, 23.0])]);
    one("ScatterElements", 18, vec![x.clone(), i(&[3]), f(&[1], &[0.0])]).fails("3");
    one("ScatterND", 18, vec![count(&[2, 2]), t(&[1, 1], &[1i64]), f(&[1, 2], &[8.0, 9.0])])
        .gives(&[f(&[2, 2], &[0.0, 1.0, 8.0, 9.0])]);
    one("ScatterND", 18, vec![count(&[2, 2]), t(&[1, 1], &[1i64]), f(&[2], &[8.0, 9.0])]).fails("updates");
}

#[test]
fn pads() {
    let x = f(&[1, 3], &[1.0, 2.0, 3.0]);
    one("Pad", 2, vec![x.clone()])
        .ints("pads", &[0, 1, 0, 2])
        .float("value", 9.0)
        .gives(&[f(&[1, 6], &[9.0, 1.0, 2.0, 3.0, 9.0, 9.0])]);
    one("Pad", 18, vec![x.clone(), i(&[2, -1]), f(&[], &[0.5]), i(&[-1])]).gives(&[f(&[1, 4], &[0.5, 0.5, 1.0, 2.0])]);
    one("Pad", 13, vec![x.clone(), i(&[0, 2, 0, 2])])
        .text("mode", "reflect")
        .gives(&[f(&[1, 7], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0])]);
    one("Pad", 19, vec![x.clone(), i(&[0, 1, 0, 1])])
        .text("mode", "wrap")
        .gives(&[f(&[1, 5], &[3.0, 1.0, 2.0, 3.0, 1.0])]);
    one("Pad", 13, vec![x.clone(), i(&[0, 2])]).fails("pads");
    one("Pad", 13, vec![x.clone(), i(&[0, -2, 0, -2])]).fails("crop");
    one("Pad", 13, vec![x, i(&[0, i64::MAX, 0, i64::MAX])]).fails("");
}

#[test]
fn blocks_and_ones() {
    let x = count(&[1, 4, 1, 2]);
    one("DepthToSpace", 13, vec![x.clone()])
        .int("blocksize", 2)
        .gives(&[f(&[1, 1, 2, 4], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0])]);
    one("SpaceToDepth", 13, vec![x.clone()]).int("blocksize", 2).fails("blocks");
    one("DepthToSpace", 13, vec![x]).int("blocksize", 0).fails("positive");
    one("OneHot", 11, vec![i(&[1, -1, 7]), i(&[3]), f(&[2], &[0.0, 5.0])])
        .constant(&[1])
        .gives(&[f(&[3, 3], &[0.0, 5.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0])]);
    one("OneHot", 11, vec![i(&[1]), i(&[-3]), f(&[2], &[0.0, 5.0])]).fails("depth");
    one("EyeLike", 9, vec![t(&[2, 3], &[9i32; 6])]).int("k", 1).gives(&[t(&[2, 3], &[0i32, 1, 0, 0, 0, 1])]);
    one("Trilu", 14, vec![count(&[2, 2]), t(&[], &[0i64])]).int("upper", 0).gives(&[f(&[2, 2], &[0.0, 0.0, 2.0, 3.0])]);
}

#[test]
fn resizes() {
    let x = f(&[1, 1, 1, 2], &[1.0, 3.0]);
    let scales = f(&[4], &[1.0, 1.0, 1.0, 2.0]);
    one("Resize", 13, vec![x.clone(), f(&[0], &[]), scales.clone()])
        .without(1)
        .gives(&[f(&[1, 1, 1, 4], &[1.0, 1.0, 3.0, 3.0])]);
    one("Resize", 13, vec![x.clone(), f(&[0], &[]), scales])
        .without(1)
        .constant(&[2])
        .text("mode", "linear")
        .gives(&[f(&[1, 1, 1, 4], &[1.0, 1.5, 2.5, 3.0])]);
    let sizes = One { inputs: vec![Some(x.clone()), None, None, Some(i(&[3]))], ..one("Resize", 18, vec![]) };
    sizes
        .ints("axes", &[3])
        .text("mode", "linear")
        .text("coordinate_transformation_mode", "align_corners")
        .gives(&[f(&[1, 1, 1, 3], &[1.0, 2.0, 3.0])]);
    one("Upsample", 9, vec![x.clone(), f(&[4], &[1.0, 1.0, 2.0, 1.0])])
        .gives(&[f(&[1, 1, 2, 2], &[1.0, 3.0, 1.0, 3.0])]);
    one("Resize", 13, vec![x.clone(), f(&[0], &[])]).text("mode", "fractal").fails("fractal");
    one("Resize", 13, vec![x, f(&[0], &[]), f(&[4], &[1.0, 1.0, f32::NAN, 1.0])]).fails("scale");
}

/// A convolution of one image of one channel, by its definition.
fn naive_conv(
    x: &[f32],
    n: usize,
    w: &[f32],
    k: usize,
    stride: usize,
    dilation: usize,
    pad: (usize, usize),
) -> Vec<f32> {
    let extent = (k - 1) * dilation + 1;
    let out = (n + pad.0 + pad.1 - extent) / stride + 1;
    let at = |r: usize, c: usize| match (r.checked_sub(pad.0), c.checked_sub(pad.0)) {
        (Some(r), Some(c)) if r < n && c < n => x[r * n + c],
        _ => 0.0,
    };
    (0..out * out)
        .map(|o| {
            let (r, c) = (o / out * stride, o % out * stride);
            (0..k * k).map(|t| w[t] * at(r + t / k * dilation, c + t % k * dilation)).sum()
        })
        .collect()
}

#[test]
fn convolutions() {
    let (x, w) = (count(&[1, 1, 5, 5]), f(&[1, 1, 3, 3], &[1.0, -1.0, 2.0, 0.0, 3.0, -2.0, 1.0, 1.0, 0.5]));
    let (xs, ws) = (x.elements::<f32>().unwrap(), w.elements::<f32>().unwrap());
    let conv = || one("Conv", 11, vec![x.clone(), w.clone()]).constant(&[1]);
    conv().gives(&[f(&[1, 1, 3, 3], &naive_conv(&xs, 5, &ws, 3, 1, 1, (0, 0)))]);
    conv()
        .ints("strides", &[2, 2])
        .ints("pads", &[1, 1, 1, 1])
        .gives(&[f(&[1, 1, 3, 3], &naive_conv(&xs, 5, &ws, 3, 2, 1, (1, 1)))]);
    conv().ints("dilations", &[2, 2]).gives(&[f(&[1, 1, 1, 1], &naive_conv(&xs, 5, &ws, 3, 1, 2, (0, 0)))]);
    let even = f(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let es = even.elements::<f32>().unwrap();
    let same = |auto| one("Conv", 11, vec![x.clone(), even.clone()]).text("auto_pad", auto);
    same("SAME_UPPER").gives(&[f(&[1, 1, 5, 5], &naive_conv(&xs, 5, &es, 2, 1, 1, (0, 1)))]);
    same("SAME_LOWER").gives(&[f(&[1, 1, 5, 5], &naive_conv(&xs, 5, &es, 2, 1, 1, (1, 0)))]);
    same("VALID").gives(&[f(&[1, 1, 4, 4], &naive_conv(&xs, 5, &es, 2, 1, 1, (0, 0)))]);
    // Groups, one dimension, a bias.
    let grouped = vec![f(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), f(&[2, 1, 1], &[10.0, 100.0]), f(&[2], &[0.5, -1.0])];
    one("Conv", 11, grouped.clone())
        .int("group", 2)
        .constant(&[1])
        .gives(&[f(&[1, 2, 2], &[10.5, 20.5, 299.0, 399.0])]);
    one("Conv", 11, grouped).fails("weights");
    conv().ints("strides", &[0, 1]).fails("strides");
    conv().ints("pads", &[i64::MAX, 0, 0, 0]).fails("pads");
    conv().ints("kernel_shape", &[2, 2]).fails("kernel_shape");
}

#[test]
fn transposed_convolutions() {
    let (x, w) = (f(&[1, 1, 2], &[1.0, 2.0]), f(&[1, 1, 3], &[1.0, 10.0, 100.0]));
    let conv = || one("ConvTranspose", 11, vec![x.clone(), w.clone()]).ints("strides", &[2]);
    conv().gives(&[f(&[1, 1, 5], &[1.0, 10.0, 102.0, 20.0, 200.0])]);
    conv().ints("output_padding", &[1]).gives(&[f(&[1, 1, 6], &[1.0, 10.0, 102.0, 20.0, 200.0, 0.0])]);
    conv().ints("pads", &[1, 0]).gives(&[f(&[1, 1, 4], &[10.0, 102.0, 20.0, 200.0])]);
    conv().ints("output_shape", &[4]).gives(&[f(&[1, 1, 4], &[10.0, 102.0, 20.0, 200.0])]);
    conv().text("auto_pad", "SAME_UPPER").gives(&[f(&[1, 1, 4], &[1.0, 10.0, 102.0, 20.0])]);
}

#[test]
fn pools() {
    let x = count(&[1, 1, 3, 3]);
    one("MaxPool", 12, vec![x.clone()])
        .ints("kernel_shape", &[2, 2])
        .outputs(2)
        .gives(&[f(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]), t(&[1, 1, 2, 2], &[4i64, 5, 7, 8])]);
    one("MaxPool", 12, vec![x.clone()])
        .ints("kernel_shape", &[2, 2])
        .ints("strides", &[2, 2])
        .int("ceil_mode", 1)
        .gives(&[f(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0])]);
    one("MaxPool", 12, vec![t(&[1, 1, 2], &[-3i8, 7])]).ints("kernel_shape", &[2]).gives(&[t(&[1, 1, 1], &[7i8])]);
    let average = || one("AveragePool", 19, vec![x.clone()]).ints("kernel_shape", &[2, 2]).ints("pads", &[1, 1, 0, 0]);
    average().gives(&[f(&[1, 1, 3, 3], &[0.0, 0.5, 1.5, 1.5, 2.0, 3.0, 4.5, 5.0, 6.0])]);
    average()
        .int("count_include_pad", 1)
        .gives(&[f(&[1, 1, 3, 3], &[0.0, 0.25, 0.75, 0.75, 2.0, 3.0, 2.25, 5.0, 6.0])]);
    one("GlobalAveragePool", 1, vec![x.clone()]).gives(&[f(&[1, 1, 1, 1], &[4.0])]);
    one("LpPool", 18, vec![f(&[1, 1, 2], &[3.0, 4.0])]).ints("kernel_shape", &[2]).gives(&[f(&[1, 1, 1], &[5.0])]);
    one("MaxPool", 12, vec![x]).fails("kernel_shape");
}

#[test]
fn quantization() {
    let x = f(&[2, 2], &[0.0, 1.5, -1.0, 300.0]);
    let z = |v: u8| t(&[], &[v]);
    one("QuantizeLinear", 10, vec![x.clone(), f(&[], &[1.0]), z(10)]).gives(&[t(&[2, 2], &[10u8, 12, 9, 255])]);
    one("QuantizeLinear", 13, vec![x.clone(), f(&[2], &[1.0, 2.0]), t(&[2], &[0i8, 1])])
        .int("axis", 0)
        .gives(&[t(&[2, 2], &[0i8, 2, 1, 127])]);
    one("DequantizeLinear", 21, vec![t(&[1, 4], &[1i8, 2, 3, 4]), f(&[1, 2], &[1.0, 10.0]), t(&[1, 2], &[0i8, 1])])
        .int("axis", 1)
        .int("block_size", 2)
        .gives(&[f(&[1, 4], &[1.0, 2.0, 20.0, 30.0])]);
    one("DequantizeLinear", 21, vec![t(&[1, 4], &[1i8, 2, 3, 4]), f(&[1, 3], &[1.0; 3])])
        .int("block_size", 2)
        .fails("scales");
    let nibbles = Tensor::new(DType::I4, vec![3], vec![0x17, 0x08].into()).unwrap();
    one("QuantizeLinear", 21, vec![f(&[3], &[9.0, 1.0, -20.0]), f(&[], &[1.0])])
        .int("output_dtype", i64::from(DType::I4.to_onnx()))
        .gives(std::slice::from_ref(&nibbles));
    one("DequantizeLinear", 21, vec![nibbles, f(&[], &[0.5])]).gives(&[f(&[3], &[3.5, 0.5, -4.0])]);
    one("DynamicQuantizeLinear", 11, vec![f(&[3], &[0.0, 2.55, 1.0])]).outputs(3).gives(&[
        t(&[3], &[0u8, 255, 100]),
        f(&[], &[0.01]),
        z(0),
    ]);
    let (a, b) = (t(&[1, 2], &[3u8, 5]), t(&[2, 2], &[1i8, -2, 3, 4]));
    let zeros = vec![a.clone(), b.clone(), t(&[], &[1u8]), t(&[2], &[1i8, 0])];
    one("MatMulInteger", 10, zeros).constant(&[1, 3]).gives(&[t(&[1, 2], &[8i32, 12])]);
    one("MatMulInteger", 10, vec![a.clone(), b.clone()]).constant(&[1]).gives(&[t(&[1, 2], &[18i32, 14])]);
    let s = |v: f32| f(&[], &[v]);
    one("QLinearMatMul", 10, vec![a, s(0.5), z(1), b, s(2.0), t(&[], &[0i8]), s(4.0), z(7)])
        .constant(&[3, 4, 5])
        .gives(&[t(&[1, 2], &[11u8, 10])]);
    let (x, w) = (t(&[1, 1, 3], &[2u8, 3, 4]), t(&[1, 1, 2], &[1u8, 2]));
    one("ConvInteger", 10, vec![x, w, z(1)]).ints("pads", &[1, 0]).gives(&[t(&[1, 1, 3], &[2i32, 5, 8])]);
}

#[test]
fn half_precision_with_packed_weights() {
    let h = |shape: &[usize], v: &[f32]| t(shape, &v.iter().map(|&v| half::f16::from_f32(v)).collect::<Vec<_>>());
    let (x, w) = (h(&[1, 2], &[1.0, 2.0]), h(&[2, 2], &[1.0, 0.5, 2.0, -1.0]));
    one("MatMul", 13, vec![x, w]).constant(&[1]).gives(&[h(&[1, 2], &[5.0, -1.5])]);
    let (x, w) = (h(&[1, 1, 3], &[1.0, 2.0, 3.0]), h(&[1, 1, 2], &[1.0, 10.0]));
    one("Conv", 11, vec![x, w]).constant(&[1]).gives(&[h(&[1, 1, 2], &[21.0, 32.0])]);
    // The statistics keep their own type.
    let (x, s) = (h(&[1, 2], &[1.0, 3.0]), h(&[2], &[1.0, 1.0]));
    let y = one("LayerNormalization", 17, vec![x, s]).outputs(2).run().unwrap();
    assert_eq!((y[0].dtype(), y[1].dtype()), (DType::F16, DType::F32));
    assert_eq!(&*y[1].elements::<f32>().unwrap(), &[2.0]);
}
