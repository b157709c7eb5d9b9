//! `cargo xtask bench engines`: how this engine stands beside ONNX Runtime, torch and rten. `cargo xtask bench views`: what the views cost.
//!
//! Machines drift by tens of percent within minutes, so absolute times mean little: the engines take turns in rounds, and what
//! counts is the ratio within a round. All are fed the same inputs, on the same number of threads.

mod engines;
mod ours;
mod peer;
mod ratio;
mod rows;
mod views;

use std::path::PathBuf;

use clap::Subcommand;

/// Benchmarks
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Engines(EnginesArgs),
    Views(ViewsArgs),
}

/// Compare with ONNX Runtime, torch and rten, model by model, taking turns
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench engines --threads 1,2\n  cargo xtask bench engines --only minilm --rounds 9\n  \
    cargo xtask bench engines --overhead\n\n\
    ONNX Runtime and torch come from PyPI into target/fixtures-venv (some GB), models are made by xtask/fixtures/bench_models.py (2 GB), rten is\n    \
    built from its crate. Ours and ONNX Runtime's are run by `stratoscope bench`. Load time and memory: ours beside ONNX Runtime's, each\n    \
    in a process of its own; memory is what it grew by at most, with the first run."
)]
pub struct EnginesArgs {
    /// Where the models are, or are made [default: target/bench-models]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Numbers of threads
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Vec<u32>,
    /// Turns that each engine gets
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only rows whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Engines to compare with besides ONNX Runtime
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', default_value = "torch,rten")]
    peers: Vec<String>,
    /// Instead: what profiling costs (profiled over unprofiled runs of ours)
    #[arg(long)]
    overhead: bool,
    /// A Python that has the packages already
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// A stratoscope to measure, in place of a fresh release build
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Open traces of 10^4 to 10^7 spans, and zoom and pan the flame graph of each
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench views\n  cargo xtask bench views --spans 1000000 --rounds 1\n  \
    cargo xtask bench views --check --json\n\n\
    Times of frames are CPU time of layout and tessellation in a window of 1280 by 800 points, without a renderer."
)]
pub struct ViewsArgs {
    /// Numbers of spans
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "10000,100000,1000000,10000000", value_parser = clap::value_parser!(u64).range(1..))]
    spans: Vec<u64>,
    /// Fresh processes for each trace; the table shows their medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
    /// A built `view_cost` example, in place of a fresh release build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Engines(args) => engines::run(args),
        What::Views(args) => views::run(args),
    }
}
