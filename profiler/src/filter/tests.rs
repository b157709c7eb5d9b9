use super::*;
use crate::fixtures::{self, Random};
use crate::{OpClass, Severity, Summary};

fn layer() -> Layer {
    Layer {
        name: "encoder/layer.3/attention/query".into(),
        op: "MatMul+Bias".into(),
        class: OpClass::MatMul,
        scope: "encoder/layer.3/attention".into(),
        source_nodes: vec!["/query/MatMul".into(), "/query/Add".into()],
        device: "cpu".into(),
        flops: Some(40_000_000),
        bytes_read: Some(1 << 20),
        bytes_written: Some(1 << 10),
        weight_bytes: 600_000,
        ..Layer::default()
    }
}

fn stats() -> LayerStats {
    let time = Summary { median: 2e6, p90: 2.5e6, p99: 4e6, mad: 1e5, count: 20, ..Summary::default() };
    LayerStats { layer: crate::LayerId(0), time, share: 0.05, runs: 20, rejected: 0, wall: false }
}

fn passes(text: &str) -> bool {
    let (layer, stats) = (layer(), stats());
    let badges = [Badge { severity: Severity::Warn, title: "noisy".into(), detail: String::new() }];
    let subject = Subject {
        layer: &layer,
        label: "layer.3/query",
        stats: Some(&stats),
        memory_bytes: Some(1e6),
        error_db: Some(18.5),
        ceiling: Some(0.4),
        badges: &badges,
    };
    Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&subject)
}

#[test]
fn filters_say_what_they_mean() {
    let yes = [
        "",
        "  ",
        "matmul",
        "QUERY",
        "op:MatMul time>1ms",
        "op:matmul and time > 1 ms",
        "scope:layer.3 share>2%",
        "type:attention",
        "name:/query",
        "-op:Reshape",
        "not op:reshape",
        "error<20dB",
        "error < 20",
        "op:reshape or op:matmul",
        "op=matmul+bias",
        "-op=matmul",
        "op!=matmul",
        "(op:reshape or time>=2ms) (share<6% or nothing)",
        "time=2000us time=2000\u{b5}s time:0.002s time>1.9e6ns",
        "p99>3ms p90<3ms spread=5%",
        "flops>39.9M flops<0.1G flops=40000k rate=20G rate>19GFLOP/s",
        "bytes>1MiB bytes<2MB bytes>=1024KiB bandwidth>100MB/s",
        "memory=1MB weights=600KB weights=600000 memory=1000k",
        "ceiling>39.9% trust:noisy node:add device:cpu",
        "\"layer.3/query\"",
        "name:\"layer.3/query\"",
        "EXAMPLE or OP:MATMUL",
        "--op:matmul",
        "-(op:reshape or time<1ms)",
    ];
    for text in yes {
        assert!(passes(text), "{text}");
    }
    let no = [
        "reshape",
        "-matmul",
        "time<1ms",
        "op:matmul time<1ms",
        "share>5%",
        "type:mlp",
        "error>20dB",
        "op=matmul",
        "class=attention",
        "trust:rejected",
        "op:matmul -(share>1%)",
        "time!=2ms",
    ];
    for text in no {
        assert!(!passes(text), "{text}");
    }
    for text in EXAMPLES {
        assert!(!Filter::parse(text).unwrap().is_empty(), "{text}");
    }
}

#[test]
fn an_unknown_figure_passes_no_comparison() {
    let layer = Layer::default();
    let bare = Subject {
        layer: &layer,
        label: "",
        stats: None,
        memory_bytes: None,
        error_db: Some(f64::NAN),
        ceiling: None,
        badges: &[],
    };
    for (name, field, _) in FIELDS {
        let Field::Figure(figure) = field else { continue };
        for sign in ["<", "<=", "=", "!=", ">=", ">"] {
            let text = format!("{name}{sign}1{}", figure.units()[0].0);
            let filter = Filter::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(figure == Figure::Weights || !filter.matches(&bare), "{text}");
        }
    }
}

#[test]
fn errors_name_the_place_and_what_to_do() {
    for (text, at, words) in [
        ("foo:bar", 0, "no field \"foo\""),
        ("op:MatMul  colour=red", 11, "no field \"colour\""),
        ("time>", 5, "compared with nothing"),
        ("time>(", 5, "compared with nothing"),
        ("time>fast", 5, "is a figure"),
        ("time>NaN", 5, "is a figure"),
        ("time>1e999s", 5, "is a figure"),
        ("time>1", 5, "needs a unit: ns, us, ms or s"),
        ("time>1 kb", 5, "needs a unit"),
        ("share>2", 6, "needs a unit: %"),
        ("time>1kb", 5, "\"kb\" is no unit of time"),
        ("bytes>1ms", 6, "no unit of bytes"),
        ("time>1.2.3ms", 5, "no unit"),
        ("op>MatMul", 2, "op is text"),
        ("a \"b", 2, "quote does not end"),
        ("a (b or (c)", 2, "not closed"),
        ("a) b", 1, "nothing before it"),
        ("()", 1, "missing here"),
        ("or a", 0, "missing here"),
        ("a or", 4, "missing here"),
        ("a and", 5, "missing here"),
        ("a or or b", 5, "missing here"),
        (": a", 0, "\":\" has nothing before it"),
        ("a (= b)", 3, "\"=\" has nothing before it"),
        ("not", 3, "missing here"),
        ("\u{e9}\u{e9} foo:1", 3, "no field \"foo\""),
    ] {
        let e = Filter::parse(text).expect_err(text);
        assert_eq!(e.at, at, "{text}: {e}");
        let message = e.to_string();
        assert!(message.contains(words) && message.contains(&format!("character {}", at + 1)), "{text}: {message}");
    }
    for deep in ["(".repeat(100_000), "-".repeat(100_000) + "a", "not ".repeat(100_000) + "a"] {
        assert_eq!(Filter::parse(&deep).map_err(|e| e.problem), Err(FilterProblem::TooDeep));
    }
}

fn random_filter(r: &mut Random, depth: usize) -> Filter {
    let parts = |r: &mut Random| (0..2 + r.below(2)).map(|_| random_filter(r, depth + 1)).collect();
    match r.below(if depth > 4 { 2 } else { 5 }) {
        0 => {
            let pieces = ["matmul", "/", "\"", "\\", " ", "or", "(", ":", "\u{e9}", "-", ""];
            let text = (0..r.below(4)).map(|_| pieces[r.below(11) as usize]).collect();
            let fields: Vec<TextField> = FIELDS
                .iter()
                .filter_map(|f| match f.1 {
                    Field::Text(t) => Some(t),
                    Field::Figure(_) => None,
                })
                .collect();
            let field = (r.below(3) > 0).then(|| fields[r.below(fields.len() as u64) as usize]);
            Filter::Text { field, text, whole: field.is_some() && r.below(2) == 0 }
        }
        1 => {
            let figures: Vec<Figure> = FIELDS
                .iter()
                .filter_map(|f| match f.1 {
                    Field::Figure(f) => Some(f),
                    Field::Text(_) => None,
                })
                .collect();
            let signs =
                [Compare::Less, Compare::AtMost, Compare::Equal, Compare::NotEqual, Compare::AtLeast, Compare::More];
            let value = [0.0, 0.1, 1e-9, 123_456.789, -3.5, 1e21][r.below(6) as usize] * r.unit();
            Filter::Figure(figures[r.below(figures.len() as u64) as usize], signs[r.below(6) as usize], value)
        }
        2 => Filter::Not(Box::new(random_filter(r, depth + 1))),
        3 => Filter::All(parts(r)),
        _ => Filter::Any(parts(r)),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut r = Random::fresh();
    for _ in 0..2000 {
        let filter = random_filter(&mut r, 0);
        let text = filter.to_string();
        assert_eq!(Filter::parse(&text), Ok(filter), "{text} seed {}", r.seed);
    }
}

#[test]
fn nonsense_is_refused_without_harm() {
    const PIECES: [&str; 24] = [
        "(",
        ")",
        "\"",
        "\\",
        ":",
        "<",
        ">=",
        "!=",
        "!",
        "=",
        "-",
        "or",
        "and",
        "not",
        "time",
        "op",
        "1",
        "ms",
        "%",
        " ",
        "  ",
        "\u{3bc}s",
        "\u{1f600}",
        "1e",
    ];
    let mut r = Random::fresh();
    let trace = fixtures::random(&mut r);
    let stats = trace.layer_stats();
    for _ in 0..20_000 {
        let text: String = (0..r.below(12)).map(|_| PIECES[r.below(PIECES.len() as u64) as usize]).collect();
        match Filter::parse(&text) {
            Ok(filter) => {
                for layer in &trace.layers {
                    let subject = Subject {
                        layer,
                        label: &layer.name,
                        stats: stats.first(),
                        memory_bytes: None,
                        error_db: None,
                        ceiling: None,
                        badges: &[],
                    };
                    // Its negation says the opposite.
                    let not = Filter::Not(Box::new(filter.clone()));
                    assert_ne!(filter.matches(&subject), not.matches(&subject), "{text}");
                }
            }
            Err(e) => assert!(e.at <= text.chars().count(), "{text}: {e}"),
        }
    }
}
