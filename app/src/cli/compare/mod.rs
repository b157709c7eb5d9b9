//! `stratoscope compare`: what changed between two traces, and whether it is allowed to.

mod junit;
mod markdown;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use profiler::Trace;
use profiler::compare::gate::{self, Answer, Judgement};
use profiler::compare::{Comparison, Options, Row, compare};
use serde_json::{Value, json};

use super::progress::Terminal;
use super::{Outcome, print};
use crate::comparison;
use crate::worker::Opened;

/// Compare two traces: what changed, by how much, and whether that is more than noise
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope compare before.scope after.scope\n  \
    stratoscope compare before.scope after.scope --fail-if \"latency.p50 > +5%\"\n  \
    stratoscope compare a.scope b.scope --fail-if \"layer:*.time > +20% and > 50us\" --format junit --out report.xml\n\n\
    Conditions: SUBJECT > AMOUNT, joined by and, or, parentheses.\n  \
    subjects  latency.p50 latency.p90 latency.p99 latency.mean total\n            \
    memory.peak memory.weights memory.activations\n            \
    layer:PATTERN.time|memory|error  op:PATTERN.time|memory   (* any characters, ? one)\n  \
    amounts   +5% -50us +2MB -3dB   the change from the baseline\n            \
    50us 2MB               the current trace's own figure\n  \
    A comparison without a subject belongs to the last one, on the same layer.\n\n\
    Exit codes: 0 no condition holds, 1 a condition holds beyond noise, 2 bad usage or input,\n\
    3 no verdict: a condition holds by the figures, and the noise is too large to be sure.")]
pub struct Args {
    /// The trace to compare with; any format that opens
    #[arg(value_name = "BASELINE")]
    baseline: PathBuf,
    /// The trace to judge; any format that opens
    #[arg(value_name = "CURRENT")]
    current: PathBuf,
    /// A condition that must not hold; may repeat
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<String>,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to this file instead of the terminal
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Of the intervals; 1 minus this is the rate of false alarms
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = parse_confidence)]
    confidence: f64,
    /// A change whose whole interval is within this is none
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = parse_margin)]
    margin: f64,
    /// Rows to show in tables
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Markdown,
    Junit,
}

/// Everything that a report is written from.
struct Report<'a> {
    baseline: &'a Trace,
    current: &'a Trace,
    names: [String; 2],
    comparison: &'a Comparison,
    judgements: &'a [Judgement],
    rows: usize,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    // A condition that can't be read is found before any work.
    for condition in &args.fail_if {
        gate::parse(condition).with_context(|| "--fail-if".to_owned())?;
    }
    let options = Options { confidence: args.confidence, margin: args.margin };
    let (baseline, current) = (open(&args.baseline)?, open(&args.current)?);
    let terminal = Terminal::start();
    let mut go_on = |f: f32| terminal.control.step("Comparing", Some(f), None::<Duration>).is_ok();
    let comparison = compare(&baseline, &current, options, &mut go_on)?;
    drop(terminal);
    let judgements =
        args.fail_if.iter().map(|c| gate::evaluate(c, &comparison)).collect::<Result<Vec<Judgement>, _>>()?;
    let report = Report {
        baseline: &baseline,
        current: &current,
        names: [&args.baseline, &args.current].map(|p| p.display().to_string()),
        comparison: &comparison,
        judgements: &judgements,
        rows: args.rows,
    };
    let format = if args.json { Format::Json } else { args.format };
    let text = match format {
        Format::Table => text::table(&report),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report.json()?)?),
        Format::Markdown => markdown::comment(&report),
        Format::Junit => junit::xml(&report),
    };
    match &args.out {
        Some(path) => write(path, &text)?,
        None => print(&text),
    }
    if args.out.is_some() || format != Format::Table {
        for line in text::judgements(&report) {
            eprintln!("{line}");
        }
    }
    Ok(report.outcome())
}

fn open(path: &Path) -> anyhow::Result<Arc<Trace>> {
    let Opened::Trace(trace) = crate::worker::open(path)? else {
        bail!("{}: this is a model; compare the traces of two runs (stratoscope profile --out)", path.display());
    };
    if trace.spans.is_empty() {
        bail!("{}: this trace holds no times to compare", path.display());
    }
    Ok(trace)
}

/// Written aside and renamed, so that a reader never sees half of it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut aside| {
        aside.write_all(text.as_bytes())?;
        aside.persist(path).map_err(|e| e.error)
    });
    written.map(|_| ()).with_context(|| format!("{} can't be written", path.display()))
}

fn parse_confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.5..1.0).contains(&v) => Ok(v),
        _ => Err("a number from 0.5 to below 1, such as 0.95".to_owned()),
    }
}

fn parse_margin(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(v) if (0.0..=100.0).contains(&v) => Ok(v / 100.0),
        _ => Err("a per cent from 0 to 100, such as 2%".to_owned()),
    }
}

impl Report<'_> {
    fn outcome(&self) -> Outcome {
        match self.judgements.iter().map(|j| j.answer).max() {
            Some(Answer::Yes) => Outcome::CheckFailed,
            Some(Answer::Open) => Outcome::NoVerdict,
            Some(Answer::No) | None => Outcome::Fine,
        }
    }

    /// The rows that a table shows: those that changed most.
    fn top(&self) -> Vec<&Row> {
        comparison::by_change(self.comparison).into_iter().take(self.rows).map(|i| &self.comparison.rows[i]).collect()
    }

    /// As documented in docs/ci.md.
    fn json(&self) -> anyhow::Result<Value> {
        let c = self.comparison;
        let mut value = serde_json::to_value(c)?;
        let names = |trace: &Trace, ids: &[profiler::LayerId]| -> Vec<String> {
            ids.iter().filter_map(|l| Some(trace.layers.get(l.index())?.name.clone())).collect()
        };
        for (list, rows) in [("rows", &c.rows), ("operators", &c.operators)] {
            for (value, row) in value[list].as_array_mut().into_iter().flatten().zip(rows) {
                value["baseline"] = json!(names(self.baseline, &row.baseline));
                value["current"] = json!(names(self.current, &row.current));
            }
        }
        let side = |t: &Trace, path: &str| {
            json!({
                "path": path,
                "model": t.meta.model,
                "producer": t.meta.producer,
                "device": t.meta.device,
                "threads": t.meta.threads,
                "precision": t.meta.precision,
                "fusion": t.meta.fusion,
                "dims": t.meta.dims,
                "created_unix_s": t.meta.created_unix_s,
                "layers": t.layers.len(),
            })
        };
        value["schema"] = json!("stratoscope-compare-1");
        value["baseline"] = side(self.baseline, &self.names[0]);
        value["current"] = side(self.current, &self.names[1]);
        value["verdict"] = json!(c.totals.headline.verdict);
        value["summary"] = json!(format!("{}. {}", comparison::answer(c), comparison::because(c)));
        value["confidence"] = json!(c.options.confidence);
        value["margin"] = json!(c.options.margin);
        value["conditions"] = json!(self.judgements);
        value["exit_code"] = json!(self.outcome().code());
        Ok(value)
    }
}

/// A condition's outcome in a word.
fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "FAIL",
        Answer::Open => "no verdict",
        Answer::No => "pass",
    }
}

#[cfg(test)]
mod tests;
