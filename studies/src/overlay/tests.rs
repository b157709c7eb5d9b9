use std::path::PathBuf;
use std::sync::Arc;

use super::*;

fn data(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/overlay").join(file)
}

fn model() -> Arc<Model> {
    crate::open(&data("blocks.onnx")).unwrap()
}

fn lay(profile: &str) -> (Trace, OverlayReport) {
    lay_with(profile, None)
}

fn lay_with(profile: &str, optimised: Option<&Graph>) -> (Trace, OverlayReport) {
    let trace = profiler::import::open(&data(profile)).unwrap();
    let (laid, report) = super::lay(&trace, &model(), optimised, &Settings::default()).unwrap();
    println!("{profile}: {}; not found: {:?}; {:?}", report.summary(), report.unmatched, report.no_costs);
    assert_eq!(laid.spans, trace.spans, "what was measured is as it was");
    // No node is in two rows, and every name is one of the model's.
    let mut names: Vec<&String> = laid.layers.iter().flat_map(|l| &l.source_nodes).collect();
    assert!(names.iter().all(|n| laid.nodes.iter().any(|m| m.name == **n)));
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert_eq!(all, report.nodes);
    (laid, report)
}

fn sources<'a>(trace: &'a Trace, name: &str) -> &'a [String] {
    let layer = trace.layers.iter().find(|l| l.name == name);
    &layer
        .unwrap_or_else(|| panic!("no {name} in {:?}", trace.layers.iter().map(|l| &l.name).collect::<Vec<_>>()))
        .source_nodes
}

#[test]
fn an_onnx_runtime_profile_without_fusion_is_found_by_name() {
    let (laid, report) = lay("onnxruntime_basic.json");
    assert_eq!(report.matched, report.rows, "{:?}", report.unmatched);
    assert_eq!(sources(&laid, "/blocks.1/out/MatMul"), ["/blocks.1/out/MatMul"]);
    let out = laid.layers.iter().find(|l| l.name == "/blocks.1/out/MatMul").unwrap();
    assert_eq!(out.scope, "blocks.1/out");
    // 8 words of 16 by 16: the sizes of the run, not those that a run here would have.
    assert_eq!(out.flops, Some(2 * 8 * 16 * 16), "{:?}", out);
}

#[test]
fn fused_rows_of_onnx_runtime_name_all_their_nodes() {
    let (laid, report) = lay("onnxruntime_all.json");
    assert_eq!(report.matched, report.rows, "{:?}", report.unmatched);
    assert_eq!(sources(&laid, "/blocks.0/MatMul/MatMulScaleFusion/"), ["/blocks.0/MatMul", "/blocks.0/Div"]);
    assert_eq!(sources(&laid, "fused /head/Gemm"), ["/head/Gemm", "/Tanh"]);
    let gelu = sources(&laid, "BiasGelu");
    assert!(gelu.contains(&"/blocks.0/Erf".to_owned()) && gelu.contains(&"/blocks.0/up/Add".to_owned()), "{gelu:?}");
    let second = laid.layers.iter().filter(|l| l.op == "BiasGelu").nth(1).unwrap();
    assert!(second.source_nodes.contains(&"/blocks.1/Erf".to_owned()), "{second:?}");
    let skip = laid.layers.iter().find(|l| l.op == "SkipLayerNormalization").unwrap();
    assert!(skip.source_nodes.contains(&"/blocks.0/norm/LayerNormalization".to_owned()), "{skip:?}");
    assert_eq!(skip.source_nodes.len(), 3, "the norm, the residual and the bias: {skip:?}");
}

#[test]
fn the_optimised_graph_tells_what_fused_rows_were_made_from() {
    let optimised = crate::open(&data("blocks_optimised.onnx")).unwrap();
    let (laid, report) = lay_with("onnxruntime_all.json", Some(&optimised.graph));
    assert_eq!(report.by_rule, [("by the optimised graph".to_owned(), report.rows)], "{:?}", report.unmatched);
    let cases: [(&str, &[&str]); 4] = [
        ("/blocks.0/MatMul/MatMulScaleFusion/", &["/blocks.0/MatMul", "/blocks.0/Div"]),
        ("fused /head/Gemm", &["/head/Gemm", "/Tanh"]),
        (
            "BiasGelu_token_1",
            &[
                "/blocks.1/up/Add",
                "/blocks.1/Div_1",
                "/blocks.1/Erf",
                "/blocks.1/Add_1",
                "/blocks.1/Mul",
                "/blocks.1/Mul_1",
            ],
        ),
        (
            "SkipLayerNormalization_token_8",
            &["/blocks.1/down/Add", "/blocks.1/Add_2", "/blocks.1/last/LayerNormalization"],
        ),
    ];
    for (row, want) in cases {
        assert_eq!(sources(&laid, row), want, "{row}");
    }
    // Sizes that are known before the run are nobody's work.
    assert_eq!(sources(&laid, "/blocks.0/Reshape_1"), ["/blocks.0/Reshape_1"]);
    // A graph of another model knows none of the rows, and names still do.
    let other = crate::samples::all()[0].open().unwrap();
    let (_, report) = lay_with("onnxruntime_all.json", Some(&other.graph));
    assert_eq!(report.matched, report.rows, "{:?}", report.unmatched);
    assert!(report.by_rule.iter().all(|r| r.0 != "by the optimised graph"));
}

#[test]
fn a_torch_profile_is_found_by_order_where_the_order_is_certain() {
    let (laid, report) = lay("kineto.json");
    let of = |op: &str| {
        laid.layers.iter().filter(|l| l.op.ends_with(op)).map(|l| l.source_nodes.clone()).collect::<Vec<_>>()
    };
    let linear = of("linear");
    assert_eq!(linear.len(), 13);
    // Query, key and value could have run in any order.
    for block in [0, 6] {
        assert!(linear[block..block + 3].iter().all(Vec::is_empty), "{linear:?}");
    }
    assert_eq!(linear[3], ["/blocks.0/out/MatMul", "/blocks.0/out/Add"]);
    assert_eq!(linear[5], ["/blocks.0/down/MatMul", "/blocks.0/down/Add"]);
    assert_eq!(linear[12], ["/head/Gemm"]);
    assert_eq!(of("softmax"), [["/blocks.0/Softmax"], ["/blocks.1/Softmax"]]);
    assert_eq!(of("layer_norm")[3], ["/blocks.1/last/LayerNormalization"]);
    assert!(of("gelu")[1].contains(&"/blocks.1/Erf".to_owned()));
    assert!(report.matched >= 16 && report.matched < report.rows, "{}", report.summary());
}

#[test]
fn another_model_is_refused_or_not_matched() {
    let trace = profiler::import::open(&data("onnxruntime_basic.json")).unwrap();
    let other = crate::samples::all()[0].open().unwrap();
    match overlay(&trace, &other, &Settings::default()) {
        Err(e) => assert!(e.to_string().contains("another model"), "{e}"),
        Ok((_, report)) => assert!(report.matched < report.rows / 4, "{}", report.summary()),
    }
    assert!(overlay(&Trace::default(), &other, &Settings::default()).is_err());
}

#[test]
fn names_of_other_optimisers() {
    let model = model();
    let w = Wiring::new(&model.graph);
    let found = |name: &str, op: &str| {
        let layer = Layer { name: name.to_owned(), op: op.to_owned(), ..Layer::default() };
        let nodes = names::find(&w, &layer)?.0;
        Some(nodes.iter().map(|&n| model.graph.nodes[n].name.clone()).collect::<Vec<_>>().join(" "))
    };
    let cases = [
        ("/head/Gemm + /Tanh", "kernel", Some("/head/Gemm /Tanh")),
        ("PWN(/blocks.0/Erf)", "kernel", Some("/blocks.0/Erf")),
        ("/blocks.0/Softmax_output_0", "Softmax", Some("/blocks.0/Softmax")),
        ("{ForeignNode[/head/Gemm.../Tanh]}", "Myelin", Some("/head/Gemm /Tanh")),
        ("/blocks.0/out/MatMul/WithoutBiases", "MatMul", Some("/blocks.0/out/MatMul")),
        ("/blocks.0/out/MatMul_7", "MatMul", None),
        ("/blocks.0/out/MatMul_fused", "Softmax", None),
        ("/head/Gemm + /unknown", "kernel", None),
        ("", "", None),
        ("é_fused é", "x", None),
    ];
    for (name, op, want) in cases {
        assert_eq!(found(name, op).as_deref(), want, "{name}");
    }
}
