//! The report for a terminal.

use profiler::compare::TimeChange;
use profiler::compare::gate::Answer;

use super::super::table::{Table, shorten};
use super::{Report, word};
use crate::comparison::{self, bare_interval, signed, signed_duration, size, size_change, time};
use crate::format;

pub fn table(r: &Report<'_>) -> String {
    let (c, t) = (r.comparison, &r.comparison.totals);
    let mut out = format!("{}\n{}\n\n", comparison::answer(c), comparison::because(c));
    let mut sides = Table::headless("ll");
    for (what, name, trace) in [("baseline", &r.names[0], r.baseline), ("current", &r.names[1], r.current)] {
        sides.row([what.to_owned(), format!("{name}: {} on {}", trace.meta.model, trace.meta.device)]);
    }
    for d in &c.differences {
        sides.row([d.what.to_owned(), format!("{} → {}", d.baseline, d.current)]);
    }
    out += &sides.to_string();

    let mut sums = Table::new(&["", "BASELINE", "CURRENT", "CHANGE", "", "INTERVAL", "VERDICT"], "lrrrrll");
    let mut add = |name: &str, change: &TimeChange| {
        sums.row([
            name.to_owned(),
            time(change.baseline),
            time(change.current),
            signed_duration(change.difference_ns),
            signed(change),
            bare_interval(change),
            change.verdict.label().to_owned(),
        ]);
    };
    if t.headline_unprofiled {
        add("latency, recording off", &t.headline);
    }
    add("latency, recorded", &t.end_to_end);
    add("all layers", &t.layers);
    let empty = String::new;
    let mut plain = |name: &str, [a, b]: [f64; 2], why: &str| {
        let change = signed_duration(b - a);
        sums.row([name.to_owned(), format::duration(a), format::duration(b), change, empty(), empty(), why.to_owned()]);
    };
    plain("sum of the rows", t.rows_ns, "");
    if let Some([gap, outside]) = comparison::residual(c) {
        plain("gap of medians", gap, "they do not add up");
        plain("outside of layers", outside, "");
    }
    for (name, s) in [("planned peak", &t.peak), ("weights", &t.weights), ("activations", &t.activations)] {
        sums.row([name.to_owned(), size(s.baseline), size(s.current), size_change(s), empty(), empty(), empty()]);
    }
    out += &format!("\n{sums}");

    let mut rows =
        Table::new(&["LAYER", "OPERATORS", "BASELINE", "CURRENT", "CHANGE", "", "INTERVAL", "VERDICT"], "llrrrrll");
    for row in r.top() {
        rows.row([
            shorten(&row.name, 44),
            shorten(&comparison::operators(row), 32),
            time(row.time.baseline),
            time(row.time.current),
            signed_duration(row.time.difference_ns),
            signed(&row.time),
            bare_interval(&row.time),
            row.time.verdict.label().to_owned(),
        ]);
    }
    out += &format!("\n{rows}");
    if c.rows.len() > r.rows {
        out += &format!("{} more; --rows N shows more\n", format::plural(c.rows.len() - r.rows, "row"));
    }
    let judgements = judgements(r);
    if !judgements.is_empty() {
        out += &format!("\n{}\n", judgements.join("\n"));
    }
    out += "\n";
    for note in &c.assumptions {
        out += &format!("note: {note}\n");
    }
    out
}

/// Each condition with what it found.
pub fn judgements(r: &Report<'_>) -> Vec<String> {
    const MOST: usize = 8;
    let mut lines = Vec::new();
    for j in r.judgements {
        lines.push(format!("{}: {}", word(j.answer), j.condition));
        for f in j.findings.iter().take(MOST) {
            let open = if f.answer == Answer::Open && j.answer == Answer::Yes { " (no verdict)" } else { "" };
            lines.push(format!("  {}{open}", comparison::finding(f, r.comparison.options.confidence)));
        }
        if j.findings.len() > MOST {
            lines.push(format!("  and {} more", j.findings.len() - MOST));
        }
    }
    lines
}
