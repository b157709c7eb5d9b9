use super::*;
use crate::export;
use crate::fixtures::{self, Random};
use crate::{LayerId, Quality, SpanId, TrackId};

/// A trace in a format, through a file.
fn through(trace: &Trace, extension: &str) -> Trace {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("t.{extension}"));
    export::write(trace, &path).unwrap();
    // The content tells the format, not the name.
    let other = folder.path().join("renamed.bin");
    std::fs::rename(&path, &other).unwrap();
    open(&other).unwrap_or_else(|e| panic!("{e} for {}", trace.meta.model))
}

/// What a file in a format holds.
fn bytes(trace: &Trace, extension: &str) -> Vec<u8> {
    let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile().unwrap();
    export::write(trace, file.path()).unwrap();
    std::fs::read(file.path()).unwrap()
}

fn fixtures_and_random(random: &mut Random) -> Vec<Trace> {
    let mut traces =
        vec![fixtures::empty(), fixtures::one_layer(), fixtures::transformer(2, 3, 1), fixtures::many_spans(3_000)];
    traces.extend((0..30).map(|_| fixtures::random(random)));
    traces
}

/// Name, track, start, end of every span, in a fixed order.
fn rows(trace: &Trace) -> Vec<(String, String, u64, u64)> {
    let mut rows: Vec<_> = trace
        .spans
        .iter()
        .map(|s| {
            let track = trace.tracks[s.track.index()].name.clone();
            (track, trace.span_name(&s).to_owned(), s.start_ns, s.end_ns)
        })
        .collect();
    rows.sort_by(|a, b| (a.2, a.3, a).cmp(&(b.2, b.3, b)));
    rows
}

#[test]
fn scope_files_come_back_exactly() {
    let mut random = Random::fresh();
    for trace in fixtures_and_random(&mut random) {
        assert_eq!(through(&trace, "scope"), trace, "seed {}", random.seed);
    }
}

#[test]
fn chrome_traces_keep_spans_layers_runs_and_counters() {
    let mut random = Random::fresh();
    for trace in fixtures_and_random(&mut random) {
        let back = through(&trace, "json");
        let seed = random.seed;
        assert_eq!(rows(&back), rows(&trace), "seed {seed}");
        assert_eq!(back.meta, trace.meta, "seed {seed}");
        let used: Vec<_> = trace
            .layers
            .iter()
            .enumerate()
            .filter(|(i, _)| trace.spans.layer.contains(&Some(LayerId(*i as u32))))
            .map(|(_, l)| l.clone())
            .collect();
        assert_eq!(back.layers, used, "seed {seed}");
        assert_eq!(back.runs, trace.runs, "seed {seed}");
        assert_eq!(back.latency(), trace.latency(), "seed {seed}");
        let times = |t: &Trace| t.layer_stats().iter().map(|s| (s.time, s.rejected, s.wall)).collect::<Vec<_>>();
        assert_eq!(times(&back), times(&trace), "seed {seed}");
        assert_eq!(back.counters, trace.counters, "seed {seed}");
    }
}

#[test]
fn puffin_files_keep_layer_names_order_and_durations() {
    let mut random = Random::fresh();
    for trace in fixtures_and_random(&mut random).into_iter().filter(|t| !t.spans.is_empty()) {
        let back = through(&trace, "puffin");
        let seed = random.seed;
        // Unnamed spans get a name there.
        let named = |t: &Trace| {
            let fix = |n: String| if n.is_empty() { "span".to_owned() } else { n };
            rows(t).into_iter().map(|r| (fix(r.1), r.2, r.3)).collect::<Vec<_>>()
        };
        let (mut got, mut want) = (named(&back), named(&trace));
        got.sort();
        want.sort();
        assert_eq!(got, want, "seed {seed}");
        assert_eq!(back.runs.len(), trace.runs.len(), "seed {seed}");
        assert_eq!(back.latency(), trace.latency(), "seed {seed}");
    }
    let trace = fixtures::transformer(2, 3, 1);
    let back = through(&trace, "puffin");
    assert_eq!(back.runs, trace.runs);
    let names = |t: &Trace| t.layers.iter().map(|l| (l.name.clone(), l.op.clone(), l.class)).collect::<Vec<_>>();
    assert_eq!(names(&back), names(&trace));
    assert_eq!(
        back.layer_stats().iter().map(|s| s.time).collect::<Vec<_>>(),
        trace.layer_stats().iter().map(|s| s.time).collect::<Vec<_>>()
    );
}

/// What puffin itself makes of our files: frames, threads, scopes with their names.
#[test]
fn puffin_reads_our_files() {
    let trace = fixtures::transformer(1, 2, 1);
    let view = ::puffin::FrameView::read(&mut &bytes(&trace, "puffin")[..]).unwrap();
    let frames: Vec<_> = view.all_uniq().cloned().collect();
    // Setup, two warm-up runs, two measured ones.
    assert_eq!(frames.len(), 5);
    let mut layers = Vec::new();
    let last = frames[4].unpacked().unwrap();
    for (info, stream) in &last.thread_streams {
        assert_eq!(info.name, "CPU");
        assert_eq!(stream.depth, 2);
        let top = ::puffin::Reader::from_start(&stream.stream).read_top_scopes().unwrap();
        assert_eq!(top.len(), 1);
        let inner = ::puffin::Reader::with_offset(&stream.stream, top[0].child_begin_position).unwrap();
        for scope in inner.read_top_scopes().unwrap() {
            let details = view.scope_collection().fetch_by_id(&scope.id).unwrap();
            layers.push((details.name().to_string(), scope.record.data.to_owned(), scope.record.duration_ns as u64));
        }
    }
    let run = trace.runs.len() as u32 - 1;
    let want: Vec<_> = trace
        .spans
        .iter()
        .filter(|s| s.run.map(|r| r.0) == Some(run) && s.layer.is_some())
        .map(|s| {
            let layer = &trace.layers[s.layer.unwrap().index()];
            (layer.op.clone(), layer.name.clone(), s.duration_ns())
        })
        .collect();
    assert_eq!(layers, want);
    let range = last.range_ns();
    assert_eq!((range.0 as u64, range.1 as u64), (trace.runs[run as usize].start_ns, trace.runs[run as usize].end_ns));
}

/// A file of some other program, written by puffin itself: function scopes with data, times since the Unix epoch.
#[test]
fn foreign_puffin_files() {
    let epoch = 1_700_000_000_000_000_000;
    let mut profiler = ::puffin::GlobalProfiler::default();
    let ids = profiler.register_user_scopes(&["update", "draw"].map(::puffin::ScopeDetails::from_scope_name));
    let frames = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&frames);
    profiler.add_sink(Box::new(move |f| sink.lock().unwrap().push(f)));
    for frame in 0..2 {
        let at = epoch + frame * 1_000;
        let mut stream = ::puffin::Stream::default();
        let (outer, _) = stream.begin_scope(|| at, ids[0], "");
        let (inner, _) = stream.begin_scope(|| at + 100, ids[1], "mesh");
        stream.end_scope(inner, at + 400);
        stream.end_scope(outer, at + 900);
        let info = ::puffin::ThreadInfo { start_time_ns: Some(7), name: "main".into() };
        profiler.report_user_scopes(info, &::puffin::StreamInfo::parse(stream).unwrap().as_stream_into_ref());
        profiler.new_frame();
    }
    let mut file = b"PUF0".to_vec();
    for frame in frames.lock().unwrap().iter() {
        frame.write_into(None, &mut file).unwrap();
    }
    let trace = read(&file).unwrap();
    assert_eq!(trace.run_latencies_ns(), [900, 900]);
    assert_eq!(trace.layers.iter().map(|l| (&*l.name, &*l.scope)).collect::<Vec<_>>(), [("draw mesh", "update")]);
    assert_eq!((trace.spans.start_ns[1], trace.layer_stats()[0].time.median.to_bits()), (100, 300f64.to_bits()));
    assert_eq!(trace.tracks[0].name, "main");
}

#[test]
fn foreign_chrome_events_of_every_kind() {
    let file = br#"[
        {"ph":"M","name":"thread_name","pid":1,"tid":7,"args":{"name":"worker"}},
        {"ph":"E","pid":1,"tid":7,"ts":1000030},
        {"ph":"B","name":"outer \"x\"","pid":1,"tid":7,"ts":1000000.5},
        {"ph":"X","name":"conv","cat":"Node","pid":1,"tid":7,"ts":1000001,"dur":4,"args":{"op_name":"Conv"}},
        {"ph":"X","name":"relu","pid":"p","tid":"t","ts":"1000002.25","dur":1},
        {"ph":"C","name":"power","pid":1,"ts":1000003,"args":{"W":12.5}},
        {"ph":"s","name":"flow","pid":1,"tid":7,"ts":3},
        {"ph":"X","name":"no time"},
        7,
        {"ph":"E","pid":1,"tid":7,"ts":1000010}
    ]"#;
    let trace = read(file).unwrap();
    let rows: Vec<_> = rows(&trace).into_iter().map(|r| (r.1, r.2, r.3)).collect();
    let row = |n: &str, a, b| (n.to_owned(), a, b);
    assert_eq!(rows, [row("outer \"x\"", 0, 9_500), row("conv", 500, 4_500), row("relu", 1_750, 2_750)]);
    let layers: Vec<_> = trace.layers.iter().map(|l| (&*l.name, &*l.op, &*l.scope)).collect();
    assert_eq!(layers, [("conv", "Conv", "outer \"x\""), ("relu", "", "")]);
    assert_eq!(trace.tracks.len(), 2);
    assert_eq!((trace.counters[0].unit.as_str(), &trace.counters[0].value[..]), ("W", &[12.5][..]));
    let left_out = ["1 flow arrow", "1 unmatched end", "1 unreadable event", "1 untimed event"];
    assert_eq!(trace.meta.warnings, left_out.map(|w| format!("left out: {w}")));
    // An array without its end, as a killed writer leaves it.
    let cut = &file[..file.len() - 60];
    assert!(read(cut).unwrap().meta.warnings.iter().any(|w| w.contains("ends early")));
}

/// A profile that ONNX Runtime wrote: two runs of two nodes, whole microseconds.
#[test]
fn onnxruntime_profiles_open() {
    let trace = read(include_bytes!("../../testdata/onnxruntime-1.32.json")).unwrap();
    let layers: Vec<_> = trace.layers.iter().map(|l| (&*l.name, &*l.op)).collect();
    assert_eq!(layers, [("proj/MatMul", "MatMul"), ("head/Softmax", "Softmax")]);
    assert_eq!((trace.layers[0].scope.as_str(), trace.runs.len()), ("proj", 2));
    let of_matmul = trace.spans.layer.iter().filter(|l| **l == Some(LayerId(0))).count();
    assert_eq!((trace.tracks.len(), of_matmul), (2, 2));
}

/// A profile that PyTorch wrote: text ids, absolute times with three decimals, instant events.
#[test]
fn pytorch_profiles_open() {
    let trace = read(include_bytes!("../../testdata/torch-2.15.json")).unwrap();
    let find = |name: &str| trace.spans.iter().find(|s| trace.span_name(s) == name).unwrap();
    assert_eq!(find("aten::linear").duration_ns(), 3_234_440);
    assert_eq!(find("aten::empty").start_ns - find("aten::ones").start_ns, 31_639);
    let inside = |s: &crate::Span| s.parent.map(|p| trace.span_name(&trace.spans.get(p.index())).to_owned());
    assert_eq!(inside(&find("aten::transpose")).as_deref(), Some("aten::t"));
    assert_eq!(inside(&find("aten::t")).as_deref(), Some("aten::linear"));
    // Only the outermost operators are layers.
    assert!(trace.layers.iter().any(|l| l.name == "aten::linear") && trace.layers.iter().all(|l| l.op != "aten::t"));
    assert!(trace.tracks[0].name.contains("python"), "{:?}", trace.tracks);
}

#[test]
fn newer_files_are_refused_and_older_ones_open() {
    let trace = fixtures::one_layer();
    let mut file = bytes(&trace, "scope");
    file[12..16].copy_from_slice(&(export::SCOPE_VERSION + 1).to_le_bytes());
    let message = read(&file).unwrap_err().to_string();
    assert!(message.contains("version 3") && message.contains("up to version 2"), "{message}");
    // A file from before some field was there.
    let mut old = export::SCOPE_MAGIC.to_vec();
    old.extend(1u32.to_le_bytes());
    let fields: std::collections::BTreeMap<&str, Vec<std::collections::BTreeMap<&str, &str>>> =
        [("layers", vec![[("name", "a"), ("a field that was dropped", "x")].into()])].into();
    old.extend(zstd::encode_all(&rmp_serde::to_vec_named(&fields).unwrap()[..], 3).unwrap());
    let trace = read(&old).unwrap();
    assert_eq!((trace.layers[0].name.as_str(), trace.layers[0].flops), ("a", None));
}

/// As version 1 wrote it: the columns as lists of numbers.
fn version_1(trace: &Trace) -> Vec<u8> {
    let mut file = [&export::SCOPE_MAGIC[..], &1u32.to_le_bytes()].concat();
    let mut content = rmp_serde::Serializer::new(Vec::new()).with_struct_map().with_human_readable();
    serde::Serialize::serialize(trace, &mut content).unwrap();
    file.extend(zstd::encode_all(&content.into_inner()[..], 6).unwrap());
    file
}

#[test]
fn files_of_version_1_open() {
    let mut random = Random::fresh();
    for trace in fixtures_and_random(&mut random) {
        let file = version_1(&trace);
        assert_eq!(read(&file).unwrap(), trace, "seed {}", random.seed);
        // They never panic when cut, and never open.
        for _ in 0..20 {
            let n = random.below(file.len() as u64) as usize;
            assert!(read(&file[..n]).is_err(), "cut at {n}, seed {}", random.seed);
        }
    }
    // What version 1 itself wrote.
    let old = read(include_bytes!("../../testdata/version-1.scope")).unwrap();
    assert_eq!((old.meta.model.as_str(), old.spans.len(), old.layers.len()), ("digits_vit", 154, 50));
    let trace = fixtures::many_spans(20_000);
    let (new, old) = (bytes(&trace, "scope").len(), version_1(&trace).len());
    assert!(new < old, "{new} bytes, {old} before");
}

#[test]
fn broken_tables_are_refused() {
    let good = fixtures::transformer(1, 1, 1);
    check(&good).unwrap();
    type Damage = fn(&mut Trace);
    let breaks: [(&str, Damage); 14] = [
        ("column spans.layer", |t| t.spans.layer.truncate(1)),
        ("column spans.end_ns", |t| t.spans.end_ns.push(1)),
        ("track", |t| t.spans.track[3] = TrackId(9)),
        ("layer", |t| t.spans.layer[6] = Some(LayerId(u32::MAX))),
        ("name", |t| t.spans.name[0] = 99),
        ("ends at", |t| t.spans.end_ns[4] = t.spans.start_ns[4] - 1),
        ("run", |t| t.spans.run[2] = Some(crate::RunId(50))),
        ("does not come before", |t| t.spans.parent[2] = Some(SpanId(2))),
        ("does not come before", |t| t.spans.parent[2] = Some(SpanId(u32::MAX))),
        ("another track", |t| *t.spans.parent.last_mut().unwrap() = Some(SpanId(0))),
        ("run 0", |t| t.runs[0].end_ns = 0),
        ("counter", |t| t.counters[0].value.truncate(1)),
        ("tensor", |t| t.memory.tensors[0].last = LayerId(1_000)),
        ("tensor", |t| t.memory.tensors[0].producer = Some(LayerId(1_000))),
    ];
    for (what, damage) in breaks {
        let mut trace = good.clone();
        damage(&mut trace);
        let error = check(&trace).expect_err(what).to_string();
        assert!(error.contains(what), "{what}: {error}");
        // The same through a file.
        assert!(matches!(read(&bytes(&trace, "scope")), Err(Problem::Damaged(_))), "{what}");
    }
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    // 600 MB of zeros.
    let mut bomb = export::SCOPE_MAGIC.to_vec();
    bomb.extend(1u32.to_le_bytes());
    bomb.extend(zstd::encode_all(Read::take(std::io::repeat(0), 600 << 20), 1).unwrap());
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(read(&bomb), Err(Problem::TooLarge { .. })));

    // Lengths in a puffin file that promise gigabytes.
    let frame = |meta: &[u8], kind: u8, packed: &[u8], scopes: &[u8]| {
        let mut f = b"PUF0PFD4".to_vec();
        f.extend((meta.len() as u32).to_le_bytes());
        f.extend(meta);
        f.extend((packed.len() as u32).to_le_bytes());
        f.push(kind);
        f.extend(packed);
        f.extend((scopes.len() as u32).to_le_bytes());
        f.extend(scopes);
        f
    };
    let meta = [0, 0, 0, 0, 0];
    let mut lz4 = u32::MAX.to_le_bytes().to_vec();
    lz4.extend([0; 16]);
    assert!(matches!(read(&frame(&meta, 1, &lz4, &[0])), Err(Problem::TooLarge { .. })));
    let huge = [253, 255, 255, 255, 255, 255, 255, 255, 255];
    assert!(read(&frame(&meta, 0, &huge, &[0])).is_err());
    assert!(read(&frame(&meta, 0, &[0], &[&[1, 0, 1][..], &huge].concat())).is_err());
    assert!(read(&frame(&huge, 0, &[0], &[0])).is_err());
    // A million scopes within each other: no recursion anywhere.
    let depth = 1_000_000;
    let mut stream = Vec::new();
    for _ in 0..depth {
        stream.extend([&b"("[..], &[1, 0, 0, 0], &5i64.to_le_bytes(), &[0], &0i64.to_le_bytes()].concat());
    }
    for _ in 0..depth {
        stream.extend([&b")"[..], &9i64.to_le_bytes()].concat());
    }
    let mut streams = vec![1, 0, 1, b't', 252];
    streams.extend((stream.len() as u32).to_le_bytes());
    streams.extend(stream);
    streams.extend([0, 0, 0, 0]);
    let trace = read(&frame(&meta, 0, &streams, &[0])).unwrap();
    assert_eq!(trace.spans.len(), depth);
    assert!(read(&[b'['; 100_000]).is_err());
    assert!(read(&[&b"{\"traceEvents\":"[..], &[b'['; 100_000]].concat()).is_err());
}

#[test]
fn cut_files_never_panic() {
    let mut random = Random::fresh();
    let trace = fixtures::random(&mut random);
    for extension in ["scope", "puffin", "json"] {
        let whole = bytes(&trace, extension);
        for n in 0..whole.len() {
            match read(&whole[..n]) {
                // Chrome's format allows a missing end, puffin's ends after any frame.
                Ok(t) => assert!(extension != "scope" && check(&t).is_ok(), "cut at {n}, seed {}", random.seed),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut random = Random::fresh();
    let trace = fixtures::random(&mut random);
    let packed = rmp_serde::to_vec_named(&trace).unwrap();
    for (extension, rounds) in [("scope", 2_000), ("puffin", 4_000), ("json", 2_000), ("", 6_000)] {
        let whole = if extension.is_empty() { packed.clone() } else { bytes(&trace, extension) };
        for _ in 0..rounds {
            let mut file = whole.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(file.len() as u64) as usize;
                match random.below(3) {
                    0 => file[at] = random.bits() as u8,
                    1 => file[at] ^= 1 << random.below(8),
                    _ => file[at] = [0, 0xff, 0x7f, 0x80, b'"', 0xdf, 0xdd, 253][random.below(8) as usize],
                }
            }
            // Inside of the compression, which would catch nearly every change.
            if extension.is_empty() {
                let content = zstd::encode_all(&file[..], 1).unwrap();
                file = [&export::SCOPE_MAGIC[..], &1u32.to_le_bytes(), &content].concat();
            }
            if let Ok(t) = read(&file) {
                check(&t).unwrap();
                // What reads traces must stand whatever got through.
                t.layer_stats();
                crate::Audit::of(&t);
                t.memory.timeline(t.layers.len());
                if random.below(20) == 0 {
                    for format in export::FORMATS {
                        bytes(&t, format.extension);
                    }
                }
            }
        }
    }
    for _ in 0..2_000 {
        let noise: Vec<u8> = (0..random.below(200)).map(|_| random.bits() as u8).collect();
        for start in [&b""[..], b"PUF0PFD4", b"STRATOSCOPE\0\x01\0\0\0", b"{\"traceEvents\":["] {
            let _ = read(&[start, &noise].concat());
        }
    }
}

#[test]
fn what_is_no_trace_says_so() {
    let message = open(Path::new("/nonexistent/t.scope")).unwrap_err().to_string();
    assert!(message.contains("/nonexistent/t.scope"), "{message}");
    assert!(matches!(open(Path::new("/")).unwrap_err().problem, Problem::NotAFile));
    for bytes in [&b""[..], b"hello", b"{}", b"[]", b"STRATOSCOPE"] {
        let message = read(bytes).unwrap_err().to_string();
        assert!(message.contains("Chrome trace"), "{message}");
    }
}

#[test]
fn the_live_feed_sends_each_run_once() {
    use std::sync::{Arc, Mutex};
    let frames: Arc<Mutex<Vec<Arc<::puffin::FrameData>>>> = Arc::default();
    let sink = Arc::clone(&frames);
    let id = export::puffin::Live::add_sink(Box::new(move |f| sink.lock().unwrap().push(f)));
    let mut live = export::puffin::Live::new();
    let mut r = crate::Recorder::new(std::time::Instant::now());
    r.set_layers(vec![crate::Layer { name: "one".into(), op: "MatMul".into(), ..Default::default() }]);
    let cpu = r.track("CPU", crate::TrackKind::Cpu);
    for run in 0..3 {
        r.begin_run_at(run * 100, false);
        r.layer(cpu, LayerId(0), run * 100 + 10, run * 100 + 20, Quality::Cpu);
        r.end_run_at(run * 100 + 50);
        live.update(r.so_far());
        live.update(r.so_far());
    }
    export::puffin::Live::remove_sink(id);
    live.update(&fixtures::one_layer());
    let frames = frames.lock().unwrap();
    assert_eq!(frames.iter().map(|f| f.meta().num_scopes).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(frames.iter().map(|f| f.range_ns()).collect::<Vec<_>>(), [(0, 50), (100, 150), (200, 250)]);
    let mut names: Vec<_> = frames[0].scope_delta.iter().map(|s| s.name().to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["MatMul", "run"], "the first frame names the scopes");
}
