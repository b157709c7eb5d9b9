//! Conditions that a comparison must not meet: `latency.p50 > +5%`, `layer:*.time > +20% and > 50us`.
//!
//! ```text
//! condition = all { "or" all }            all = clause { "and" clause }
//! clause    = subject tests | "(" condition ")"
//! tests     = every { "or" every }        every = test { "and" test }
//! test      = (">" | ">=" | "<" | "<=") [ "+" | "-" ] number unit
//! subject   = latency.p50 | latency.p90 | latency.p99 | latency.mean | total
//!           | memory.peak | memory.weights | memory.activations
//!           | layer:PATTERN.time | layer:PATTERN.memory | layer:PATTERN.error
//!           | op:PATTERN.time | op:PATTERN.memory
//! unit      = % | ns us ms s | B kB MB GB KiB MiB GiB | dB
//! ```
//!
//! A test without a subject belongs to the last one, and is tried on the same layer. A per cent, and any amount with a sign,
//! is the change from the baseline; an amount without a sign is the current trace's own figure. In a pattern `*` stands for
//! any characters and `?` for one; a pattern that needs spaces or brackets stands in double quotes. A clause holds if it
//! holds for any layer that matches. `error` is the SQNR in dB, so a change for the worse is negative.

mod parse;

use std::fmt;

use serde::Serialize;

use super::bootstrap::Statistic;
use super::{Comparison, ErrorChange, LEAST_RUNS, Row, Side, SizeChange, TimeChange, Verdict};

pub use parse::parse;

/// A condition.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// Holds if any of these does.
    Any(Vec<Condition>),
    /// Holds if all of these do.
    All(Vec<Condition>),
    /// Tests of one subject.
    Clause(Subject, Tests),
}

/// Lists of tests: any of the lists must hold as a whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Tests(pub Vec<Vec<Test>>);

/// What a clause is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// End-to-end latency.
    Latency(LatencyFigure),
    /// All layers' time added up.
    Total,
    /// Planned peak of memory.
    Peak,
    /// Weights as held for the run.
    Weights,
    /// The largest sum of activations.
    Activations,
    /// Every row whose name matches.
    Layer(String, LayerFigure),
    /// Every operator whose name matches, all its layers added up.
    Operator(String, LayerFigure),
}

/// A figure of the latencies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LatencyFigure {
    P50,
    P90,
    P99,
    Mean,
}

/// A figure of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerFigure {
    /// Its time per run.
    Time,
    /// Its weights and outputs.
    Memory,
    /// The SQNR of its output, the worst scheme.
    Error,
}

/// Which way a test compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What is compared with the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The change as a share of the baseline.
    Relative,
    /// The change.
    Change,
    /// The current trace's own figure.
    Value,
}

/// One comparison.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Test {
    /// Which way.
    pub comparator: Comparator,
    /// Of what.
    pub ask: Ask,
    /// With what: a share, nanoseconds, bytes or dB.
    pub limit: f64,
}

/// The kind of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Amount {
    Share,
    Time,
    Bytes,
    Decibel,
}

/// A condition that can't be read, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{condition}\", at character {place}: {problem}")]
pub struct GateError {
    /// The whole condition.
    pub condition: String,
    /// The character, counted from 1.
    pub place: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a condition.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("a subject is missing, such as latency.p50 or layer:*.time")]
    NoSubject,
    #[error(
        "there is no subject \"{0}\": use latency.p50, latency.p90, latency.p99, latency.mean, total, memory.peak, \
         memory.weights, memory.activations, layer:PATTERN.time or op:PATTERN.time"
    )]
    UnknownSubject(String),
    #[error("\"{0}\" must end in {1}")]
    NoFigure(String, &'static str),
    #[error("a pattern is missing, such as * for every name")]
    NoPattern,
    #[error("a comparison is missing: >, >=, < or <=")]
    NoComparison,
    #[error("an amount is missing, such as +5% or 50us")]
    NoAmount,
    #[error("\"{0}\" is no number")]
    NotANumber(String),
    #[error("a unit is missing: {0}")]
    NoUnit(&'static str),
    #[error("there is no unit \"{0}\": use %, ns, us, ms, s, B, kB, MB, GB, KiB, MiB, GiB or dB")]
    UnknownUnit(String),
    #[error("{subject} is not measured in {unit}: use {fits}")]
    WrongUnit { subject: String, unit: String, fits: &'static str },
    #[error("a {0} is missing")]
    Unclosed(char),
    #[error("more than 32 parentheses within each other")]
    TooDeep,
    #[error("longer than 4096 bytes")]
    TooLong,
    #[error("\"{0}\" does not belong here: join clauses with and, or")]
    Trailing(String),
}

impl Subject {
    fn amount(&self) -> Amount {
        match self {
            Subject::Latency(_) | Subject::Total => Amount::Time,
            Subject::Peak | Subject::Weights | Subject::Activations => Amount::Bytes,
            Subject::Layer(_, f) | Subject::Operator(_, f) => match f {
                LayerFigure::Time => Amount::Time,
                LayerFigure::Memory => Amount::Bytes,
                LayerFigure::Error => Amount::Decibel,
            },
        }
    }

    fn units(&self) -> &'static str {
        match self.amount() {
            Amount::Bytes => "%, B, kB, MB, GB, KiB, MiB or GiB",
            Amount::Decibel => "dB",
            _ => "%, ns, us, ms or s",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |figure: &LayerFigure| match figure {
            LayerFigure::Time => "time",
            LayerFigure::Memory => "memory",
            LayerFigure::Error => "error",
        };
        match self {
            Subject::Latency(LatencyFigure::P50) => f.write_str("latency.p50"),
            Subject::Latency(LatencyFigure::P90) => f.write_str("latency.p90"),
            Subject::Latency(LatencyFigure::P99) => f.write_str("latency.p99"),
            Subject::Latency(LatencyFigure::Mean) => f.write_str("latency.mean"),
            Subject::Total => f.write_str("total"),
            Subject::Peak => f.write_str("memory.peak"),
            Subject::Weights => f.write_str("memory.weights"),
            Subject::Activations => f.write_str("memory.activations"),
            Subject::Layer(pattern, of) => write!(f, "layer:{pattern}.{}", figure(of)),
            Subject::Operator(pattern, of) => write!(f, "op:{pattern}.{}", figure(of)),
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It does not.
    No,
    /// The figures say so, and could be noise; or nothing is known.
    Open,
    /// It does, beyond noise.
    Yes,
}

/// A figure of a [`Finding`].
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// A time.
    Time(TimeChange),
    /// A size.
    Size(SizeChange),
    /// An error.
    Error(ErrorChange),
    /// Why there is none.
    Missing(&'static str),
}

/// What a clause found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// The subject, or the row's or the operator's name.
    pub name: String,
    /// Its figure.
    pub figure: Figure,
    /// Whether the clause holds for it: open or yes.
    pub answer: Answer,
}

/// A condition's outcome.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Judgement {
    /// The condition's words.
    pub condition: String,
    /// Whether it holds.
    pub answer: Answer,
    /// For what it holds or may hold, surest first.
    pub findings: Vec<Finding>,
}

/// Tries a condition on a comparison.
pub fn evaluate(text: &str, comparison: &Comparison) -> Result<Judgement, GateError> {
    let condition = parse(text)?;
    let mut findings = Vec::new();
    let answer = condition.answer(comparison, &mut findings);
    findings.sort_by_key(|f| std::cmp::Reverse(f.answer));
    // Of several clauses one may hold where the whole does not: that is no finding.
    if answer == Answer::No {
        findings.clear();
    }
    Ok(Judgement { condition: text.to_owned(), answer, findings })
}

impl Condition {
    fn answer(&self, c: &Comparison, findings: &mut Vec<Finding>) -> Answer {
        match self {
            Condition::Any(parts) => parts.iter().map(|p| p.answer(c, findings)).fold(Answer::No, Ord::max),
            Condition::All(parts) => parts.iter().map(|p| p.answer(c, findings)).fold(Answer::Yes, Ord::min),
            Condition::Clause(subject, tests) => {
                let candidates = candidates(subject, c);
                let known = candidates.iter().any(|(_, f)| !matches!(f, Figure::Missing(_)));
                let mut worst = Answer::No;
                for (name, figure) in candidates {
                    let answer = match figure {
                        // A subject without any figures leaves the question open; a layer without one is passed over.
                        Figure::Missing(_) if known => continue,
                        _ => tests.answer(&figure, c.options.confidence),
                    };
                    worst = worst.max(answer);
                    if answer > Answer::No {
                        findings.push(Finding { name, figure, answer });
                    }
                }
                worst
            }
        }
    }
}

/// What a subject stands for, by name; never empty.
fn candidates(subject: &Subject, c: &Comparison) -> Vec<(String, Figure)> {
    let size = |s: SizeChange| match s.current {
        None => Figure::Missing("the current trace states no memory"),
        Some(_) => Figure::Size(s),
    };
    let time = |t: TimeChange| match (t.baseline, t.current) {
        (None, None) => Figure::Missing("nothing measured it"),
        _ => Figure::Time(t),
    };
    let one = |figure| vec![(subject.to_string(), figure)];
    match subject {
        Subject::Latency(LatencyFigure::P50) => one(time(c.totals.headline)),
        Subject::Latency(LatencyFigure::P90) => one(time(c.latency(Statistic::Quantile(0.9)))),
        Subject::Latency(LatencyFigure::P99) => one(time(c.latency(Statistic::Quantile(0.99)))),
        Subject::Latency(LatencyFigure::Mean) => one(time(c.latency(Statistic::Mean))),
        Subject::Total => one(time(c.totals.layers)),
        Subject::Peak => one(size(c.totals.peak)),
        Subject::Weights => one(size(c.totals.weights)),
        Subject::Activations => one(size(c.totals.activations)),
        Subject::Layer(pattern, figure) | Subject::Operator(pattern, figure) => {
            let operators = matches!(subject, Subject::Operator(..));
            let rows = if operators { &c.operators } else { &c.rows };
            let found: Vec<(String, Figure)> = rows
                .iter()
                .filter(|r| matches(pattern, &r.name))
                .map(|r| (r.name.clone(), figure_of(r, *figure, &time, &size)))
                .collect();
            if found.is_empty() {
                return one(Figure::Missing(if operators { "no operator matches" } else { "no layer matches" }));
            }
            found
        }
    }
}

fn figure_of(
    row: &Row,
    figure: LayerFigure,
    time: &impl Fn(TimeChange) -> Figure,
    size: &impl Fn(SizeChange) -> Figure,
) -> Figure {
    match figure {
        LayerFigure::Time => time(row.time),
        LayerFigure::Memory => size(row.memory),
        LayerFigure::Error => {
            let worst = row.errors.iter().filter(|e| e.current_db.is_some()).min_by(|a, b| {
                let order = |e: &ErrorChange| e.difference_db().or(e.current_db).unwrap_or(f64::INFINITY);
                order(a).total_cmp(&order(b))
            });
            worst.map_or(Figure::Missing("no scheme was studied in the current trace"), |e| Figure::Error(e.clone()))
        }
    }
}

/// True if a name matches a pattern of `*` and `?`; a leading slash counts on neither side.
fn matches(pattern: &str, name: &str) -> bool {
    let chars = |s: &str| -> Vec<char> { s.trim_start_matches('/').chars().collect() };
    let (p, n) = (chars(pattern), chars(name));
    let (mut i, mut j) = (0, 0);
    // Where the last star was, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == n[j] => {
                i += 1;
                j += 1;
            }
            _ => match star.as_mut() {
                Some((at, taken)) => {
                    *taken += 1;
                    (i, j) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

impl Tests {
    fn answer(&self, figure: &Figure, confidence: f64) -> Answer {
        let all = |tests: &Vec<Test>| tests.iter().map(|t| t.answer(figure, confidence)).fold(Answer::Yes, Ord::min);
        self.0.iter().map(all).fold(Answer::No, Ord::max)
    }
}

impl Test {
    fn holds(&self, value: f64) -> bool {
        match self.comparator {
            Comparator::Above => value > self.limit,
            Comparator::AtLeast => value >= self.limit,
            Comparator::Below => value < self.limit,
            Comparator::AtMost => value <= self.limit,
        }
    }

    fn upwards(&self) -> bool {
        matches!(self.comparator, Comparator::Above | Comparator::AtLeast)
    }

    fn answer(&self, figure: &Figure, confidence: f64) -> Answer {
        let exact = |value: Option<f64>| match value {
            Some(v) if self.holds(v) => Answer::Yes,
            _ => Answer::No,
        };
        match (figure, self.ask) {
            (Figure::Missing(_), _) => Answer::Open,
            (Figure::Size(s), Ask::Relative) => exact(s.relative()),
            (Figure::Size(s), Ask::Change) => exact(s.difference().map(|d| d as f64)),
            (Figure::Size(s), Ask::Value) => exact(s.current.map(|b| b as f64)),
            (Figure::Error(e), Ask::Value) => exact(e.current_db),
            (Figure::Error(e), _) => exact(e.difference_db()),
            (Figure::Time(t), Ask::Value) => match t.current {
                Some(side) if self.holds(side.ns) => self.sure_of_value(side),
                _ => Answer::No,
            },
            (Figure::Time(t), ask) => {
                let (point, interval) = match ask {
                    Ask::Relative => (t.relative, t.relative_interval),
                    _ => (Some(t.difference_ns), t.interval_ns),
                };
                match point {
                    None if t.verdict == Verdict::NotMeasured => Answer::Open,
                    Some(p) if self.holds(p) => self.sure_of_change(t, interval, confidence),
                    _ => Answer::No,
                }
            }
        }
    }

    fn sure_of_value(&self, side: Side) -> Answer {
        let near = if self.upwards() { side.interval_ns.0 } else { side.interval_ns.1 };
        let enough = side.runs >= LEAST_RUNS;
        if enough && self.holds(near) { Answer::Yes } else { Answer::Open }
    }

    /// The change is past the limit: is it real? It is if it is significant in the limit's direction; where no change at all
    /// would hold too, if the near end of the interval does.
    fn sure_of_change(&self, t: &TimeChange, interval: Option<(f64, f64)>, confidence: f64) -> Answer {
        let Some((low, high)) = interval else { return Answer::Open };
        let near = if self.upwards() { low } else { high };
        let one_sided = matches!(t.verdict, Verdict::New | Verdict::Gone);
        let sure = if self.holds(0.0) || one_sided { self.holds(near) } else { t.is_significant(confidence) };
        if sure { Answer::Yes } else { Answer::Open }
    }
}

#[cfg(test)]
mod tests;
