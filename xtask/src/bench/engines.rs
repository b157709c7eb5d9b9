//! The comparison: rows, rounds, the other engine's process, the table.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::EnginesArgs;
use super::ours::{self, WARMUP};
use super::ratio::Spread;
use super::rows::{ROWS, Row};
use crate::{fixtures, shell};

/// ONNX Runtime on one model, in a process that stays.
struct Ort {
    process: Child,
    answers: BufReader<ChildStdout>,
    inputs: Vec<String>,
    version: String,
}

impl Ort {
    fn start(python: &Path, row: &Row, models: &Path, threads: u32, inputs: &Path) -> anyhow::Result<Ort> {
        let mut process = Command::new(python)
            .arg(shell::root().join("xtask/fixtures/ort_worker.py"))
            .arg(row.path(models))
            .arg(threads.to_string())
            .arg(inputs)
            .args(row.dims.iter().map(|(name, n)| format!("{name}={n}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", python.display()))?;
        let answers = BufReader::new(process.stdout.take().context("the worker's output")?);
        let mut ort = Ort { process, answers, inputs: Vec::new(), version: String::new() };
        let hello = ort.answer()?;
        ort.inputs = serde_json::from_value(hello["inputs"].clone())?;
        ort.version = hello["version"].as_str().unwrap_or("?").to_owned();
        Ok(ort)
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the ONNX Runtime process ended");
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The median of one turn, in nanoseconds.
    fn turn(&mut self, runs: u32) -> anyhow::Result<f64> {
        let stdin = self.process.stdin.as_mut().context("the worker's input")?;
        writeln!(stdin, "{}", json!({ "warmup": WARMUP, "runs": runs }))?;
        stdin.flush()?;
        let times: Vec<f64> = serde_json::from_value(self.answer()?["ns"].clone())?;
        Ok(Spread::of(&times).context("ONNX Runtime gave no times")?.median)
    }
}

impl Drop for Ort {
    fn drop(&mut self) {
        // Its input's end is the end of its work.
        drop(self.process.stdin.take());
        self.process.wait().ok();
    }
}

/// Runs it.
pub fn run(args: &EnginesArgs) -> anyhow::Result<()> {
    let models = args.models.clone().unwrap_or_else(fixtures::default_folder);
    let wanted = |r: &&Row| {
        let named = args.only.as_ref().is_none_or(|w| r.name.to_lowercase().contains(&w.to_lowercase()));
        named && (!args.overhead || matches!(r.name, "MiniLM s8" | "MiniLM s128"))
    };
    let (here, missing): (Vec<&Row>, Vec<&Row>) = ROWS.iter().filter(wanted).partition(|r| r.path(&models).is_file());
    for row in &missing {
        eprintln!(
            "left out: {}: there is no {}; `cargo xtask fixtures` makes it",
            row.name,
            row.path(&models).display()
        );
    }
    if here.is_empty() {
        bail!("there is nothing to measure");
    }
    let binary = ours::binary(args.binary.as_deref())?;
    let mut results = Vec::new();
    if args.overhead {
        say(args, &format!("{:<20} {:>7}  {:>22}", "MODEL", "THREADS", "PROFILED / UNPROFILED"));
        for (&threads, row) in args.threads.iter().flat_map(|t| here.iter().map(move |r| (t, r))) {
            results.push(overhead(args, &binary, &models, row, threads)?);
        }
    } else {
        let python = fixtures::python(args.python.as_deref(), &["onnxruntime", "numpy"])?;
        let head = format!("{:<20} {:>7} {:>10} {:>10}  RATIO (MIN-MAX)", "MODEL", "THREADS", "OURS, ms", "ORT, ms");
        say(args, &head);
        for (&threads, row) in args.threads.iter().flat_map(|t| here.iter().map(move |r| (t, r))) {
            results.push(compare(args, &python, &binary, &models, row, threads)?);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

fn say(args: &EnginesArgs, line: &str) {
    if args.json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

fn compare(
    args: &EnginesArgs,
    python: &Path,
    binary: &Path,
    models: &Path,
    row: &Row,
    threads: u32,
) -> anyhow::Result<Value> {
    let inputs = shell::target().join("bench-inputs");
    std::fs::create_dir_all(&inputs)?;
    let mut ort = Ort::start(python, row, models, threads, &inputs)?;
    let names = ort.inputs.clone();
    let (mut our_ns, mut ort_ns) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        // Who goes first alternates.
        for ours_now in [round % 2 == 0, round % 2 == 1] {
            if ours_now {
                our_ns.push(ours::turn(binary, row, models, threads, Some((&inputs, &names)))?.unprofiled);
            } else {
                ort_ns.push(ort.turn(row.runs)?);
            }
        }
    }
    let ratios: Vec<f64> = our_ns.iter().zip(&ort_ns).map(|(a, b)| a / b).collect();
    let spread = |v: &[f64]| Spread::of(v).context("a round gave no time");
    let (ours, theirs, ratio) = (spread(&our_ns)?.median / 1e6, spread(&ort_ns)?.median / 1e6, spread(&ratios)?);
    say(
        args,
        &format!(
            "{:<20} {threads:>7} {ours:>10.3} {theirs:>10.3}  {:.2} ({:.2}-{:.2})",
            row.name, ratio.median, ratio.min, ratio.max
        ),
    );
    Ok(json!({
        "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs,
        "ours_median_ms": ours, "onnxruntime_median_ms": theirs, "onnxruntime": ort.version,
        "ratio": { "median": ratio.median, "min": ratio.min, "max": ratio.max },
    }))
}

fn overhead(args: &EnginesArgs, binary: &Path, models: &Path, row: &Row, threads: u32) -> anyhow::Result<Value> {
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        let turn = ours::turn(binary, row, models, threads, None)?;
        ratios.push(turn.profiled / turn.unprofiled);
    }
    let r = Spread::of(&ratios).context("a round gave no time")?;
    say(args, &format!("{:<20} {threads:>7}  {:.4} ({:.4}-{:.4})", row.name, r.median, r.min, r.max));
    Ok(json!({
        "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs,
        "profiled_over_unprofiled": { "median": r.median, "min": r.min, "max": r.max },
    }))
}
