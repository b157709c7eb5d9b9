//! `stratoscope bench`: engines against each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::json;
use studies::{BenchPlan, BenchRow, EngineChoice, Fill, LoadCost, Settings};

use super::measure::{open_model, parse_dim, parse_input};
use super::profile::engine_options;
use super::progress::Terminal;
use super::table::Table;
use super::{Outcome, print};
use crate::format;

/// What the first line of the JSON says, to know it again.
const SCHEMA: &str = "stratoscope-bench-1";

/// Run models in several engines in turn: medians, and ratios with their intervals
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope bench model.onnx --engines own,onnxruntime --threads 1,2\n  \
    stratoscope bench a.onnx b.onnx --dim batch=1 --dim seq=128 --rounds 11 --json bench.json\n\n\
    All engines are fed the same inputs, in one process; a round is a turn of each, and who goes first alternates. A ratio\n\
    is the first engine's median over another's, the median over rounds, with a 95% interval over rounds (bootstrap): below\n\
    1 the first is faster. Load time and memory come from a process of its own per engine.\n\n\
    --json: {\"schema\": \"stratoscope-bench-1\", \"rounds\", \"rows\": [{\"model\", \"path\", \"threads\", \"dims\",\n  \
    \"engines\": [{\"engine\", \"name\", \"median_ns\", \"rounds_ns\", \"runs\", \"output_error\",\n    \
    \"load\": {\"load_ns\", \"first_run_ns\", \"memory_bytes\", \"memory_peak_bytes\"}}],\n  \
    \"ratios\": [{\"engine\", \"over\", \"ratio\", \"interval\": [low, high]}]}],\n  \
    \"failed\": [{\"path\", \"threads\", \"error\"}]}; what is not known is null.")]
pub struct Args {
    /// .onnx files or sample:ID
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// The engines: own, onnxruntime, onnxruntime:LIBRARY
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "own,onnxruntime")]
    engines: Vec<EngineChoice>,
    /// CPU threads, each of them a row [default: one per physical core]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// An option of ONNX Runtime, as for `profile`; may repeat
    #[arg(long = "engine-option", value_name = "NAME=VALUE")]
    engine_options: Vec<String>,
    /// Turns of each engine
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Runs of a turn [default: about a quarter of a second's worth]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Value of a symbolic dimension; may repeat
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    dims: Vec<(String, usize)>,
    /// How an input is filled: @FILE.npy, @FILE.pb, a number, or "random"; may repeat
    #[arg(long = "input", value_name = "NAME=@FILE", value_parser = parse_input)]
    inputs: Vec<(String, Fill)>,
    /// Runs of each engine before measuring
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup: u32,
    /// Seed of random inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Don't measure load time and memory
    #[arg(long)]
    no_load: bool,
    /// Write JSON to a file, or to standard output instead of the table with -
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure one engine's load in this process, for the settings given here
    #[arg(long, value_name = "SETTINGS", hide = true)]
    worker: Option<String>,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if let Some(settings) = &args.worker {
        return worker(&args.models, settings);
    }
    let options = engine_options(&EngineChoice::OnnxRuntime { library: None }, &args.engine_options)?;
    if !args.engine_options.is_empty() && !args.engines.iter().any(|e| matches!(e, EngineChoice::OnnxRuntime { .. })) {
        bail!("--engine-option is for the engine onnxruntime, which is not among --engines");
    }
    let plan = BenchPlan { engines: args.engines.clone(), rounds: args.rounds, runs: args.runs };
    let threads: Vec<Option<usize>> = match args.threads.is_empty() {
        true => vec![None],
        false => args.threads.iter().map(|&n| Some(n as usize)).collect(),
    };
    let terminal = Terminal::start();
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (path, &threads) in args.models.iter().flat_map(|m| threads.iter().map(move |t| (m, t))) {
        let settings = Settings {
            engine_options: options.clone(),
            threads,
            dims: args.dims.iter().cloned().collect(),
            inputs: args.inputs.iter().cloned().collect(),
            warmup: args.warmup,
            seed: args.seed,
            ..Settings::default()
        };
        match one(path, &plan, &settings, args.no_load, &terminal) {
            Ok(row) => rows.push((path, row)),
            Err(e) if terminal.control.is_cancelled() => return Err(e),
            Err(e) => {
                terminal.say(&format!("{}: {}", path.display(), crate::worker::chain(&e)));
                failed.push(json!({ "path": path, "threads": threads, "error": crate::worker::chain(&e) }));
            }
        }
    }
    drop(terminal);
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = &args.json {
        let rows = rows.iter().map(|(path, row)| -> anyhow::Result<serde_json::Value> {
            let mut row = serde_json::to_value(row)?;
            row["path"] = json!(path);
            Ok(row)
        });
        let rows: Vec<serde_json::Value> = rows.collect::<anyhow::Result<_>>()?;
        let all = json!({ "schema": SCHEMA, "rounds": args.rounds, "rows": rows, "failed": failed });
        let text = serde_json::to_string_pretty(&all)? + "\n";
        if to_stdout {
            print(&text);
        } else {
            std::fs::write(file, text).with_context(|| format!("can't write {}", file.display()))?;
        }
    }
    if !to_stdout {
        print(&table(rows.iter().map(|(_, row)| row)));
    }
    Ok(if failed.is_empty() { Outcome::Fine } else { Outcome::CheckFailed })
}

fn one(
    path: &Path,
    plan: &BenchPlan,
    settings: &Settings,
    no_load: bool,
    terminal: &Terminal,
) -> anyhow::Result<BenchRow> {
    let model = open_model(Some(path), settings)?;
    let mut row = studies::bench(&model, plan, settings, &terminal.control)?;
    if no_load {
        return Ok(row);
    }
    for (engine, choice) in row.engines.iter_mut().zip(&plan.engines) {
        terminal.control.step(&format!("Loading in a process of its own: {}", choice.label()), None, None)?;
        match load_cost(path, &Settings { engine: choice.clone(), ..settings.clone() }) {
            Ok(cost) => engine.load = Some(cost),
            Err(e) => terminal.say(&format!("warning: {}: load time and memory: {e}", choice.label())),
        }
    }
    Ok(row)
}

/// Asks this program in a new process.
fn load_cost(path: &Path, settings: &Settings) -> anyhow::Result<LoadCost> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut command = Command::new(program);
    command.arg("bench").arg("--worker").arg(serde_json::to_string(settings)?).arg(path);
    let output = command.stdin(Stdio::null()).output().context("can't start this program anew")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn worker(models: &[PathBuf], settings: &str) -> anyhow::Result<Outcome> {
    let [model] = models else { bail!("--worker takes one model") };
    let settings: Settings = serde_json::from_str(settings).context("--worker")?;
    let cost = studies::load_cost(model, &settings, &studies::Control::silent())?;
    print(&(serde_json::to_string(&cost)? + "\n"));
    Ok(Outcome::Fine)
}

/// One line per engine of each row.
fn table<'a>(rows: impl Iterator<Item = &'a BenchRow>) -> String {
    let head = [
        "MODEL",
        "THREADS",
        "ENGINE",
        "MEDIAN",
        "FIRST / THIS",
        "95% INTERVAL",
        "OUTPUT ERROR",
        "LOAD",
        "MEMORY",
        "PEAK",
    ];
    let mut table = Table::new(&head, "lrlrrlrrrr");
    for row in rows {
        for (i, e) in row.engines.iter().enumerate() {
            let first = i == 0;
            let ratio = i.checked_sub(1).and_then(|i| row.ratios.get(i));
            let unknown = || format::UNKNOWN.to_owned();
            let bytes = |b: Option<u64>| b.map_or_else(unknown, |b| format::bytes(b as f64));
            table.row([
                if first { row.model.clone() } else { String::new() },
                if first { row.threads.to_string() } else { String::new() },
                e.name.clone(),
                format::duration(e.median_ns),
                ratio.map_or_else(String::new, |r| format!("{:.3}", r.ratio)),
                match ratio {
                    None => String::new(),
                    Some(r) => r.interval.map_or_else(unknown, |(low, high)| format!("{low:.3} to {high:.3}")),
                },
                if first { String::new() } else { e.output_error.map_or_else(unknown, |v| format!("{v:.1e}")) },
                e.load.map_or_else(unknown, |l| format::duration(l.load_ns as f64)),
                bytes(e.load.and_then(|l| l.memory_bytes)),
                bytes(e.load.and_then(|l| l.memory_peak_bytes)),
            ]);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use studies::{BenchEngine, BenchRatio};

    #[test]
    fn the_table_has_a_line_per_engine_and_marks_the_unknown() {
        let engine = |name: &str, load| BenchEngine {
            engine: name.to_owned(),
            name: name.to_owned(),
            median_ns: 2e6,
            rounds_ns: vec![2e6],
            runs: 3,
            output_error: Some(1e-6),
            load,
        };
        let cost =
            LoadCost { load_ns: 5_000_000, first_run_ns: 1, memory_bytes: Some(1 << 20), memory_peak_bytes: None };
        let ratio = BenchRatio { engine: "own".into(), over: "ort".into(), ratio: 0.75, interval: Some((0.7, 0.8)) };
        let row = BenchRow {
            model: "m".into(),
            threads: 2,
            dims: Default::default(),
            engines: vec![engine("own", Some(cost)), engine("ort", None)],
            ratios: vec![ratio],
        };
        let text = table([&row].into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("m ") && lines[1].contains("2.00 ms") && !lines[1].contains("0.75"), "{text}");
        assert!(
            lines[2].contains("0.750") && lines[2].contains("0.700 to 0.800") && lines[2].contains("1.0e-6"),
            "{text}"
        );
    }
}
