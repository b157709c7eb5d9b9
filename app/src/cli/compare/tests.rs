use super::*;
use profiler::compare::compare;
use profiler::fixtures;

const NASTY: &str = "a|b`c<d>&\"e'\u{1}\n]]>é";

/// The fixture with its longest layer twice as slow and named so that every format must escape it.
fn pair() -> (Trace, Trace) {
    let mut a = fixtures::transformer(2, 20, 1);
    let longest = a.layer_stats().into_iter().max_by(|a, b| a.share.total_cmp(&b.share)).unwrap().layer;
    a.layers[longest.index()].name = NASTY.to_owned();
    a.meta.model = NASTY.to_owned();
    let mut b = a.clone();
    // Later spans overlap it now; only durations matter here.
    for i in 0..b.spans.len() {
        if b.spans.layer[i] == Some(longest) {
            b.spans.end_ns[i] += b.spans.end_ns[i] - b.spans.start_ns[i];
        }
    }
    b.meta.unprofiled_ns.iter_mut().for_each(|v| *v = *v * 11 / 10);
    b.meta.precision = NASTY.to_owned();
    (a, b)
}

fn with_report(conditions: &[&str], then: impl FnOnce(&Report<'_>)) {
    let (baseline, current) = pair();
    let comparison = compare(&baseline, &current, Options::default(), &mut |_| true).unwrap();
    let judgements: Vec<Judgement> = conditions.iter().map(|c| gate::evaluate(c, &comparison).unwrap()).collect();
    let names = ["a.scope".to_owned(), NASTY.to_owned()];
    then(&Report {
        baseline: &baseline,
        current: &current,
        names,
        comparison: &comparison,
        judgements: &judgements,
        rows: 5,
    });
}

const CONDITIONS: [&str; 3] = ["latency.p50 > +5%", "layer:*.time > +50% and > 1us", "layer:nosuch*.time > 5%"];
const FINE: &str = "memory.peak > +5%";

/// Element names with their attributes, in order; panics where the text is no XML.
fn elements(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for event in xml::EventReader::from_str(xml) {
        if let xml::reader::XmlEvent::StartElement { name, attributes, .. } = event.expect("well-formed XML") {
            let attributes = attributes.into_iter().map(|a| (a.name.local_name, a.value)).collect();
            found.push((name.local_name, attributes));
        }
    }
    found
}

#[test]
fn junit_is_xml_and_each_condition_a_case() {
    let conditions = [CONDITIONS[0], CONDITIONS[1], "layer:\"a|b*\".time > 9 s", FINE];
    with_report(&conditions, |r| {
        let found = elements(&junit::xml(r));
        let count = |name: &str| found.iter().filter(|e| e.0 == name).count();
        assert_eq!((count("testcase"), count("failure"), count("skipped")), (4, 2, 0));
        let suite = &found.iter().find(|e| e.0 == "testsuite").unwrap().1;
        let of = |name: &str| suite.iter().find(|a| a.0 == name).unwrap().1.clone();
        assert_eq!((of("tests"), of("failures"), of("skipped")), ("4".into(), "2".into(), "0".into()));
        let case = &found.iter().find(|e| e.0 == "testcase").unwrap().1;
        assert!(case.contains(&("name".to_owned(), CONDITIONS[0].to_owned())), "{case:?}");
    });
    with_report(&["layer:nothing.time > 5%"], |r| {
        let found = elements(&junit::xml(r));
        let skipped = found.iter().find(|e| e.0 == "skipped").unwrap();
        assert!(skipped.1[0].1.contains("no layer matches"), "{skipped:?}");
    });
    with_report(&[], |r| {
        assert_eq!(elements(&junit::xml(r)).iter().filter(|e| e.0 == "testcase").count(), 1);
    });
}

#[test]
fn markdown_tables_keep_their_columns_whatever_the_names() {
    with_report(&[CONDITIONS[0], CONDITIONS[1], FINE], |r| {
        let text = markdown::comment(r);
        assert!(text.starts_with("### Inference of `a\\|b'c<d>"), "{text}");
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        let mut columns = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            let bars = line.replace("\\|", "").matches('|').count();
            assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
        }
        assert!(text.contains("**holds**") && text.contains("does not hold"), "{text}");
        assert!(text.len() < 65_536);
    });
}

#[test]
fn json_tells_names_verdicts_and_the_exit_code() {
    with_report(&CONDITIONS, |r| {
        let v = r.json().unwrap();
        assert_eq!((v["schema"].as_str(), v["exit_code"].as_u64()), (Some("stratoscope-compare-1"), Some(1)));
        assert_eq!(v["verdict"], "slower");
        let rows = v["rows"].as_array().unwrap();
        assert_eq!(rows.len(), r.comparison.rows.len());
        let nasty = rows.iter().find(|r| r["name"] == NASTY).unwrap();
        assert_eq!((&nasty["current"][0], &nasty["time"]["verdict"]), (&json!(NASTY), &json!("slower")));
        assert!(nasty["time"]["interval_ns"][0].as_f64().unwrap() > 0.0);
        assert_eq!(v["conditions"][2]["answer"], "open");
        assert_eq!(v["totals"]["residual_ns"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn the_table_shows_the_answer_the_sums_and_what_changed_most() {
    with_report(&CONDITIONS, |r| {
        let text = text::table(r);
        assert!(text.starts_with("10.0% slower, 95% interval"), "{text}");
        for words in [
            "gap of medians",
            "outside of layers",
            "planned peak",
            "FAIL: latency.p50 > +5%",
            "no verdict: layer:nosuch",
            "note: ",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.contains("more; --rows N"), "{text}");
        assert_eq!(r.outcome(), Outcome::CheckFailed);
    });
    with_report(&[CONDITIONS[2]], |r| assert_eq!(r.outcome(), Outcome::NoVerdict));
    with_report(&[FINE], |r| assert_eq!(r.outcome(), Outcome::Fine));
}

#[test]
fn options_are_read() {
    assert_eq!(parse_margin("2%"), Ok(0.02));
    assert_eq!(parse_margin("0.5"), Ok(0.005));
    for bad in ["-1%", "nan", "x", ""] {
        assert!(parse_margin(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_confidence("0.99"), Ok(0.99));
    for bad in ["1", "0.2", "nan", "95"] {
        assert!(parse_confidence(bad).is_err(), "{bad}");
    }
}
