//! What every format must stand: files that are cut short, damaged, or made to hurt.

use super::*;
use crate::fixtures::Random;

/// A small file of every foreign format.
const FILES: &[(&str, &[u8])] = &[
    ("ONNX Runtime", include_bytes!("../../testdata/onnxruntime-1.32.json")),
    ("PyTorch", include_bytes!("../../testdata/torch-2.15.json")),
    ("trtexec profile", include_bytes!("../../testdata/by-schema/trtexec-profile.json")),
    ("trtexec times", include_bytes!("../../testdata/by-schema/trtexec-times.json")),
    ("trtexec layers", include_bytes!("../../testdata/by-schema/trtexec-layers.json")),
    ("LiteRT CSV", include_bytes!("../../testdata/by-schema/litert.csv")),
    ("LiteRT text", include_bytes!("../../testdata/by-schema/litert.txt")),
    ("OpenVINO average", include_bytes!("../../testdata/by-schema/openvino-average.csv")),
    ("OpenVINO detailed", include_bytes!("../../testdata/by-schema/openvino-detailed.csv")),
    ("tract", include_bytes!("../../testdata/by-schema/tract.json")),
    ("gzip", include_bytes!("../../testdata/torch-2.15-modules.json.gz")),
];

/// What got through is valid, and what reads traces stands it; what did not says why.
fn judge(result: Result<Trace, Problem>, what: impl Fn() -> String) {
    match result {
        Ok(trace) => {
            check(&trace).unwrap_or_else(|e| panic!("{}: {e}", what()));
            trace.layer_stats();
            crate::Audit::of(&trace);
        }
        Err(e) => assert!(!e.to_string().is_empty(), "{}", what()),
    }
}

#[test]
fn whole_files_open_and_are_named_right() {
    for (name, file) in FILES {
        let trace = read(file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!trace.layers.is_empty(), "{name}");
        assert!(!trace.meta.clock.strategy.is_empty() && !trace.meta.producer.is_empty(), "{name}");
        // Once more through gzip, which is unpacked once only.
        if file.starts_with(&[0x1f, 0x8b]) {
            continue;
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, file).unwrap();
        assert_eq!(read(&packed.finish().unwrap()).unwrap(), trace, "{name}");
    }
}

#[test]
fn files_cut_at_every_byte() {
    for (name, file) in FILES {
        for n in 0..file.len() {
            judge(read(&file[..n]), || format!("{name} cut at {n}"));
        }
    }
}

#[test]
fn damaged_files() {
    let mut random = Random::fresh();
    const PIECES: &[&[u8]] = &[
        b"-1",
        b"1e999",
        b"9223372036854775807",
        b"-9223372036854775808.9",
        b"18446744073709551616",
        b"NaN",
        b"null",
        b"{}",
        b"[]",
        b"\"\"",
        b"[[[[",
        b"}",
        b"]",
        b",",
        b";",
        b"\"",
        b"\\",
        b"\xff\xfe",
        b"0.0000001",
        b"true",
        b"\n",
    ];
    for (name, file) in FILES {
        for _ in 0..400 {
            let mut bad = file.to_vec();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bad.len() as u64) as usize;
                let end = (at + random.below(12) as usize).min(bad.len());
                match random.below(3) {
                    0 => bad[at] = random.bits() as u8,
                    1 => drop(bad.splice(at..end, PIECES[random.below(PIECES.len() as u64) as usize].iter().copied())),
                    _ => drop(bad.drain(at..end)),
                }
                if bad.is_empty() {
                    break;
                }
            }
            judge(read(&bad), || format!("{name}, seed {}", random.seed));
        }
    }
}

#[test]
fn numbers_at_the_edge() {
    let edges = [
        "0",
        "-1",
        "1e15",
        "-1e15",
        "9223372036854775",
        "-9223372036854775",
        "9.3e15",
        "1e400",
        "\"5\"",
        "\"x\"",
        "null",
        "[]",
        "1e-9",
        "0.0004999",
        "true",
    ];
    for ts in edges {
        for dur in edges {
            let event = format!(r#"{{"ph":"X","cat":"Node","name":"a_kernel_time","ts":{ts},"dur":{dur}}}"#);
            let other = r#"{"ph":"X","cat":"Session","name":"model_run","ts":1,"dur":5}"#;
            for file in
                [format!("[{event}]"), format!("[{other},{event}]"), format!("{{\"traceEvents\":[{event},{other}]}}")]
            {
                judge(read(file.as_bytes()), || format!("ts {ts}, dur {dur}"));
            }
        }
    }
    // Spans from one end of time to the other keep their order.
    let far = br#"[{"ph":"X","name":"a","ts":-9000000000000000,"dur":1},{"ph":"X","name":"b","ts":9000000000000000,"dur":1}]"#;
    let trace = read(far).unwrap();
    assert_eq!(trace.spans.start_ns, [0, 18_000_000_000_000_000_000]);
}

#[test]
fn missing_and_double_fields() {
    for file in [
        r#"[{"ph":"X"}]"#,
        r#"[{"ph":"X","ts":1}]"#,
        r#"[{"ph":"X","ts":1,"ts":2,"dur":3,"dur":4,"name":"a","name":"b"}]"#,
        r#"[{"ph":"B","ts":1,"name":"a"},{"ph":"B","ts":2,"name":"a"},{"ph":"E","ts":0}]"#,
        r#"[{"ph":"b","id":1,"ts":1,"name":"a"},{"ph":"b","id":1,"ts":1,"name":"a"},{"ph":"e","id":1,"ts":-5}]"#,
        r#"[{"ph":"M","name":"thread_name","args":{"name":{}}},{"ph":"C","ts":1,"name":"c","args":{"x":{},"y":"z","v":1e999}}]"#,
        r#"{"deviceProperties":{},"baseTimeNanoseconds":-1,"traceEvents":[{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":2,"args":{"External id":-1}}]}"#,
        r#"{"deviceProperties":[{"name":7}],"baseTimeNanoseconds":18446744073709551615,"traceEvents":[{"ph":"X","cat":"cpu_op","name":"k","ts":1,"dur":2,"args":{"External id":5,"Input Dims":[[1],2,[[3]]],"Input type":[]}},{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":2,"args":{"External id":5}},{"ph":"X","cat":"cpu_op","name":"l","ts":9,"dur":2,"args":{"External id":5}}]}"#,
        r#"[{"count":0},{"name":"a","timeMs":1}]"#,
        r#"[{"count":1},{"name":"a","timeMs":1,"averageMs":null,"medianMs":null}]"#,
        r#"[{"startComputeMs":5,"endComputeMs":1}]"#,
        r#"{"Layers":[{},[],7,null,{"Name":5,"Inputs":[{}]}]}"#,
    ] {
        judge(read(file.as_bytes()), || file.to_owned());
    }
}

#[test]
fn depth_does_no_harm() {
    let deep = "[".repeat(300_000);
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for file in [
        format!(r#"[{{"ph":"X","name":"a","ts":1,"dur":1,"args":{deep}"#),
        format!(r#"[{{"ph":"X","name":"a","ts":1,"dur":1,"args":{closed}}}]"#),
        format!(r#"{{"deviceProperties":{closed},"traceEvents":[{{"ph":"X","name":"a","ts":1}}]}}"#),
        format!(r#"[{{"name":{closed},"timeMs":1}}]"#),
        format!(r#"{{"Layers":{closed}}}"#),
        format!(r#"{{"nodes":{closed},"qualified_id":1}}"#),
        format!("[{{\"ph\":\"B\",\"name\":\"a\",\"ts\":1}}{}", r#",{"ph":"B","name":"a","ts":1}"#.repeat(50_000)),
    ] {
        judge(read(file.as_bytes()), || file.chars().take(60).collect());
    }
}

#[test]
fn a_bomb_of_gzip_is_bounded() {
    // A gigabyte of spaces behind the start of a trace, a megabyte packed: read piece by piece, nothing of it is kept.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, br#"[{"ph":"X","name":"a","ts":1,"dur":1}"#).unwrap();
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..64 {
        std::io::Write::write_all(&mut packed, &spaces).unwrap();
    }
    let trace = read(&packed.finish().unwrap()).unwrap();
    assert_eq!(trace.spans.len(), 1);
    // One event of 64 MB: it is left out, not kept.
    let long =
        format!(r#"[{{"ph":"X","name":"a","ts":1,"dur":1}},{{"ph":"X","name":"{}","ts":1}}]"#, "x".repeat(64 << 20));
    let trace = read(long.as_bytes()).unwrap();
    assert_eq!(
        (trace.spans.len(), trace.meta.warnings.as_slice()),
        (1, &["left out: 1 unreadable event".to_owned()][..])
    );
}

#[test]
fn stopping_is_told_as_such_at_any_time() {
    for (name, file) in FILES {
        for after in 0..6 {
            let mut looks = 0;
            let result = read_from(*file, file.len() as u64, &mut |p| {
                assert!(p.done <= p.total, "{name}: {p:?}");
                looks += 1;
                if looks > after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let stopped = looks > after;
            assert_eq!(matches!(result, Err(Problem::Cancelled)), stopped, "{name} after {after}: {result:?}");
        }
    }
}
