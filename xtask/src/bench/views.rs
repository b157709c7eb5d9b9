//! What the flame graph costs as traces grow: opening, memory, and CPU time of a frame while it is zoomed and panned.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::ViewsArgs;
use super::ratio::Spread;
use crate::shell;

/// What must hold for a trace of so many spans.
struct Goal {
    spans: u64,
    open_ms: Option<f64>,
    frame_ms: f64,
    rss_bytes: Option<f64>,
}

const GOALS: &[Goal] = &[
    Goal { spans: 1_000_000, open_ms: Some(2_000.0), frame_ms: 4.0, rss_bytes: None },
    Goal { spans: 10_000_000, open_ms: None, frame_ms: 8.0, rss_bytes: Some(4.0 * (1u64 << 30) as f64) },
];
/// The most by which the cost of a pixel may grow from the smallest to the largest trace: what is left is the cache's.
const GROWTH: f64 = 2.0;
/// Traces with fewer spans than that do not fill the picture: the cost of a pixel is compared from here on.
const FILLED: u64 = 100_000;

/// Figures of one trace, over the rounds.
struct Row {
    kind: &'static str,
    spans: u64,
    rows: f64,
    open_ms: Spread,
    open_cpu_ms: Spread,
    rss_bytes: Option<Spread>,
    median_ms: Spread,
    p99_ms: Spread,
    max_ms: Spread,
    layout_ms: Spread,
    tessellation_ms: Spread,
    ns_per_pixel: Spread,
    rounds: Vec<Value>,
}

/// Runs it.
pub fn run(args: &ViewsArgs) -> anyhow::Result<()> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    let folder = shell::target().join("bench-views");
    std::fs::create_dir_all(&folder)?;
    let head = format!(
        "{:<5} {:>10} {:>5} {:>9} {:>9} {:>9}  {:>9} {:>9} {:>9}  {:>9} {:>9} {:>8}",
        "TRACE",
        "SPANS",
        "ROWS",
        "OPEN ms",
        "(CPU) ms",
        "PEAK MiB",
        "FRAME ms",
        "P99 ms",
        "MAX ms",
        "LAYOUT ms",
        "TESSEL ms",
        "ns/PIXEL"
    );
    say(args, &head);
    let mut rows = Vec::new();
    for kind in ["many", "deep"] {
        for &spans in &args.spans {
            let row = measure(args, &program, &folder, kind, spans)?;
            let mib = row.rss_bytes.map_or("?".to_owned(), |r| format!("{:.0}", r.median / f64::from(1 << 20)));
            let line = format!(
                "{kind:<5} {spans:>10} {:>5} {:>9.0} {:>9.0} {mib:>9}  {:>9.3} {:>9.3} {:>9.3}  {:>9.3} {:>9.3} {:>8.0}",
                row.rows,
                row.open_ms.median,
                row.open_cpu_ms.median,
                row.median_ms.median,
                row.p99_ms.median,
                row.max_ms.median,
                row.layout_ms.median,
                row.tessellation_ms.median,
                row.ns_per_pixel.median,
            );
            say(args, &line);
            rows.push(row);
        }
    }
    let missed = missed(&rows);
    if args.json {
        let rows: Vec<Value> =
            rows.iter().map(|r| json!({ "trace": r.kind, "spans": r.spans, "rounds": r.rounds })).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "traces": rows, "missed": missed }))?);
    }
    for goal in &missed {
        eprintln!("missed: {goal}");
    }
    if args.check && !missed.is_empty() {
        bail!("{} of the goals are missed", missed.len());
    }
    Ok(())
}

fn say(args: &ViewsArgs, line: &str) {
    if args.json {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = shell::cargo(["build", "--release", "--package", "stratoscope", "--example", "view_cost"]);
    shell::run(&mut cargo)?;
    Ok(shell::target().join("release/examples").join(format!("view_cost{}", std::env::consts::EXE_SUFFIX)))
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("can't start `{}`", shell::words(command)))?;
    if !output.status.success() {
        bail!("`{}`: {}", shell::words(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

fn measure(args: &ViewsArgs, program: &Path, folder: &Path, kind: &'static str, spans: u64) -> anyhow::Result<Row> {
    let file = folder.join(format!("{kind}-{spans}.scope"));
    output(Command::new(program).args(["make", kind, &spans.to_string()]).arg(&file))?;
    let mut rounds: Vec<Value> = Vec::new();
    for _ in 0..args.rounds {
        let line = output(Command::new(program).arg("measure").arg(&file))?;
        rounds.push(serde_json::from_slice(&line).context("what the program printed")?);
    }
    std::fs::remove_file(&file)?;
    let over = |path: &str, unit: f64| -> anyhow::Result<Spread> {
        let values: Option<Vec<f64>> = rounds.iter().map(|r| Some(r.pointer(path)?.as_f64()? / unit)).collect();
        values.and_then(|v| Spread::of(&v)).with_context(|| format!("the program printed no {path}"))
    };
    let width = over("/width_points", 1.0)?.median;
    Ok(Row {
        kind,
        spans,
        rows: over("/rows", 1.0)?.median,
        open_ms: over("/open_ms", 1.0)?,
        open_cpu_ms: over("/open_cpu_ms", 1.0)?,
        rss_bytes: over("/peak_rss_bytes", 1.0).ok(),
        median_ms: over("/frame_ns/median", 1e6)?,
        p99_ms: over("/frame_ns/p99", 1e6)?,
        max_ms: over("/frame_ns/max", 1e6)?,
        layout_ms: over("/layout_ns/median", 1e6)?,
        tessellation_ms: over("/tessellation_ns/median", 1e6)?,
        ns_per_pixel: over("/frame_ns/median", width)?,
        rounds,
    })
}

/// The goals that are not met, in words.
fn missed(rows: &[Row]) -> Vec<String> {
    let mut missed = Vec::new();
    let mut must = |what: String, value: f64, limit: f64, unit: &str| {
        // Written so that what is no number is not met.
        let met = value < limit;
        if !met {
            missed.push(format!("{what}: {value:.2} {unit}, not under {limit} {unit}"));
        }
    };
    for row in rows {
        let Some(goal) = GOALS.iter().find(|g| g.spans == row.spans) else { continue };
        let of = format!("{} spans ({})", row.spans, row.kind);
        must(format!("the slowest frame of {of}"), row.max_ms.median, goal.frame_ms, "ms");
        if let Some(limit) = goal.open_ms {
            must(format!("opening {of}"), row.open_ms.median, limit, "ms");
        }
        if let (Some(limit), Some(rss)) = (goal.rss_bytes, row.rss_bytes) {
            let gib = f64::from(1 << 30);
            must(format!("memory of {of}"), rss.median / gib, limit / gib, "GiB");
        }
    }
    for kind in ["many", "deep"] {
        let mut filled = rows.iter().filter(|r| r.kind == kind && r.spans >= FILLED);
        if let (Some(least), Some(most)) = (filled.next(), filled.next_back()) {
            let growth = most.ns_per_pixel.median / least.ns_per_pixel.median;
            must(format!("growth of a pixel's cost to {} spans ({kind})", most.spans), growth, GROWTH, "times");
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(spans: u64, open: f64, frame: f64, rss: f64) -> Row {
        let one = |v: f64| Spread { median: v, min: v, max: v };
        Row {
            kind: "many",
            spans,
            rows: 3.0,
            open_ms: one(open),
            open_cpu_ms: one(open),
            rss_bytes: Some(one(rss)),
            median_ms: one(frame),
            p99_ms: one(frame),
            max_ms: one(frame),
            layout_ms: one(frame),
            tessellation_ms: one(frame),
            ns_per_pixel: one(frame),
            rounds: Vec::new(),
        }
    }

    #[test]
    fn goals_are_held_against_the_figures() {
        let small = row(100_000, 100.0, 1.0, 1e8);
        let good = [small, row(1_000_000, 900.0, 1.1, 1e9), row(10_000_000, 9_000.0, 1.2, 2e9)];
        assert_eq!(missed(&good), [""; 0]);
        assert_eq!(missed(&[row(1_000_000, 2_500.0, 1.0, 1e9)]).len(), 1);
        assert_eq!(missed(&[row(1_000_000, 100.0, 4.5, 1e9)]).len(), 1);
        assert_eq!(missed(&[row(10_000_000, 100.0, 4.5, 5e9)]).len(), 1);
        assert_eq!(missed(&[row(10_000_000, 100.0, f64::NAN, 1e9)]).len(), 1);
        assert_eq!(missed(&[row(100_000, 1.0, 1.0, 1e9), row(10_000_000, 1.0, 3.0, 1e9)]).len(), 1);
    }
}
