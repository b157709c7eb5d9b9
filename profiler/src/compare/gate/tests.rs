use super::super::{Options, compare};
use super::*;
use crate::Trace;
use crate::fixtures::{self, Random};

#[test]
fn conditions_are_read() {
    let c = parse("latency.p50 > +5%").unwrap();
    let test = |comparator, ask, limit| Test { comparator, ask, limit };
    let above = Comparator::Above;
    assert_eq!(
        c,
        Condition::Clause(Subject::Latency(LatencyFigure::P50), Tests(vec![vec![test(above, Ask::Relative, 0.05)]]))
    );
    let c = parse("layer:*.time > +20% and > 50us").unwrap();
    let tests = vec![vec![test(above, Ask::Relative, 0.2), test(above, Ask::Value, 50_000.0)]];
    let subject = Subject::Layer("*".into(), LayerFigure::Time);
    assert_eq!(c, Condition::Clause(subject, Tests(tests)));
    // `and` binds tighter than `or`; tests without a subject stay with the last one.
    let c = parse("total > 1ms or memory.peak >= +1MiB and memory.weights<2 GB").unwrap();
    let Condition::Any(parts) = c else { panic!("{c:?}") };
    assert!(matches!((&parts[0], &parts[1]), (Condition::Clause(..), Condition::All(all)) if all.len() == 2));
    let c = parse("(total > 1ms or total < -1ms) and op:\"Mat Mul (x)\".memory > -3 kB or <= 5B").unwrap();
    let Condition::All(parts) = c else { panic!("{c:?}") };
    let Condition::Clause(subject, Tests(tests)) = &parts[1] else { panic!("{parts:?}") };
    assert_eq!(*subject, Subject::Operator("Mat Mul (x)".into(), LayerFigure::Memory));
    assert_eq!(tests[0][0], test(above, Ask::Change, -3000.0));
    assert_eq!(tests[1][0], test(Comparator::AtMost, Ask::Value, 5.0));
    let c = parse("layer:encoder/layer.3/*.error < -3dB").unwrap();
    assert!(matches!(c, Condition::Clause(Subject::Layer(p, LayerFigure::Error), _) if p == "encoder/layer.3/*"));
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    for (text, place, words) in [
        ("", 1, "subject is missing"),
        ("latency.p51 > 5%", 1, "latency.p50"),
        ("latency.p50", 12, "comparison is missing"),
        ("latency.p50 > ", 15, "amount is missing"),
        ("latency.p50 > 5", 16, "unit is missing: %, ns"),
        ("latency.p50 > 5 and total > 1ms", 17, "unit is missing"),
        ("latency.p50 > 5MB", 16, "not measured in MB"),
        ("memory.peak > 5 parsecs", 17, "no unit \"parsecs\""),
        ("layer:*.error > 5%", 18, "use dB"),
        ("layer:*.colour > 5%", 1, ".time, .memory or .error"),
        ("op:*.error > 5dB", 1, ".time or .memory"),
        ("layer:.time > 5%", 1, "pattern is missing"),
        ("layer:\"a > 5%", 7, "a \" is missing"),
        ("(total > 1ms", 13, "a ) is missing"),
        ("total > 1ms total", 13, "does not belong here"),
        ("total > 1.2.3ms", 9, "no number"),
        ("é > 5%", 1, "no subject"),
        ("total > 1ms and é", 17, "no subject"),
    ] {
        let e = parse(text).unwrap_err();
        assert_eq!(e.place, place, "{e}");
        assert!(e.to_string().contains(words), "{e}");
    }
    assert_eq!(parse(&"(".repeat(200)).unwrap_err().problem, Problem::TooDeep);
    assert_eq!(parse(&"x".repeat(5000)).unwrap_err().problem, Problem::TooLong);
}

#[test]
fn no_text_makes_it_panic() {
    let mut random = Random::fresh();
    let parts = [
        "layer:", "op:", "*", ".time", "\"", "(", ")", "and", "or", ">", "<=", "+", "-", "5", ".", "%", "ms", "é", " ",
        "total", "−",
    ];
    for _ in 0..20_000 {
        let text: String = (0..random.below(12)).map(|_| parts[random.below(parts.len() as u64) as usize]).collect();
        let _ = parse(&text);
    }
}

#[test]
fn patterns() {
    for (pattern, name, want) in [
        ("*", "", true),
        ("*", "a/b", true),
        ("a*c", "abbbc", true),
        ("a*c", "abbbd", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*query*", "/encoder/query/MatMul", true),
        ("/encoder/*", "encoder/x", true),
        ("*a*b", "aab", true),
        ("*a*b", "aaba", false),
        ("é?", "éx", true),
    ] {
        assert_eq!(matches(pattern, name), want, "{pattern} {name}");
    }
}

/// The transformer, with all times from `from` on made longer.
fn slowed(trace: &Trace, share: f64) -> Trace {
    let mut t = trace.clone();
    let scale = |v: &mut u64| *v = (*v as f64 * (1.0 + share)) as u64;
    t.runs.iter_mut().for_each(|r| {
        scale(&mut r.start_ns);
        scale(&mut r.end_ns);
    });
    t.spans.start_ns.iter_mut().for_each(scale);
    t.spans.end_ns.iter_mut().for_each(scale);
    t.meta.unprofiled_ns.iter_mut().for_each(scale);
    t
}

fn answers(a: &Trace, b: &Trace, texts: &[&str]) -> Vec<Answer> {
    let c = compare(a, b, Options::default(), &mut |_| true).unwrap();
    texts.iter().map(|t| evaluate(t, &c).unwrap().answer).collect()
}

#[test]
fn a_regression_holds_and_the_same_does_not() {
    let a = fixtures::transformer(2, 20, 1);
    let texts = [
        "latency.p50 > +5%",
        "latency.p90 > +5%",
        "latency.mean > +5%",
        "layer:*.time > +20%",
        "layer:*query.time > +5% and > 1us",
        "op:MatMul*.time > +5%",
        "total > +5%",
        "memory.peak > +1%",
        "memory.peak > 1B",
        "latency.p50 > 1ns",
        "latency.p50 < -5%",
        "latency.p50 > +5% and memory.peak > +1%",
        "latency.p50 > +5% or memory.peak > +1%",
        "layer:*.error < -1dB",
        "layer:*.error < 1000dB",
    ];
    use Answer::{No, Yes};
    assert_eq!(
        answers(&a, &slowed(&a, 0.1), &texts),
        [Yes, Yes, Yes, No, Yes, Yes, Yes, No, Yes, Yes, No, No, Yes, No, Yes]
    );
    let same = answers(&a, &a, &texts);
    assert_eq!(same, [No, No, No, No, No, No, No, No, Yes, Yes, No, No, No, No, Yes]);
}

#[test]
fn noise_few_runs_and_ignorance_leave_it_open() {
    let a = fixtures::transformer(2, 4, 1);
    let texts = ["latency.p50 > +5%", "layer:*.time > +5%", "layer:*.time > +20%", "layer:nothing*.time > +5%"];
    use Answer::{No, Open};
    assert_eq!(answers(&a, &slowed(&a, 0.1), &texts), [Open, Open, No, Open]);
    let mut silent = a.clone();
    silent.accuracy.clear();
    silent.memory = crate::Memory::default();
    assert_eq!(answers(&a, &silent, &["layer:*.error < -1dB", "memory.peak > +5%"]), [Open, Open]);
    let c = compare(&a, &slowed(&a, 0.1), Options::default(), &mut |_| true).unwrap();
    let j = evaluate("layer:*query.time > +5%", &c).unwrap();
    assert_eq!(j.findings.len(), 2);
    assert!(j.findings.iter().all(|f| f.answer == Open && f.name.contains("query")));
}
