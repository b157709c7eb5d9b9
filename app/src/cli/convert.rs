//! `stratoscope convert`: one trace format to another.

use std::path::PathBuf;

use serde_json::json;

use super::{Outcome, print_json};

/// Convert a trace to another format
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope convert run.scope run.json     Chrome trace, opens in Perfetto\n  \
    stratoscope convert run.scope run.puffin   opens in puffin_viewer\n  \
    stratoscope convert run.scope layers.csv\n\n\
    The input's format is told by its content, the output's by its extension: .scope, .puffin, .json, .csv.")]
pub struct Args {
    /// The trace to read
    #[arg(value_name = "TRACE")]
    from: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let trace = profiler::import::open(&args.from)?;
    profiler::export::write(&trace, &args.to)?;
    let (layers, spans, runs) = (trace.layers.len(), trace.spans.len(), trace.runs.len());
    if args.json {
        print_json(&json!({ "from": args.from, "to": args.to, "layers": layers, "spans": spans, "runs": runs }))?;
    } else {
        eprintln!("Wrote {}: {layers} layers, {spans} spans, {runs} runs", args.to.display());
    }
    Ok(Outcome::Fine)
}
