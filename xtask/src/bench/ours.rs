//! One turn of ours: `stratoscope profile --json` in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::rows::Row;
use crate::shell;

/// Runs before measuring.
pub const WARMUP: u32 = 5;

/// Medians of one turn, in nanoseconds.
pub struct Turn {
    /// With recording on.
    pub profiled: f64,
    /// With recording off.
    pub unprofiled: f64,
    /// Opening, planning and packing, in nanoseconds.
    pub load_ns: Option<f64>,
    /// The most resident memory, above what the process had before it planned the model.
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

/// Measures a row; `inputs` holds one `.npy` file per name.
pub fn turn(
    binary: &Path,
    row: &Row,
    models: &Path,
    threads: u32,
    inputs: Option<(&Path, &[String])>,
) -> anyhow::Result<Turn> {
    let mut command = Command::new(binary);
    command.arg("profile").arg(row.path(models)).args(["--device", "cpu", "--json"]);
    for (option, value) in [("--threads", threads), ("--runs", row.runs), ("--warmup", WARMUP)] {
        command.arg(option).arg(value.to_string());
    }
    for (name, n) in row.dims {
        command.arg("--dim").arg(format!("{name}={n}"));
    }
    if let Some((folder, names)) = inputs {
        for name in names {
            command.arg("--input").arg(format!("{name}=@{}", folder.join(format!("{name}.npy")).display()));
        }
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't start {}", binary.display()))?;
    if !output.status.success() {
        bail!("`{}`: {}", shell::words(&command), String::from_utf8_lossy(&output.stderr).trim());
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("what profile --json printed")?;
    let median = |field: &str| report[field]["median"].as_f64().with_context(|| format!("{field} has no median"));
    let memory = &report["memory"];
    let grown = memory["process_peak_bytes"].as_f64().zip(memory["process_before_bytes"].as_f64()).map(|(a, b)| a - b);
    Ok(Turn {
        profiled: median("latency_ns")?,
        unprofiled: median("unprofiled_latency_ns")?,
        load_ns: report["load_ns"].as_f64(),
        memory_bytes: grown,
    })
}
