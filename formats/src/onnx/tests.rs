//! What a whole file becomes: structure, subgraphs, functions, names. Damaged files are in `tests/damage.rs`.

mod damage;

use bytes::Bytes;
use graph::{Attr, DType, Dim, Model, Tensor};

use super::build::*;
use super::proto::*;
use crate::{FormatError, from_bytes};

fn open(b: &ModelBuilder) -> Result<Model, FormatError> {
    from_bytes("test.onnx", b.bytes())
}

fn refused(b: &ModelBuilder) -> String {
    let message = open(b).expect_err("refused").to_string();
    assert!(message.starts_with("test.onnx: "), "{message}");
    message
}

fn graph(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> GraphProto {
    let values = |names: &[&str]| names.iter().map(|n| value(n, DType::F32, &["n"])).collect();
    GraphProto { node: nodes, input: values(inputs), output: values(outputs), ..GraphProto::default() }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let strings = |s: &[&str]| s.iter().map(|s| s.to_string()).collect();
    FunctionProto {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: strings(inputs),
        output: strings(outputs),
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        ..FunctionProto::default()
    }
}

fn call(name: &str, op: &str, inputs: &[&str], outputs: &[&str], attrs: Vec<AttributeProto>) -> NodeProto {
    NodeProto { name: Some(name.into()), domain: Some("local".into()), ..node(op, inputs, outputs, attrs) }
}

/// One of everything: constants of both kinds, attributes of every kind, a subgraph, a function, properties.
fn rich() -> ModelBuilder {
    let then = graph(vec![node("Relu", &["h"], &["t"], vec![])], &[], &["t"]);
    let other = graph(vec![node("Neg", &["h"], &["e"], vec![])], &[], &["e"]);
    let mut b = ModelBuilder::new(17)
        .input("x", DType::F32, &["batch", "2", "?"])
        .input("w", DType::F32, &["2"])
        .output("y", DType::F32, &["batch", "2"])
        .constant("w", &Tensor::from_vec(&[2], vec![1.5f32, -2.0]))
        .constant("s", &Tensor::from_strings(vec![1], vec![Bytes::from("text")]).unwrap())
        .node("Constant", &[], &["c"], vec![attr("value_ints", &[3i64, 4][..])])
        .node("Add", &["x", "w"], &["h"], vec![])
        .node("If", &["flag"], &["i"], vec![attr("then_branch", then), attr("else_branch", other)])
        .node("Greater", &["x", "w"], &["flag"], vec![])
        .node("Custom", &["i", "", "c"], &["u", "", "v"], vec![attr("mode", "linear"), attr("scale", 0.5f32)]);
    b.model.opset_import.push(OperatorSetIdProto { domain: Some("local".into()), version: Some(1) });
    let body = vec![node("Mul", &["a", "a"], &["sq"], vec![]), node("Add", &["sq", "a"], &["r"], vec![])];
    b.model.functions.push(function("Square", &["a"], &["r"], body));
    b.graph().node.push(call("/block/square", "Square", &["u"], &["y"], vec![]));
    b.graph().value_info.push(value("h", DType::F32, &["batch", "2"]));
    let value = Some(Bytes::from("yes"));
    b.model.metadata_props.push(StringStringEntryProto { key: Some("trained".into()), value });
    b.model.producer_version = Some("1.0".into());
    b
}

#[test]
fn a_whole_model() {
    let b = rich();
    let m = open(&b).unwrap();
    let g = &m.graph;
    assert_eq!(
        (m.producer.as_str(), m.format.as_str(), m.metadata["trained"].as_str()),
        ("stratoscope 1.0", "onnx", "yes")
    );
    assert_eq!(m.file_bytes, b.bytes().len() as u64);
    let names = |ids: &[graph::ValueId]| ids.iter().map(|&v| g.value(v).name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&g.inputs), names(&g.outputs)),
        (vec!["x".into()], vec!["y".into()]),
        "w is a constant, not an input"
    );
    let x = g.value(g.inputs[0]).ty.clone().unwrap();
    assert_eq!(x.shape.unwrap(), [Dim::Symbol("batch".into()), Dim::Known(2), Dim::Unknown]);

    // Sorted: Greater was written after If, which needs it.
    let ops: Vec<&str> = g.nodes.iter().map(|n| n.op_type.as_str()).collect();
    assert_eq!(ops, ["Add", "Greater", "If", "Custom", "Mul", "Add"]);
    let of = |name: &str| g.values.iter().find(|v| v.name == name).unwrap_or_else(|| panic!("no value {name}"));
    assert_eq!(of("c").constant.as_ref().unwrap().to_i64().unwrap(), [3, 4]);
    assert_eq!(&*of("w").constant.as_ref().unwrap().elements::<f32>().unwrap(), [1.5, -2.0]);
    assert_eq!(of("h").ty.as_ref().unwrap().to_string(), "f32[batch,2]");

    let custom = &g.nodes[3];
    assert_eq!(custom.name, "Custom_4");
    assert!(custom.inputs[1].is_none() && custom.outputs[1].is_none());
    assert!(matches!(&custom.attrs["mode"], Attr::String(s) if &s[..] == b"linear"));

    let Attr::Graph(then) = &g.nodes[2].attrs["then_branch"] else { panic!("a graph") };
    let (outer, inner) = &then.captures[0];
    assert_eq!((outer.as_str(), then.nodes[0].inputs[0]), ("h", Some(*inner)));
    assert!(g.consumers()[g.nodes[0].outputs[0].unwrap().index()].contains(&graph::NodeId(2)), "the capture is a use");

    let square = &g.nodes[4];
    assert_eq!((square.name.as_str(), square.scope.as_str()), ("/block/square/Mul_0", "block/square"));
    assert_eq!(names(&[square.outputs[0].unwrap(), g.nodes[5].outputs[0].unwrap()]), ["/block/square/sq", "y"]);
}

#[test]
fn weights_are_slices_of_the_file() {
    let bytes = rich().bytes();
    let (start, end) = (bytes.as_ptr() as usize, bytes.as_ptr() as usize + bytes.len());
    let m = from_bytes("test.onnx", bytes).unwrap();
    let w = m.graph.values.iter().find(|v| v.name == "w").unwrap();
    let at = w.constant.as_ref().unwrap().bytes().as_ptr() as usize;
    assert!((start..end).contains(&at));
}

#[test]
fn functions_take_attributes_and_defaults() {
    let body = vec![
        node("LeakyRelu", &["a"], &["h"], vec![attr_ref("alpha", "slope", attribute_type::FLOAT)]),
        node("Softmax", &["h"], &["p"], vec![attr_ref("axis", "dim", attribute_type::INT)]),
        node("Clip", &["p", "low"], &["r"], vec![]),
    ];
    let mut f = function("Act", &["a", "low"], &["r", "h"], body);
    f.attribute_proto.push(attr("slope", 0.25f32));
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]).output("y2", DType::F32, &["n"]);
    b.model.functions.push(f);
    b.graph().node.push(call("one", "Act", &["x"], &["y1"], vec![attr("dim", 1i64), attr("slope", 0.5f32)]));
    b.graph().node.push(call("two", "Act", &["y1", "x"], &["y2", "h"], vec![]));
    let g = open(&b).unwrap().graph;
    let slope = |i: usize| match g.nodes[i].attrs["alpha"] {
        Attr::Float(v) => v,
        ref other => panic!("{other}"),
    };
    assert_eq!((slope(0), slope(3)), (0.5, 0.25));
    assert!(matches!(g.nodes[1].attrs["axis"], Attr::Int(1)));
    assert!(g.nodes[4].attrs.is_empty(), "left out by the call, and no default");
    assert_eq!((g.nodes[2].inputs[1], g.nodes[5].inputs[1]), (None, Some(g.inputs[0])));
    let mut names: Vec<&str> = g.values.iter().map(|v| v.name.as_str()).collect();
    assert!(names.contains(&"one/h") && names.contains(&"h"), "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), g.values.len(), "values by unique names");
}

#[test]
fn a_function_may_hand_its_input_through() {
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]).output("y", DType::F32, &["n"]);
    b.model.functions.push(function("Same", &["a"], &["a"], vec![]));
    b.graph().node.push(call("same", "Same", &["x"], &["y"], vec![]));
    let g = open(&b).unwrap().graph;
    assert_eq!((g.nodes[0].op_type.as_str(), g.nodes[0].outputs[0]), ("Identity", Some(g.outputs[0])));
}

#[test]
fn a_subgraph_in_a_function_captures_the_renamed_value() {
    let branch = || graph(vec![node("Relu", &["h"], &["t"], vec![])], &[], &["t"]);
    let body = vec![
        node("Neg", &["a"], &["h"], vec![]),
        node("If", &["c"], &["r"], vec![attr("then_branch", branch()), attr("else_branch", branch())]),
    ];
    let mut b = ModelBuilder::new(17)
        .input("x", DType::F32, &["n"])
        .input("c", DType::Bool, &[])
        .input("f/h", DType::F32, &["n"])
        .output("y", DType::F32, &["n"]);
    b.model.functions.push(function("F", &["a", "c"], &["r"], body));
    b.graph().node.push(call("f", "F", &["x", "c"], &["y"], vec![]));
    let g = open(&b).unwrap().graph;
    let Attr::Graph(then) = &g.nodes[1].attrs["then_branch"] else { panic!("a graph") };
    assert_eq!(then.captures[0].0, "f/h_1", "the name that a graph input already has is avoided");
    assert_eq!(g.value(g.nodes[0].outputs[0].unwrap()).name, "f/h_1");
}

#[test]
fn bad_structure_names_the_place() {
    let m = || ModelBuilder::new(17).input("x", DType::F32, &["n"]);
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to], vec![]);
    let with = |nodes: Vec<NodeProto>| {
        let mut b = m();
        b.graph().node = nodes;
        b
    };
    let cycle =
        refused(&with(vec![relu("x", "a"), node("Add", &["a", "c"], &["b"], vec![]), relu("b", "c"), relu("c", "d")]));
    assert!(
        cycle.contains("\"Add_1\" is part of a cycle") || cycle.contains("\"Relu_2\" is part of a cycle"),
        "{cycle}"
    );
    assert!(
        refused(&with(vec![relu("ghost", "a")])).contains("node \"Relu_0\" uses \"ghost\", which nothing produces")
    );
    assert!(
        refused(&with(vec![relu("x", "a"), relu("x", "a")]))
            .contains("\"a\" is defined twice: by node 0 (Relu), and again by node 1")
    );
    assert!(refused(&with(vec![relu("x", "x")])).contains("\"x\" is defined twice: as an input"));
    assert!(refused(&m().output("y", DType::F32, &[])).contains("\"y\", which nothing produces"));
    let twice = m().constant("w", &Tensor::scalar(1f32)).constant("w", &Tensor::scalar(1f32));
    assert!(refused(&twice).contains("\"w\" is defined twice"));
    assert!(
        refused(&with(vec![node("Relu", &["x"], &["a"], vec![attr("k", 1i64), attr("k", 2i64)])]))
            .contains("given twice")
    );
    assert!(
        refused(&with(vec![node("Constant", &[], &["a"], vec![])]))
            .contains("node \"Constant_0\": a Constant has one value")
    );
    assert!(refused(&with(vec![node("Relu", &["x"], &["a"], vec![attr_ref("k", "k", 2)])])).contains("but is in none"));
    let typed = |t: i32| vec![AttributeProto { r#type: Some(t), ..attr("k", 1i64) }];
    assert!(refused(&with(vec![node("Relu", &["x"], &["a"], typed(99))])).contains("unknown attribute type 99"));
    assert!(refused(&with(vec![node("Relu", &["x"], &["a"], typed(attribute_type::GRAPH))])).contains("has no value"));
    assert!(!open(&with(vec![relu("ghost", "a")])).unwrap_err().is_unsupported());
    assert!(refused(&with(vec![call("n", "Nowhere", &["x"], &["a"], vec![])])).contains("domain \"local\""));
    let inner = graph(vec![relu("nothing", "t")], &[], &["t"]);
    let e = refused(&with(vec![node("If", &["x"], &["a"], vec![attr("then_branch", inner)])]));
    assert!(e.contains("a subgraph of node \"If_0\" uses \"nothing\""), "{e}");
    let mut sparse = m();
    sparse.graph().sparse_initializer.push(Bytes::new());
    assert!(refused(&sparse).contains("sparse initializer (in graph \"graph\") is not supported"));
    let mut none = m();
    none.model.graph = None;
    assert!(refused(&none).contains("no graph"));
}

#[test]
fn bad_functions_are_refused() {
    let with = |f: FunctionProto, n: NodeProto| {
        let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]);
        b.model.functions.push(f);
        b.graph().node.push(n);
        b
    };
    let one = |inputs: &[&str]| call("c", "F", inputs, &["y"], vec![]);
    let loops = with(function("F", &["a"], &["r"], vec![call("", "F", &["a"], &["r"], vec![])]), one(&["x"]));
    assert!(refused(&loops).contains("does it call itself"));
    // Through a subgraph, too.
    let branch = graph(vec![call("", "F", &["a"], &["t"], vec![])], &[], &["t"]);
    let hidden = with(
        function("F", &["a"], &["r"], vec![node("If", &["a"], &["r"], vec![attr("then_branch", branch)])]),
        one(&["x"]),
    );
    assert!(open(&hidden).is_err());
    let relu = || vec![node("Relu", &["a"], &["r"], vec![])];
    assert!(refused(&with(function("F", &["a"], &["r"], relu()), one(&["x", "x"]))).contains("it has 1 inputs"));
    assert!(
        refused(&with(function("F", &["a"], &["nope"], relu()), one(&["x"])))
            .contains("\"nope\" is produced by nothing")
    );
    assert!(
        refused(&with(function("F", &[], &["r"], relu()), one(&[]))).contains("uses \"a\", which nothing produces")
    );
    assert!(refused(&with(function("F", &["r"], &["r"], relu()), one(&["x"]))).contains("\"r\" is defined twice"));
    let mut older = function("F", &["a"], &["r"], relu());
    older.opset_import[0].version = Some(13);
    assert!(refused(&with(older, one(&["x"]))).contains("opset 13"));
    let mut twice = with(function("F", &["a"], &["r"], relu()), one(&["x"]));
    twice.model.functions.push(function("F", &["a"], &["r"], relu()));
    assert!(refused(&twice).contains("defined twice"));
}

#[test]
fn functions_cannot_grow_without_bound() {
    // Each level calls the next ten times: 10^20 nodes.
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]).node("Relu", &["x"], &["a0"], vec![]);
    for level in 0..20 {
        let calls = (0..10).map(|i| call("", &format!("F{}", level + 1), &["a"], &[&format!("r{i}")], vec![]));
        b.model.functions.push(function(&format!("F{level}"), &["a"], &["r0"], calls.collect()));
    }
    b.model.functions.push(function("F20", &["a"], &["r"], vec![node("Relu", &["a"], &["r"], vec![])]));
    b.graph().node.push(call("start", "F0", &["a0"], &["y"], vec![]));
    assert!(refused(&b).contains("with functions inlined: more than"));
}

#[test]
fn nodes_of_unknown_scope_belong_where_their_results_are_used() {
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]).node("Split", &["x"], &["a", "b"], vec![]);
    for (name, from) in [("/enc/attn/MatMul", "a"), ("/enc/mlp/Relu", "b")] {
        b.graph().node.push(NodeProto { name: Some(name.into()), ..node("Relu", &[from], &[name], vec![]) });
    }
    let g = open(&b).unwrap().graph;
    let scopes: Vec<&str> = g.nodes.iter().map(|n| n.scope.as_str()).collect();
    assert_eq!(scopes, ["enc", "enc/attn", "enc/mlp"]);
}

#[test]
fn names_are_made_and_made_unique() {
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]).node("Relu", &["x"], &["a"], vec![]);
    for out in ["b", "c"] {
        b.graph().node.push(NodeProto { name: Some("same".into()), ..node("Relu", &["x"], &[out], vec![]) });
    }
    let names: Vec<String> = open(&b).unwrap().graph.nodes.iter().map(|n| n.name.clone()).collect();
    assert_eq!(names, ["Relu_0", "same", "same_1"]);
}
