//! A comparison in words: the same for the window, the terminal and reports.

use profiler::compare::gate::{Figure, Finding};
use profiler::compare::{Comparison, Row, SizeChange, TimeChange, Verdict};

use crate::format::{self, UNKNOWN};

/// Layers are named as explaining a change once they make up this share of it.
const EXPLAINED: f64 = 0.8;

/// The answer: `12.1% slower, 95% interval +9.00% to +15.0%`.
pub fn answer(c: &Comparison) -> String {
    let t = &c.totals.headline;
    let relative = t.relative.map_or(UNKNOWN.to_owned(), |r| format::percent(r.abs()));
    let interval = interval(t, c.options.confidence);
    match t.verdict {
        Verdict::Slower => format!("{relative} slower, {interval}"),
        Verdict::Faster => format!("{relative} faster, {interval}"),
        Verdict::NoChange => format!("No change within {}, {interval}", share(c.options.margin)),
        Verdict::NotMeasured => "No verdict: a side has no latency of whole runs".to_owned(),
        _ if t.interval_ns.is_none() => format!("No verdict: {} between too few runs", signed(t)),
        _ => format!("No verdict: {}, {interval}", signed(t)),
    }
}

/// A few words for a title: `12.1% slower`, `no verdict`.
pub fn short_answer(c: &Comparison) -> String {
    let t = &c.totals.headline;
    match (t.verdict, t.relative) {
        (Verdict::Slower | Verdict::Faster, Some(r)) => {
            format!("{} {}", format::percent(r.abs()), t.verdict.label())
        }
        (Verdict::NoChange, _) => format!("no change within {}", share(c.options.margin)),
        _ => "no verdict".to_owned(),
    }
}

/// Rows with a verdict, and the time by which they differ together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wins {
    /// How many rows the trace on show is faster in, and by how much.
    pub faster: (usize, f64),
    /// How many it is slower in.
    pub slower: (usize, f64),
    /// Rows of both sides without a verdict.
    pub open: usize,
}

/// Where each side wins. Rows that only one side has belong to neither.
pub fn wins(c: &Comparison) -> Wins {
    let mut wins = Wins::default();
    for row in &c.rows {
        match row.time.verdict {
            Verdict::Faster => wins.faster = (wins.faster.0 + 1, wins.faster.1 + row.time.difference_ns),
            Verdict::Slower => wins.slower = (wins.slower.0 + 1, wins.slower.1 + row.time.difference_ns),
            Verdict::New | Verdict::Gone => {}
            _ => wins.open += 1,
        }
    }
    wins
}

/// Where the change comes from, or why there is no verdict, in a sentence.
pub fn because(c: &Comparison) -> String {
    let t = &c.totals.headline;
    if !matches!(t.verdict, Verdict::Slower | Verdict::Faster) {
        return t.verdict.reason().to_owned();
    }
    let (named, share) = c.explaining(EXPLAINED);
    let rows_ns = c.totals.rows_ns[1] - c.totals.rows_ns[0];
    if named.is_empty() || rows_ns * t.difference_ns <= 0.0 {
        return "The layers do not account for it: the time is spent outside of them.".to_owned();
    }
    let layers = match named.len() {
        1 => c.rows[named[0]].name.clone(),
        n => format!("{} of {}", number_word(n), format::plural(c.rows.len(), "row")),
    };
    let verb = if named.len() == 1 { "explains" } else { "explain" };
    // What offsets the sum lets its parts be more than the whole of it.
    let share = format::percent(share.min(1.0));
    let list = match named.len() {
        2..=3 => {
            let names: Vec<&str> = named.iter().map(|&i| c.rows[i].name.as_str()).collect();
            format!(": {}", names.join(", "))
        }
        _ => String::new(),
    };
    capital(&format!("{layers} {verb} {share} of the change of the layers{list}."))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    // A layer's name keeps its own spelling.
    match chars.next() {
        Some(c)
            if ["two ", "three ", "four ", "five ", "six ", "seven ", "eight ", "nine "]
                .iter()
                .any(|w| text.starts_with(w)) =>
        {
            c.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn number_word(n: usize) -> String {
    const WORDS: [&str; 8] = ["two", "three", "four", "five", "six", "seven", "eight", "nine"];
    n.checked_sub(2).and_then(|i| WORDS.get(i)).map_or_else(|| format::grouped(n as u64), |w| (*w).to_owned())
}

/// `95% interval −1.20% to +3.40%`; with the time where there is no share.
pub fn interval(t: &TimeChange, confidence: f64) -> String {
    let (low, high) = match (t.relative_interval, t.interval_ns) {
        (Some((low, high)), _) => (format::percent_change(low), format::percent_change(high)),
        (None, Some((low, high))) => (signed_duration(low), signed_duration(high)),
        (None, None) => return "no interval".to_owned(),
    };
    format!("{} interval {low} to {high}", share(confidence))
}

/// A share that was asked for, with as many digits as it has: `95%`, `99.9%`.
pub fn share(share: f64) -> String {
    let digits = format!("{:.3}", share * 100.0);
    format!("{}%", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// The interval alone: `−1.20% to +3.40%`, or an em dash.
pub fn bare_interval(t: &TimeChange) -> String {
    match t.relative_interval {
        Some((low, high)) => format!("{} to {}", format::percent_change(low), format::percent_change(high)),
        None => UNKNOWN.to_owned(),
    }
}

/// The change as a share: `+3.20%`.
pub fn signed(t: &TimeChange) -> String {
    t.relative.map_or(UNKNOWN.to_owned(), format::percent_change)
}

/// `+1.20 ms`, `−400 ns`.
pub fn signed_duration(ns: f64) -> String {
    if ns > 0.0 { format!("+{}", format::duration(ns)) } else { format::duration(ns) }
}

/// `+1.20 MB`.
pub fn signed_bytes(bytes: f64) -> String {
    if bytes > 0.0 { format!("+{}", format::bytes(bytes)) } else { format::bytes(bytes) }
}

/// `+2.10 dB`.
pub fn signed_decibel(db: f64) -> String {
    if db > 0.0 { format!("+{}", format::decibel(db)) } else { format::decibel(db) }
}

/// A side's time, or an em dash.
pub fn time(side: Option<profiler::compare::Side>) -> String {
    side.map_or(UNKNOWN.to_owned(), |s| format::duration(s.ns))
}

/// A side's size, or an em dash.
pub fn size(bytes: Option<u64>) -> String {
    bytes.map_or(UNKNOWN.to_owned(), |b| format::bytes(b as f64))
}

/// The change of a size, or an em dash.
pub fn size_change(s: &SizeChange) -> String {
    match (s.difference(), s.relative()) {
        (Some(0), _) => "0 B".to_owned(),
        (Some(d), Some(r)) => format!("{} ({})", signed_bytes(d as f64), format::percent_change(r)),
        (Some(d), None) => signed_bytes(d as f64),
        (None, _) => UNKNOWN.to_owned(),
    }
}

/// The operators of both sides: `MatMul, Add → MatMul+Bias`, or one of them where they are the same.
pub fn operators(row: &Row) -> String {
    let (a, b) = (row.baseline_ops.join(", "), row.current_ops.join(", "));
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => a,
        _ => format!("{a} → {b}"),
    }
}

/// The error's change where one scheme is known on both sides: the worst.
pub fn worst_error(row: &Row) -> Option<(&str, f64)> {
    let known = row.errors.iter().filter_map(|e| Some((e.scheme.as_str(), e.difference_db()?)));
    known.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// What a condition found, in a line.
pub fn finding(f: &Finding, confidence: f64) -> String {
    let figures = match &f.figure {
        Figure::Time(t) => {
            format!("{}, {} → {}, {}", signed(t), time(t.baseline), time(t.current), interval(t, confidence))
        }
        Figure::Size(s) => format!("{} → {}, {}", size(s.baseline), size(s.current), size_change(s)),
        Figure::Error(e) => {
            let db = |v: Option<f64>| v.map_or(UNKNOWN.to_owned(), format::decibel);
            format!("{}: {} → {}", e.scheme, db(e.baseline_db), db(e.current_db))
        }
        Figure::Missing(why) => (*why).to_owned(),
    };
    format!("{}: {figures}", f.name)
}

/// What the rows' medians leave of the recorded latency, each for baseline and current: the median of all layers together
/// minus the sum of their medians, and what is outside of layers. `None` without whole runs on both sides.
pub fn residual(c: &Comparison) -> Option<[[f64; 2]; 2]> {
    let (layers, whole) = (&c.totals.layers, &c.totals.end_to_end);
    let layers = [layers.baseline?.ns, layers.current?.ns];
    let whole = [whole.baseline?.ns, whole.current?.ns];
    let rows = c.totals.rows_ns;
    Some([[layers[0] - rows[0], layers[1] - rows[1]], [whole[0] - layers[0], whole[1] - layers[1]]])
}

/// Rows by how much they changed, most first.
pub fn by_change(c: &Comparison) -> Vec<usize> {
    let mut order: Vec<usize> = (0..c.rows.len()).collect();
    let size = |i: usize| c.rows[i].time.difference_ns.abs();
    order.sort_by(|&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::compare::{Options, compare};
    use profiler::{Trace, fixtures};

    fn slower(trace: &Trace, share: f64) -> Trace {
        let mut t = trace.clone();
        t.meta.unprofiled_ns.iter_mut().for_each(|v| *v = (*v as f64 * (1.0 + share)) as u64);
        let longest = t.layer_stats().into_iter().max_by(|a, b| a.share.total_cmp(&b.share)).unwrap().layer;
        for i in 0..t.spans.len() {
            if t.spans.layer[i] == Some(longest) {
                t.spans.end_ns[i] += 50_000_000;
            }
        }
        t
    }

    #[test]
    fn the_answer_comes_first_and_says_why() {
        let a = fixtures::transformer(2, 20, 1);
        let of = |a: &Trace, b: &Trace| compare(a, b, Options::default(), &mut |_| true).unwrap();
        let c = of(&a, &slower(&a, 0.12));
        assert!(answer(&c).starts_with("12.0% slower, 95% interval +1"), "{}", answer(&c));
        assert!(because(&c).contains(" explains ") && because(&c).contains("% of the change"), "{}", because(&c));
        let c = of(&a, &a);
        assert!(answer(&c).starts_with("No change within 2%, 95% interval"), "{}", answer(&c));
        assert_eq!(short_answer(&c), "no change within 2%");
        let few = fixtures::transformer(2, 3, 1);
        assert!(answer(&of(&a, &few)).contains("too few runs"), "{}", answer(&of(&a, &few)));
        assert!(answer(&of(&a, &fixtures::empty())).starts_with("No verdict"), "{}", answer(&of(&a, &few)));
    }
}
