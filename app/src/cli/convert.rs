//! `stratoscope convert`: one trace format to another.

use std::path::PathBuf;

use serde_json::json;

use super::{Outcome, print_json};

/// Convert a trace to another format
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// The trace to read
    #[arg(value_name = "TRACE")]
    from: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// Lay the trace over this model: rows are told which of its nodes they ran
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    format!(
        "Examples:\n  stratoscope convert run.scope run.json     Chrome trace, opens in Perfetto\n  \
        stratoscope convert run.scope run.puffin   opens in puffin_viewer\n  \
        stratoscope convert run.scope layers.csv\n  \
        stratoscope convert run.scope report.html  a page with pictures, to send or print\n  \
        stratoscope convert ort_profile.json run.scope --model model.onnx\n\n\
        The input's format is told by its content, the output's by its extension: {}.\n\n\
        It opens, each also packed as .gz: {}.",
        crate::export::endings(),
        profiler::import::names()
    )
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut trace = profiler::import::open(&args.from)?;
    let mut report = None;
    if let Some(path) = &args.model {
        let (laid, found) = studies::overlay(&trace, &*studies::open(path)?, &studies::Settings::default())?;
        trace = laid;
        eprintln!("{}", found.summary());
        for (name, op) in found.unmatched.iter().take(8) {
            eprintln!("  not found: {name} ({op})");
        }
        if found.unmatched.len() > 8 {
            eprintln!("  and {} more", found.unmatched.len() - 8);
        }
        report = Some(found);
    }
    crate::export::write(&trace, &args.to)?;
    let (layers, spans, runs) = (trace.layers.len(), trace.spans.len(), trace.runs.len());
    if args.json {
        print_json(
            &json!({ "from": args.from, "to": args.to, "layers": layers, "spans": spans, "runs": runs, "overlay": report }),
        )?;
    } else {
        eprintln!("Wrote {}: {layers} layers, {spans} spans, {runs} runs", args.to.display());
    }
    Ok(Outcome::Fine)
}
