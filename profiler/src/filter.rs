//! Which layers to show: `op:MatMul time>1ms`.
//!
//! ```text
//! filter = all ("or" all)*
//! all    = part ("and"? part)*            parts beside each other must all hold
//! part   = ("-" | "not") part | "(" filter ")" | field ":" text | field compare number unit? | text
//! field  = a word of FIELDS               compare = ":" | "=" | "!=" | "<" | "<=" | ">" | ">="
//! text   = a word, or anything in double quotes (\" and \\ stand for a quote and a backslash)
//! ```
//!
//! A text without a field is looked for in the name, operator, scope and class. Case does not matter; `:` finds a part, `=` the
//! whole. A layer whose figure is unknown passes no comparison with it.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{Badge, BlockKind, Layer, LayerStats};

/// What can be asked of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// Words.
    Text(TextField),
    /// A figure.
    Figure(Figure),
}

/// Words of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "FIELDS says what each is")]
pub enum TextField {
    Name,
    Op,
    Scope,
    Class,
    Kind,
    Node,
    Device,
    Kernel,
    Trust,
}

/// A figure of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "FIELDS says what each is")]
pub enum Figure {
    Time,
    P90,
    P99,
    Spread,
    Share,
    Flops,
    Rate,
    Bytes,
    Bandwidth,
    Ceiling,
    Memory,
    Weights,
    Error,
}

/// Every field: its word, and what it is.
pub const FIELDS: [(&str, Field, &str); 22] = [
    ("name", Field::Text(TextField::Name), "the layer's name"),
    ("op", Field::Text(TextField::Op), "the operator: MatMul+Bias"),
    ("scope", Field::Text(TextField::Scope), "where it sits: encoder/layer.3"),
    ("class", Field::Text(TextField::Class), "the operator's class: attention, element-wise"),
    ("type", Field::Text(TextField::Kind), "the kind of block: attention, MLP"),
    ("node", Field::Text(TextField::Node), "a node that it was made from"),
    ("device", Field::Text(TextField::Device), "what ran it: cpu, gpu"),
    ("kernel", Field::Text(TextField::Kernel), "the kernel that ran"),
    ("trust", Field::Text(TextField::Trust), "a finding about it: noisy"),
    ("time", Field::Figure(Figure::Time), "median time: 1ms"),
    ("p90", Field::Figure(Figure::P90), "90th percentile of its time"),
    ("p99", Field::Figure(Figure::P99), "99th percentile of its time"),
    ("spread", Field::Figure(Figure::Spread), "median absolute deviation over median: 5%"),
    ("share", Field::Figure(Figure::Share), "of the time of all layers: 2%"),
    ("flops", Field::Figure(Figure::Flops), "operations: 10M, 1G"),
    ("rate", Field::Figure(Figure::Rate), "operations a second: 10G"),
    ("bytes", Field::Figure(Figure::Bytes), "read and written: 64KB, 1MiB"),
    ("bandwidth", Field::Figure(Figure::Bandwidth), "bytes a second: 5GB"),
    ("ceiling", Field::Figure(Figure::Ceiling), "of what the device can do: 50%"),
    ("memory", Field::Figure(Figure::Memory), "weights and tensors that it makes: 1MB"),
    ("weights", Field::Figure(Figure::Weights), "bytes of its weights"),
    ("error", Field::Figure(Figure::Error), "signal to quantization noise: 20dB"),
];

/// Filters to learn from.
pub const EXAMPLES: [&str; 6] = [
    "op:MatMul time>1ms",
    "scope:layer.3 share>2%",
    "type:attention -op:Reshape",
    "error<20dB or trust:noisy",
    "(name:/query or name:/key) p99>=500us",
    "bytes>1MiB rate<10G",
];

impl Figure {
    /// The units it is written in, each with its size; the first is what figures are held in.
    fn units(self) -> &'static [(&'static str, f64)] {
        const KI: f64 = 1024.0;
        match self {
            Figure::Time | Figure::P90 | Figure::P99 => {
                &[("ns", 1.0), ("us", 1e3), ("\u{b5}s", 1e3), ("\u{3bc}s", 1e3), ("ms", 1e6), ("s", 1e9)]
            }
            Figure::Spread | Figure::Share | Figure::Ceiling => &[("%", 1.0)],
            Figure::Flops => &[("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9), ("t", 1e12)],
            Figure::Rate => &[("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9), ("t", 1e12)],
            Figure::Bytes | Figure::Bandwidth | Figure::Memory | Figure::Weights => &[
                ("b", 1.0),
                ("", 1.0),
                ("kb", 1e3),
                ("mb", 1e6),
                ("gb", 1e9),
                ("tb", 1e12),
                ("kib", KI),
                ("mib", KI * KI),
                ("gib", KI * KI * KI),
                ("tib", KI * KI * KI * KI),
                ("k", 1e3),
                ("m", 1e6),
                ("g", 1e9),
            ],
            Figure::Error => &[("db", 1.0), ("", 1.0)],
        }
    }

    /// The units in words.
    fn units_in_words(self) -> &'static str {
        match self {
            Figure::Time | Figure::P90 | Figure::P99 => "ns, us, ms or s",
            Figure::Spread | Figure::Share | Figure::Ceiling => "%",
            Figure::Flops => "k, M, G or T, or none",
            Figure::Rate => "k, M, G or T (a second), or none",
            Figure::Bytes | Figure::Memory | Figure::Weights => "B, KB, MB, GB, KiB, MiB or GiB",
            Figure::Bandwidth => "B, KB, MB, GB, KiB, MiB or GiB (a second)",
            Figure::Error => "dB",
        }
    }

    /// The size of a unit as it was typed; `flop` and `/s` may follow.
    fn unit(self, text: &str) -> Option<f64> {
        let lower = text.to_lowercase();
        let bare = match self {
            Figure::Rate => lower.strip_suffix("/s").unwrap_or(&lower),
            Figure::Bandwidth => lower.strip_suffix("/s").unwrap_or(&lower),
            _ => &lower,
        };
        let bare = match self {
            Figure::Rate | Figure::Flops => bare.strip_suffix("flop").unwrap_or(bare),
            _ => bare,
        };
        self.units().iter().find(|u| u.0 == bare).map(|u| u.1)
    }
}

/// A layer with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// What it is called in a row.
    pub label: &'a str,
    /// Its times.
    pub stats: Option<&'a LayerStats>,
    /// Weights and tensors that it makes, in bytes.
    pub memory_bytes: Option<f64>,
    /// Signal to quantization noise.
    pub error_db: Option<f64>,
    /// Its share of what the device can do, 0 to 1.
    pub ceiling: Option<f64>,
    /// Findings about it.
    pub badges: &'a [Badge],
}

impl Subject<'_> {
    /// A figure, if it is known: nanoseconds, bytes, operations, either of these a second, decibels, or a share (0 to 1).
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        let (layer, time) = (self.layer, self.stats.map(|s| &s.time));
        let seconds = || time.map(|t| t.median * 1e-9).filter(|s| *s > 0.0);
        let bytes = || layer.bytes_read?.checked_add(layer.bytes_written?).map(|b| b as f64);
        match figure {
            Figure::Time => time.map(|t| t.median),
            Figure::P90 => time.and_then(|t| Some(t.distribution()?.p90)),
            Figure::P99 => time.and_then(|t| Some(t.distribution()?.p99)),
            Figure::Spread => time.and_then(|t| Some(t.distribution()?.spread())),
            Figure::Share => self.stats.map(|s| s.share),
            Figure::Flops => layer.flops.map(|f| f as f64),
            Figure::Rate => Some(layer.flops? as f64 / seconds()?),
            Figure::Bytes => bytes(),
            Figure::Bandwidth => Some(bytes()? / seconds()?),
            Figure::Ceiling => self.ceiling,
            Figure::Memory => self.memory_bytes,
            Figure::Weights => Some(layer.weight_bytes as f64),
            Figure::Error => self.error_db,
        }
        .filter(|v| !v.is_nan())
    }

    fn any_text(&self, field: Option<TextField>, test: impl Fn(&str) -> bool) -> bool {
        let layer = self.layer;
        match field {
            None => [&layer.name, self.label, &layer.op, &layer.scope, layer.class.label()].into_iter().any(test),
            Some(TextField::Name) => test(&layer.name) || test(self.label),
            Some(TextField::Op) => test(&layer.op),
            Some(TextField::Scope) => test(&layer.scope),
            Some(TextField::Class) => test(layer.class.label()),
            Some(TextField::Kind) => test(BlockKind::of(layer).label()),
            Some(TextField::Node) => layer.source_nodes.iter().any(|n| test(n)),
            Some(TextField::Device) => test(&layer.device),
            Some(TextField::Kernel) => test(&layer.kernel),
            Some(TextField::Trust) => self.badges.iter().any(|b| test(&b.title)),
        }
    }
}

/// How a figure is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "they are what they say")]
pub enum Compare {
    Less,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    More,
}

impl Compare {
    fn sign(self) -> &'static str {
        match self {
            Compare::Less => "<",
            Compare::AtMost => "<=",
            Compare::Equal => "=",
            Compare::NotEqual => "!=",
            Compare::AtLeast => ">=",
            Compare::More => ">",
        }
    }

    fn holds(self, have: f64, want: f64) -> bool {
        match self {
            Compare::Less => have < want,
            Compare::AtMost => have <= want,
            Compare::Equal => have == want,
            Compare::NotEqual => (have - want).abs() > 0.0,
            Compare::AtLeast => have >= want,
            Compare::More => have > want,
        }
    }
}

/// A filter that was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Filter {
    /// Every part holds; with no parts it always does.
    All(Vec<Filter>),
    /// Some part holds.
    Any(Vec<Filter>),
    /// The part does not hold.
    Not(Box<Filter>),
    /// A text is found, in lower case.
    Text {
        /// Where; anywhere if left out.
        field: Option<TextField>,
        /// What.
        text: String,
        /// It must be the whole.
        whole: bool,
    },
    /// A figure compares.
    Figure(Figure, Compare, f64),
}

impl Filter {
    /// Reads a filter; an empty one lets everything pass.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        parse::parse(text)
    }

    /// True if it lets everything pass.
    pub fn is_empty(&self) -> bool {
        matches!(self, Filter::All(parts) if parts.is_empty())
    }

    /// True if a layer passes.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|p| p.matches(subject)),
            Filter::Any(parts) => parts.iter().any(|p| p.matches(subject)),
            Filter::Not(part) => !part.matches(subject),
            Filter::Text { field, text, whole } => subject.any_text(*field, |t| {
                let t = t.to_lowercase();
                if *whole { t == *text } else { t.contains(text.as_str()) }
            }),
            Filter::Figure(figure, compare, want) => subject.figure(*figure).is_some_and(|have| {
                let share = figure.units()[0].0 == "%";
                compare.holds(if share { have * 100.0 } else { have }, *want)
            }),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Filter], between: &str| {
            f.write_str("(")?;
            for (i, part) in parts.iter().enumerate() {
                write!(f, "{}{part}", if i == 0 { "" } else { between })?;
            }
            f.write_str(")")
        };
        match self {
            Filter::All(parts) if parts.is_empty() => Ok(()),
            Filter::All(parts) => list(f, parts, " "),
            Filter::Any(parts) => list(f, parts, " or "),
            Filter::Not(part) => write!(f, "-{part}"),
            Filter::Text { field, text, whole } => {
                if let Some(field) = field {
                    write!(f, "{}{}", word(Field::Text(*field)), if *whole { "=" } else { ":" })?;
                }
                write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Filter::Figure(figure, compare, value) => {
                write!(f, "{}{}{value}{}", word(Field::Figure(*figure)), compare.sign(), figure.units()[0].0)
            }
        }
    }
}

fn word(field: Field) -> &'static str {
    FIELDS.iter().find(|f| f.1 == field).map_or("", |f| f.0)
}

/// What is wrong with a filter, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at character {}: {problem}", .at + 1)]
pub struct FilterError {
    /// The character, counted from 0.
    pub at: usize,
    /// What is wrong.
    pub problem: FilterProblem,
}

/// What is wrong with a filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterProblem {
    /// A word before a colon or a comparison is no field.
    #[error("there is no field \"{0}\"; text that holds : < > or = stands in quotes")]
    UnknownField(String),
    /// A field without what it should be.
    #[error("{0} is compared with nothing")]
    NoValue(&'static str),
    /// A figure is compared with words.
    #[error("{field} is a figure, \"{text}\" is not")]
    NotANumber {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A unit that the figure does not have.
    #[error("\"{text}\" is no unit of {field}: use {units}")]
    Unit {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What could.
        units: &'static str,
    },
    /// A figure that needs a unit.
    #[error("{field} needs a unit: {units}")]
    NoUnit {
        /// The field.
        field: &'static str,
        /// What could stand there.
        units: &'static str,
    },
    /// Words are compared as figures are.
    #[error("{0} is text: use {0}:part or {0}=whole")]
    TextCompared(&'static str),
    /// A quote without its end.
    #[error("the quote does not end")]
    OpenQuote,
    /// A parenthesis without its end.
    #[error("the parenthesis is not closed")]
    OpenParenthesis,
    /// Something else was expected.
    #[error("a word, a field or a parenthesis is missing here")]
    Missing,
    /// A parenthesis, colon or comparison out of place.
    #[error("\"{0}\" has nothing before it")]
    OutOfPlace(String),
    /// Too many parentheses or negations inside of each other.
    #[error("it is nested too deep")]
    TooDeep,
}
