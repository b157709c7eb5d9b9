//! The report for a comment on a pull request.

use profiler::compare::gate::Answer;
use profiler::compare::{Row, TimeChange};

use super::Report;
use crate::comparison::{self, bare_interval, signed, signed_duration, size, size_change, time};
use crate::format;

/// A comment holds 65,536 characters at most; this leaves room for names of some length.
const MOST_ROWS: usize = 120;

pub fn comment(r: &Report<'_>) -> String {
    let (c, t) = (r.comparison, &r.comparison.totals);
    let mut out = format!("### Inference of {}: {}\n\n", code(&r.current.meta.model), comparison::short_answer(c));
    out += &format!("**{}.** {}\n\n", comparison::answer(c), plain(&comparison::because(c)));
    if !r.judgements.is_empty() {
        out += "| Condition that must not hold | Outcome | Found |\n|---|---|---|\n";
        for j in r.judgements {
            let outcome = match j.answer {
                Answer::Yes => "**holds**",
                Answer::Open => "no verdict",
                Answer::No => "does not hold",
            };
            let found: Vec<String> =
                j.findings.iter().take(5).map(|f| plain(&comparison::finding(f, c.options.confidence))).collect();
            let more = j.findings.len().saturating_sub(5);
            let more = if more > 0 { format!("<br>and {more} more") } else { String::new() };
            out += &format!("| {} | {outcome} | {}{more} |\n", code(&j.condition), found.join("<br>"));
        }
        out += "\n";
    }
    out += "| | Baseline | Current | Change | Interval | Verdict |\n|---|--:|--:|--:|--:|---|\n";
    let mut add = |name: &str, change: &TimeChange| {
        out += &format!(
            "| {name} | {} | {} | {} ({}) | {} | {} |\n",
            time(change.baseline),
            time(change.current),
            signed_duration(change.difference_ns),
            signed(change),
            bare_interval(change),
            change.verdict.label()
        );
    };
    add(if t.headline_unprofiled { "Latency, recording off" } else { "Latency" }, &t.headline);
    add("All layers", &t.layers);
    for (name, s) in [("Planned peak", &t.peak), ("Weights", &t.weights), ("Activations", &t.activations)] {
        out += &format!("| {name} | {} | {} | {} | | |\n", size(s.baseline), size(s.current), size_change(s));
    }
    let order = comparison::by_change(c);
    let told = |row: &&Row| !row.time.verdict.is_open() && row.time.verdict != profiler::compare::Verdict::NoChange;
    let top: Vec<&Row> = order.iter().map(|&i| &c.rows[i]).filter(told).take(10).collect();
    if top.is_empty() {
        out += "\nNo layer changed beyond noise.\n";
    } else {
        out += &format!("\nLargest changes of layers beyond noise:\n\n{}", rows(&top));
    }
    let shown = order.len().min(MOST_ROWS);
    let all: Vec<&Row> = order.iter().take(MOST_ROWS).map(|&i| &c.rows[i]).collect();
    let head = if shown == order.len() {
        format!("All {}", format::plural(shown, "row"))
    } else {
        format!("The first {shown} of {}", format::plural(order.len(), "row"))
    };
    out += &format!("\n<details><summary>{head}</summary>\n\n{}\n</details>\n", rows(&all));
    out += "\n<details><summary>Settings and assumptions</summary>\n\n";
    if !c.differences.is_empty() {
        out += "| Setting | Baseline | Current |\n|---|---|---|\n";
        for d in &c.differences {
            out += &format!("| {} | {} | {} |\n", d.what, plain(&d.baseline), plain(&d.current));
        }
        out += "\n";
    }
    for note in &c.assumptions {
        out += &format!("- {}\n", plain(note));
    }
    out += &format!(
        "- Intervals hold the change of the median with {} confidence; verdicts of rows are corrected for their number.\n",
        comparison::share(c.options.confidence)
    );
    out += "\n</details>\n";
    out
}

fn rows(rows: &[&Row]) -> String {
    let mut out =
        "| Layer | Operators | Baseline | Current | Change | Interval | Verdict |\n|---|---|--:|--:|--:|--:|---|\n"
            .to_owned();
    for row in rows {
        let t = &row.time;
        out += &format!(
            "| {} | {} | {} | {} | {} ({}) | {} | {} |\n",
            code(&row.name),
            plain(&comparison::operators(row)),
            time(t.baseline),
            time(t.current),
            signed_duration(t.difference_ns),
            signed(t),
            bare_interval(t),
            t.verdict.label()
        );
    }
    out
}

/// A name in a cell of a table, as it is written: what ends the cell or the code is replaced.
fn code(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("`{}`", one_line.replace('`', "'").replace('|', "\\|"))
}

/// Words in a cell of a table.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '@' | '~' => out.extend(['\\', c]),
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
