//! Bodies within nodes: If, Loop and Scan through the planner and the executor.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::op::OpError;
use engine::{EngineError, Plan, PlanOptions, Pool, Session};
use graph::{Attr, DType, Graph, Node, Tensor, TensorType, Value, ValueId};
use profiler::Recorder;

/// A graph by names: values are made where they are first named, and what a body only reads is captured.
#[derive(Default)]
struct Net {
    graph: Graph,
    next: usize,
}

fn net() -> Net {
    let mut net = Net::default();
    net.graph.opsets.insert(String::new(), 21);
    net
}

impl Net {
    fn id(&mut self, name: &str) -> ValueId {
        let known = self.graph.values.iter().position(|v| v.name == name).map(|i| ValueId(i as u32));
        known.unwrap_or_else(|| self.graph.add_value(Value { name: name.into(), ..Value::default() }))
    }

    fn input(mut self, name: &str, dtype: DType, shape: &[usize]) -> Net {
        let id = self.id(name);
        self.graph.values[id.index()].ty = Some(TensorType::known(dtype, shape));
        self.graph.inputs.push(id);
        self
    }

    fn constant(mut self, name: &str, t: Tensor) -> Net {
        let id = self.id(name);
        self.graph.values[id.index()].constant = Some(t);
        self
    }

    fn capture(mut self, name: &str) -> Net {
        let id = self.id(name);
        self.graph.captures.push((name.into(), id));
        self
    }

    fn output(mut self, name: &str) -> Net {
        let id = self.id(name);
        self.graph.outputs.push(id);
        self
    }

    fn node(self, op: &str, inputs: &[&str], outputs: &[&str]) -> Net {
        self.with(op, inputs, outputs, vec![])
    }

    fn with(mut self, op: &str, inputs: &[&str], outputs: &[&str], bodies: Vec<(&str, Net)>) -> Net {
        let mut ids =
            |names: &[&str]| -> Vec<_> { names.iter().map(|n| (!n.is_empty()).then(|| self.id(n))).collect() };
        let (inputs, outputs) = (ids(inputs), ids(outputs));
        self.next += 1;
        let name = format!("{op}_{}", self.next);
        self.graph.nodes.push(Node {
            sources: vec![name.clone()],
            name,
            domain: String::new(),
            op_type: op.into(),
            inputs,
            outputs,
            attrs: bodies.into_iter().map(|(k, b)| (k.to_owned(), Attr::Graph(Box::new(b.graph)))).collect(),
            scope: String::new(),
        });
        self
    }

    fn plan(&self, options: &PlanOptions) -> Result<Plan, EngineError> {
        Plan::new(&self.graph, options, &Pool::new(1), &AtomicBool::new(false))
    }

    fn run_with(&self, fed: &[(&str, Tensor)], limit: u64, cancel: &AtomicBool) -> Result<Vec<Tensor>, EngineError> {
        let plan = self.plan(&PlanOptions { memory_limit: limit, ..PlanOptions::default() })?;
        let mut session = Session::new(Arc::new(plan), Arc::new(Pool::new(1)));
        let fed: HashMap<String, Tensor> = fed.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
        session.feed(&fed)?;
        session.run(&mut Recorder::off(), cancel)?;
        Ok(session.outputs()?.into_iter().map(|(_, t)| t).collect())
    }

    fn run(&self, fed: &[(&str, Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        self.run_with(fed, 1 << 30, &AtomicBool::new(false))
    }
}

fn flag(v: bool) -> Tensor {
    Tensor::new(DType::Bool, vec![], vec![u8::from(v)].into()).unwrap()
}

fn floats(v: &[f32]) -> Tensor {
    Tensor::from_vec(&[v.len()], v.to_vec())
}

/// The body of a loop that never ends, and gives back what it adds up.
fn endless(outputs: &[&str]) -> Net {
    let body = net().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).capture("x");
    let body = body.node("Identity", &["go"], &["on"]).node("Relu", &["x"], &["y"]).output("on");
    outputs.iter().fold(body, |b, o| b.output(o))
}

#[test]
fn an_endless_loop_stops_when_asked() {
    let body = endless(&["y"]).input("carried", DType::F32, &[2]);
    let n = net().input("x", DType::F32, &[2]);
    let n = n.with("Loop", &["", "", "x"], &["z"], vec![("body", body)]).output("z");
    let cancel = Arc::new(AtomicBool::new(false));
    let later = cancel.clone();
    let watch = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        later.store(true, Ordering::Relaxed);
    });
    let stopped = n.run_with(&[("x", floats(&[1.0, 2.0]))], 1 << 30, &cancel);
    watch.join().unwrap();
    assert!(matches!(stopped, Err(EngineError::Cancelled)), "{stopped:?}");
}

#[test]
fn a_loop_of_far_too_many_trips_stops_before_its_first() {
    let body = net().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("carried", DType::F32, &[2]);
    let body = body.capture("x").node("Identity", &["go"], &["on"]).node("Relu", &["x"], &["y"]);
    let body = body.output("on").output("y");
    let n = net().input("x", DType::F32, &[2]).constant("m", Tensor::scalar(1i64 << 62));
    let n = n.with("Loop", &["m", "", "x"], &["z"], vec![("body", body)]).output("z");
    let stopped = n.run_with(&[("x", floats(&[1.0, 2.0]))], 1 << 30, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(EngineError::Cancelled)), "{stopped:?}");
}

#[test]
fn places_outside_a_sequence_are_named() {
    for at in [2i64, -3, i64::MIN, i64::MAX] {
        for op in ["SequenceAt", "SequenceErase", "SequenceInsert"] {
            let n = net().input("x", DType::F32, &[2]).constant("at", Tensor::scalar(at));
            let n = n.node("SequenceConstruct", &["x", "x"], &["s"]);
            let n = match op {
                "SequenceInsert" => n.constant("far", Tensor::scalar(at.saturating_add(1).max(3))),
                _ => n,
            };
            let inputs: &[&str] = if op == "SequenceInsert" { &["s", "x", "far"] } else { &["s", "at"] };
            let n = n.node(op, inputs, &["y"]).output("y");
            let e = n.run(&[("x", floats(&[1.0, 2.0]))]).expect_err(op).to_string();
            assert!(e.contains(op) && e.contains("_2"), "{op} {at}: {e}");
        }
    }
}

#[test]
fn a_growing_scan_output_stops_at_the_memory_limit() {
    let n = net().input("x", DType::F32, &[1000]);
    let n = n.with("Loop", &["", ""], &["all"], vec![("body", endless(&["y"]))]).output("all");
    match n.run_with(&[("x", floats(&[1.0; 1000]))], 1 << 20, &AtomicBool::new(false)) {
        Err(EngineError::Node { node, why: OpError::Memory { need, limit } }) => {
            assert!(node.contains("Loop_1") && need > limit && limit == 1 << 20, "{node} {need} {limit}");
        }
        other => panic!("{other:?}"),
    }
}

/// `if c { x + 1 } else { x }`, where the branch takes x from around it.
fn choice(n: Net, c: &str, out: &str) -> Net {
    let one = net().capture("x").constant("one", floats(&[1.0]));
    let then = one.node("Add", &["x", "one"], &["plus"]).output("plus");
    let other = net().capture("x").output("x");
    n.with("If", &[c], &[out], vec![("then_branch", then), ("else_branch", other)])
}

#[test]
fn an_if_takes_the_branch_that_the_condition_says() {
    let n = choice(net().input("x", DType::F32, &[2]).input("c", DType::Bool, &[]), "c", "y").output("y");
    for (c, want) in [(true, [2.0, 3.0]), (false, [1.0, 2.0])] {
        let got = n.run(&[("x", floats(&[1.0, 2.0])), ("c", flag(c))]).unwrap();
        assert_eq!(got, [floats(&want)], "{c}");
    }
}

#[test]
fn an_if_of_a_constant_condition_becomes_its_branch() {
    for (c, steps) in [(true, vec!["Add_1", "Relu_2"]), (false, vec!["Relu_2"])] {
        let n = choice(net().input("x", DType::F32, &[2]).constant("c", flag(c)), "c", "y");
        let n = n.node("Relu", &["y"], &["z"]).output("z");
        let plan = n.plan(&PlanOptions { fusion: false, ..PlanOptions::default() }).unwrap();
        let sources: Vec<&str> = plan.layers.iter().map(|l| l.source_nodes[0].as_str()).collect();
        assert_eq!(sources, steps, "{c}");
        let want = if c { [2.0, 0.0] } else { [1.0, 0.0] };
        assert_eq!(n.run(&[("x", floats(&[1.0, -2.0]))]).unwrap(), [floats(&want)]);
    }
}

#[test]
fn bodies_capture_from_two_levels_up() {
    // for i in 0..3 { s = if c { s + x } else { s } }, where x and c are the model's inputs.
    let then = net().capture("s").capture("x").node("Add", &["s", "x"], &["sum"]).output("sum");
    let other = net().capture("s").output("s");
    let body = net().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("s", DType::F32, &[2]);
    let body = body.capture("x").capture("c").node("Identity", &["go"], &["on"]);
    let body = body.with("If", &["c"], &["t"], vec![("then_branch", then), ("else_branch", other)]);
    let body = body.output("on").output("t").output("t");
    let n = net().input("x", DType::F32, &[2]).input("c", DType::Bool, &[]);
    let n = n.constant("m", Tensor::scalar(3i64)).constant("zero", floats(&[0.0, 0.0]));
    let n = n.with("Loop", &["m", "", "zero"], &["last", "all"], vec![("body", body)]).output("last").output("all");
    let got = n.run(&[("x", floats(&[1.0, 2.0])), ("c", flag(true))]).unwrap();
    assert_eq!(got[0], floats(&[3.0, 6.0]));
    assert_eq!(got[1], Tensor::from_vec(&[3, 2], vec![1f32, 2.0, 2.0, 4.0, 3.0, 6.0]));
    assert_eq!(n.run(&[("x", floats(&[1.0, 2.0])), ("c", flag(false))]).unwrap()[0], floats(&[0.0, 0.0]));
}

#[test]
fn carried_values_may_grow() {
    // s = concat(s, x), twenty times: more shapes than plans are kept for.
    let mut body = net().input("i", DType::I64, &[]).input("go", DType::Bool, &[]).input("s", DType::F32, &[1]);
    body.graph.values[2].ty = None;
    let mut body = body.capture("x").node("Identity", &["go"], &["on"]).node("Concat", &["s", "x"], &["t"]);
    body.graph.nodes[1].attrs.insert("axis".into(), Attr::Int(0));
    let body = body.output("on").output("t");
    let n = net().input("x", DType::F32, &[1]).constant("m", Tensor::scalar(20i64));
    let n = n.with("Loop", &["m", "", "x"], &["all"], vec![("body", body)]).output("all");
    assert_eq!(n.run(&[("x", floats(&[7.0]))]).unwrap(), [floats(&[7.0; 21])]);
}

#[test]
fn bodies_that_do_not_fit_are_named() {
    let x = || net().input("x", DType::F32, &[2]);
    let c = || flag(true);
    let fails = |n: Net, what: &str| match n.run(&[("x", floats(&[1.0, 2.0]))]) {
        Ok(_) => panic!("{what}: it ran"),
        Err(e) => assert!(e.to_string().contains(what), "{what}: {e}"),
    };
    let body = |outputs: &[&str]| vec![("body", endless(outputs))];
    fails(
        x().with("Loop", &["", ""], &["a"], body(&[])).output("a"),
        "has 2 inputs and 1 outputs, the node wants 2 and 2",
    );
    fails(x().with("Loop", &["", ""], &["a"], body(&["y", "y"])).output("a"), "Loop_1");
    let branch = |from: &str| net().capture(from).output(from);
    let both = |a: &str, b: &str| vec![("then_branch", branch(a)), ("else_branch", branch(b))];
    fails(x().constant("c", c()).with("If", &["c"], &["y"], both("x", "nowhere")).output("y"), "nowhere");
    fails(x().constant("c", c()).with("If", &["c"], &["y", "z"], both("x", "x")).output("y"), "If_1");
    fails(x().with("If", &["x"], &["y"], both("x", "x")).output("y"), "one bool");
    let deep = (0..40).fold(branch("x"), |b, _| {
        net()
            .capture("x")
            .with("If", &["x"], &["y"], vec![("then_branch", b), ("else_branch", branch("x"))])
            .output("y")
    });
    let deep = x().with("If", &["x"], &["y"], vec![("then_branch", deep), ("else_branch", branch("x"))]).output("y");
    fails(deep, "deep");
}
