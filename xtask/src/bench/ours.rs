//! The program itself: one turn of `stratoscope bench`, which runs our engine and ONNX Runtime's side by side, and of
//! `stratoscope profile` for what recording costs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::rows::Row;
use crate::shell;

/// Runs before measuring.
pub const WARMUP: u32 = 5;

/// What each engine is fed.
pub struct Inputs<'a> {
    /// One `.npy` file per name is here.
    pub folder: &'a Path,
    /// The names of the model's inputs.
    pub names: &'a [String],
}

/// One engine in one turn.
pub struct Turn {
    /// The median, in nanoseconds.
    pub ns: f64,
    /// Opening, planning and packing, in nanoseconds, in a process of its own; in turns that measure it.
    pub load_ns: Option<f64>,
    /// The most memory that this process held at once, above what it held before.
    pub memory_bytes: Option<f64>,
}

/// The program to measure: the given one, or a fresh release build.
pub fn binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(binary) = given {
        return Ok(binary.to_owned());
    }
    shell::run(&mut shell::cargo(["build", "--release", "--package", "stratoscope", "--bin", "stratoscope"]))?;
    Ok(shell::target().join("release").join(format!("stratoscope{}", std::env::consts::EXE_SUFFIX)))
}

/// A turn of ours and of ONNX Runtime's, whose library is `library`.
pub fn turn(
    binary: &Path,
    library: &Path,
    row: &Row,
    models: &Path,
    threads: u32,
    inputs: &Inputs<'_>,
    with_load: bool,
) -> anyhow::Result<[Turn; 2]> {
    let mut command = Command::new(binary);
    command.arg("bench").arg(row.path(models)).arg("--engines");
    command.arg(format!("own,onnxruntime:{}", library.display())).args(["--rounds", "1", "--json", "-"]);
    for (option, value) in [("--threads", threads), ("--runs", row.runs), ("--warmup", WARMUP)] {
        command.arg(option).arg(value.to_string());
    }
    for name in inputs.names {
        command.arg("--input").arg(format!("{name}=@{}", inputs.folder.join(format!("{name}.npy")).display()));
    }
    if !with_load {
        command.arg("--no-load");
    }
    let report = report(command, row)?;
    let engine = |i: usize| -> anyhow::Result<Turn> {
        let engine = &report["rows"][0]["engines"][i];
        Ok(Turn {
            ns: engine["median_ns"].as_f64().with_context(|| format!("no median in {}", report["failed"]))?,
            load_ns: engine["load"]["load_ns"].as_f64(),
            memory_bytes: engine["load"]["memory_peak_bytes"].as_f64(),
        })
    };
    Ok([engine(0)?, engine(1)?])
}

/// Medians with recording on and off, in nanoseconds.
pub fn recorded(binary: &Path, row: &Row, models: &Path, threads: u32) -> anyhow::Result<(f64, f64)> {
    let mut command = Command::new(binary);
    command.arg("profile").arg(row.path(models)).args(["--device", "cpu", "--json"]);
    for (option, value) in [("--threads", threads), ("--runs", row.runs), ("--warmup", WARMUP)] {
        command.arg(option).arg(value.to_string());
    }
    let report = report(command, row)?;
    let median = |field: &str| report[field]["median"].as_f64().with_context(|| format!("{field} has no median"));
    Ok((median("latency_ns")?, median("unprofiled_latency_ns")?))
}

/// The JSON that the command prints.
fn report(mut command: Command, row: &Row) -> anyhow::Result<Value> {
    for (name, n) in row.dims {
        command.arg("--dim").arg(format!("{name}={n}"));
    }
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("can't start {}", shell::words(&command)))?;
    if !output.status.success() {
        bail!("`{}`: {}", shell::words(&command), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("what `{}` printed", shell::words(&command)))
}
