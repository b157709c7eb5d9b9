//! Damaged and hostile files: a typed error or a valid graph, never a panic, in bounded time and memory.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::*;
use crate::tensor_file::read_pb;

/// What every graph that was accepted must keep to.
fn check(g: &graph::Graph) {
    let mut known = vec![false; g.values.len()];
    for v in &g.inputs {
        known[v.index()] = true;
    }
    for (_, v) in &g.captures {
        known[v.index()] = true;
    }
    for (i, v) in g.values.iter().enumerate() {
        known[i] |= v.constant.is_some();
    }
    for n in &g.nodes {
        assert!(n.inputs.iter().flatten().all(|v| known[v.index()]), "node {} reads what is not there yet", n.name);
        for o in n.outputs.iter().flatten() {
            assert!(!std::mem::replace(&mut known[o.index()], true), "two producers");
        }
        for a in n.attrs.values() {
            if let Attr::Graph(g) = a {
                check(g);
            }
        }
    }
    assert!(g.outputs.iter().all(|v| known[v.index()]));
}

#[test]
fn truncation_at_every_byte() {
    let whole = rich().bytes();
    let mut opened = 0;
    for n in 0..whole.len() {
        if let Ok(m) = from_bytes("cut.onnx", whole.slice(..n)) {
            check(&m.graph);
            opened += 1;
        }
    }
    check(&from_bytes("whole.onnx", whole).unwrap().graph);
    // Only cuts between the fields that come after the graph can leave a model; there are a few at most.
    assert!(opened < 8, "{opened} cuts were accepted");
}

#[test]
fn random_damage() {
    let whole = rich().bytes();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.to_vec();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        match from_bytes("damaged.onnx", bytes.into()) {
            Ok(m) => check(&m.graph),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "damage goes unnoticed: {refused} of 20000 refused");
}

#[test]
fn deep_nesting_is_refused() {
    // Built from the inside as bytes: the messages themselves would overflow the stack on being dropped.
    let field = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encode_length_delimiter(inner.len(), &mut out).unwrap();
        out.extend_from_slice(inner);
        out
    };
    let mut graph = field(2, b"g");
    for _ in 0..10_000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    let e = from_bytes("deep.onnx", field(7, &graph).into()).expect_err("refused").to_string();
    assert!(e.contains("nested deeper than 16"), "{e}");
}

#[test]
fn sixteen_levels_are_accepted() {
    let mut g = graph(vec![node("Relu", &["x"], &["y"], vec![])], &[], &["y"]);
    for _ in 0..15 {
        g = graph(vec![node("If", &["x"], &["y"], vec![attr("then_branch", g)])], &[], &["y"]);
    }
    let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]);
    b.graph().node = g.node;
    check(&open(&b).unwrap().graph);
}

#[test]
fn allocation_bombs_cost_nothing() {
    let start = Instant::now();
    let bombs =
        [vec![1i64 << 40], vec![i64::MAX, i64::MAX], vec![1 << 31, 1 << 31, 4], vec![-1], vec![0, i64::MAX, i64::MAX]];
    for dims in bombs {
        let mut b = ModelBuilder::new(17).input("x", DType::F32, &["n"]);
        b.graph().initializer.push(TensorProto {
            name: Some("w".into()),
            dims,
            data_type: Some(1),
            ..Default::default()
        });
        assert!(refused(&b).contains("\"w\""));
    }
    // Shapes of values are only noted.
    let huge = ModelBuilder::new(17).input("x", DType::F32, &["9223372036854775807", "9223372036854775807"]);
    check(&open(&huge).unwrap().graph);
    let many = ModelBuilder::new(17).input("x", DType::F32, &["n"]);
    let mut nodes = many;
    for i in 0..50_000 {
        nodes
            .graph()
            .node
            .push(NodeProto { name: Some("same".into()), ..node("Relu", &["x"], &[&format!("o{i}")], vec![]) });
    }
    assert_eq!(open(&nodes).unwrap().graph.nodes.len(), 50_000);
    // In reverse order, which needs the sort.
    nodes.graph().node.clear();
    for i in (0..50_000).rev() {
        let from = if i == 0 { "x".to_string() } else { format!("o{}", i - 1) };
        nodes.graph().node.push(node("Relu", &[&from], &[&format!("o{i}")], vec![]));
    }
    check(&open(&nodes).unwrap().graph);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn external_data_is_mapped_and_confined() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("w.bin"), [0u8, 0, 128, 63, 0, 0, 0, 64]).unwrap();
    fs::write(dir.path().join("secret"), [0u8; 8]).unwrap();
    let path = folder.join("m.onnx");
    let with = |entries: &[(&str, &str)]| {
        let pair = |(k, v): &(&str, &str)| StringStringEntryProto {
            key: Some(k.to_string()),
            value: Some(v.to_string().into()),
        };
        let mut b = ModelBuilder::new(17).output("w", DType::F32, &["2"]);
        b.graph().initializer.push(TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(1),
            data_location: Some(1),
            external_data: entries.iter().map(pair).collect(),
            ..TensorProto::default()
        });
        fs::write(&path, b.bytes()).unwrap();
        crate::open(&path)
    };
    let m = with(&[("location", "w.bin"), ("offset", "0"), ("length", "8")]).unwrap();
    assert_eq!(&*m.graph.values[0].constant.as_ref().unwrap().elements::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(m.file_bytes, fs::metadata(&path).unwrap().len() + 8);
    assert_eq!(m.path, path);
    let bad: &[&[(&str, &str)]] = &[
        &[("location", "../secret")],
        &[("location", "w.bin"), ("offset", "4")],
        &[("location", "w.bin"), ("offset", "18446744073709551615")],
        &[("location", "w.bin"), ("length", "9223372036854775807")],
        &[("location", "missing.bin")],
        &[],
    ];
    for entries in bad {
        let e = with(entries).expect_err("refused").to_string();
        assert!(e.contains("tensor \"w\": external data in"), "{e}");
    }
    assert!(from_bytes("m.onnx", fs::read(&path).unwrap().into()).is_err(), "a model in memory has no files beside it");
}

#[test]
fn tensors_in_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input_0.pb");
    let t = Tensor::from_vec(&[2, 2], vec![1i64, -2, 3, 4]);
    fs::write(&path, tensor("x", &t).encode_to_vec()).unwrap();
    assert_eq!(read_pb(&path).unwrap(), t);
    // SequenceProto { name, elem_type: TENSOR, tensor_values: [t] }; OptionalProto has the same fields.
    let mut sequence = vec![0x0a, 1, b'x', 0x10, 1];
    let inner = tensor("", &t).encode_to_vec();
    sequence.extend([0x1a, inner.len() as u8]);
    sequence.extend(&inner);
    // An optional sequence keeps it in field 5, which in a tensor is int32_data.
    let optional = [&[0x0a, 1, b'x', 0x10, 3, 0x2a, sequence.len() as u8], &sequence[..]].concat();
    for bytes in [&sequence[..], &optional, &[0x0a, 1, b'x', 0x10, 1], &[0x10, 1], &[]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(read_pb(&path), Err(FormatError::Unsupported { .. })), "{bytes:?}");
    }
    let whole = tensor("x", &t).encode_to_vec();
    for n in 0..whole.len() {
        fs::write(&path, &whole[..n]).unwrap();
        // A cut just before the name is still whole.
        if let Ok(cut) = read_pb(&path) {
            assert_eq!(cut, t);
        }
    }
}
