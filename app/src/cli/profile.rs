//! `stratoscope profile`: where time and memory go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use profiler::{Audit, Severity, Trace};
use studies::ceilings::{Target, ceilings};
use studies::{EngineChoice, EngineOptions, Profiled, Settings};

use super::measure::{MeasureArgs, open_model};
use super::progress::Terminal;
use super::shown::{self, ShownArgs};
use super::table::Table;
use super::{Outcome, print, print_json, report, require_format};
use crate::format;
use crate::live::{DEFAULT_ADDRESS, LiveServer};

/// Measure latency and memory, layer by layer
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope profile                        the built-in sample\n  \
    stratoscope profile model.onnx --dim batch=1 --dim seq=128 --device gpu\n  \
    stratoscope profile model.onnx --out run.scope --out run.json --out layers.csv\n  \
    stratoscope profile model.onnx --input tokens=@tokens.npy --save-outputs results/\n  \
    stratoscope profile model.onnx --group type --filter 'share>1%'\n  \
    stratoscope profile model.onnx --engine onnxruntime --engine-option level=basic --threads 1\n  \
    stratoscope profile model.onnx --engine 'external:./run.sh {model} {profile} {threads} {runs}'\n\n\
    --engine onnxruntime uses the library of ORT_DYLIB_PATH, of a pip-installed onnxruntime, or of the system; a path after a \
    colon names another. --engine external runs a command that leaves a profile of any format that can be opened.\n\n\
    --out formats: .scope (this program), .json (Chrome trace, opens in Perfetto), .puffin, .csv (layers).")]
pub struct Args {
    /// An .onnx file or sample:ID [default: the built-in sample]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    measure: MeasureArgs,
    /// Who runs it: own, onnxruntime, onnxruntime:LIBRARY, or external:COMMAND
    #[arg(long, value_name = "ENGINE", default_value = "own")]
    engine: EngineChoice,
    /// An option of ONNX Runtime: level=basic, mode=parallel, inter_threads=2, provider=cuda, spinning=off,
    /// memory_pattern=off, arena=off, prepacking=off; may repeat
    #[arg(long = "engine-option", value_name = "NAME=VALUE")]
    engine_options: Vec<String>,
    /// Write one .npy file per model output into this directory
    #[arg(long, value_name = "DIR")]
    save_outputs: Option<PathBuf>,
    /// Write the trace; the extension tells the format; may repeat
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// Serve the runs to puffin_viewer when measured, until Ctrl-C
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = DEFAULT_ADDRESS)]
    serve_puffin: Option<String>,
    /// Don't keep this run in the history
    #[arg(long)]
    no_history: bool,
    /// Tags for this run in the history; may repeat
    #[arg(long, value_name = "TAG", conflicts_with = "no_history")]
    tag: Vec<String>,
    /// Measure what the device can do at best too, if that is not known yet: how far layers are from it is then told
    #[arg(long)]
    ceilings: bool,
    #[command(flatten)]
    shown: ShownArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    // What can fail without measuring fails before it.
    for file in &args.out {
        require_format(file)?;
    }
    let server = args.serve_puffin.as_deref().map(LiveServer::start).transpose()?;
    let settings = Settings {
        engine_options: engine_options(&args.engine, &args.engine_options)?,
        engine: args.engine.clone(),
        ..args.measure.settings()
    };
    let model = open_model(args.model.as_deref(), &settings)?;
    let terminal = Terminal::start();
    let Profiled { mut trace, outputs } = studies::profile(&model, &settings, &terminal.control)?;
    if args.ceilings {
        let target = Target::of_trace(&trace.meta)?;
        trace.ceilings = Some(ceilings(&target, crate::ceilings::folder().as_deref(), false, &terminal.control)?);
    } else {
        crate::ceilings::attach(&mut trace);
    }
    for file in &args.out {
        crate::export::write(&trace, file)?;
        terminal.say(&format!("Wrote {}", file.display()));
    }
    if let Some(dir) = &args.save_outputs {
        save_outputs(dir, &outputs)?;
        terminal.say(&format!("Wrote {} outputs to {}", outputs.len(), dir.display()));
    }
    if !args.no_history
        && let Err(e) = keep(&trace, &args.tag)
    {
        // What was measured is worth more than the record of it.
        terminal.say(&format!("warning: this run is not in the history: {e}"));
    }
    let cancelled = terminal.control.clone();
    drop(terminal);
    if args.json {
        print_json(&report::json(&trace))?;
    } else {
        print(&text(&trace, &args.shown));
    }
    if let Some(server) = server {
        eprintln!(
            "Serving {} to puffin_viewer on {}; Ctrl-C ends",
            format::plural(trace.runs.len(), "run"),
            server.address()
        );
        server.show(Arc::new(trace));
        while !cancelled.is_cancelled() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    Ok(Outcome::Fine)
}

/// Options by name, looked at.
pub(super) fn engine_options(engine: &EngineChoice, pairs: &[String]) -> anyhow::Result<EngineOptions> {
    let mut options = EngineOptions::default();
    for pair in pairs {
        options.set_pair(pair)?;
    }
    if !options.is_empty() && !matches!(engine, EngineChoice::OnnxRuntime { .. }) {
        bail!("--engine-option is for --engine onnxruntime");
    }
    Ok(options)
}

fn keep(trace: &Trace, tags: &[String]) -> Result<(), history::HistoryError> {
    let history::Opened { mut history, note } = history::History::of_user()?;
    if let Some(note) = note {
        log::warn!("{note}");
    }
    let id = history.add(trace)?;
    if !tags.is_empty() {
        history.set_tags(id, &tags.join(" "))?;
    }
    Ok(())
}

fn save_outputs(dir: &Path, outputs: &[(String, graph::Tensor)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let mut taken = std::collections::HashSet::new();
    for (name, tensor) in outputs {
        let file = file_stem(name);
        if !taken.insert(file.clone()) {
            bail!("outputs \"{name}\" and another would both be written to {file}.npy");
        }
        formats::tensor_file::write_npy(&dir.join(format!("{file}.npy")), tensor)?;
    }
    Ok(())
}

/// An output's name without what a file name can't hold.
fn file_stem(name: &str) -> String {
    let stem: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    if stem.trim_matches('.').is_empty() { "output".to_owned() } else { stem }
}

/// The report for people.
pub fn text(trace: &Trace, shown: &ShownArgs) -> String {
    let meta = &trace.meta;
    let mut out = format!("{} on {}\n", meta.model, meta.ran_on());
    let mut setup = vec![meta.precision.clone()];
    setup.extend(meta.inputs.iter().map(|(n, t)| format!("{n} {t}")));
    if !meta.fusion {
        setup.push("fusion off".to_owned());
    }
    out += &format!("{}\n\n", setup.join(", "));

    let mut facts = Table::headless("ll");
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    let simulated = if meta.simulated_precision { "  (simulated: weights are dequantised on load)" } else { "" };
    match trace.headline() {
        Some(s) => fact(
            "latency",
            format!(
                "{} median ±{}, p90 {}, p99 {}, {} runs{simulated}",
                format::duration(s.median),
                format::duration(s.mad),
                format::duration(s.p90),
                format::duration(s.p99),
                s.count
            ),
        ),
        None => fact("latency", "unknown: no measured runs".to_owned()),
    }
    if let Some(t) = trace.throughput_per_s() {
        fact("throughput", format!("{} items/s", format::number(t)));
    }
    fact("load", format::duration(meta.load_ns as f64));
    let m = &trace.memory;
    // Another engine does not tell all of it.
    let bytes = |b: u64| match b {
        0 if !meta.engine.is_empty() => format::UNKNOWN.to_owned(),
        b => format::bytes(b as f64),
    };
    let mut memory =
        format!("{} weights, {} activations at the peak", bytes(m.weights_bytes), bytes(m.activations_peak_bytes));
    if m.process_peak_bytes > 0 {
        memory += &format!(", {} process", format::bytes(m.process_peak_bytes as f64));
    }
    fact("memory", memory + simulated);
    out += &facts.to_string();

    let audit = Audit::of(trace);
    let (ok, rest): (Vec<_>, Vec<_>) = audit.badges.iter().partition(|b| b.severity == Severity::Ok);
    out += &format!("\naudit: {} fine\n", format::plural(ok.len(), "check"));
    for b in rest {
        let word = if b.severity == Severity::Bad { "bad " } else { "note" };
        out += &format!("  {word}  {}. {}\n", b.title, b.detail);
    }
    out + &super::advice::text(trace, &audit) + &shown::layers(trace, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_the_slowest_layer_and_survives_emptiness() {
        let trace = profiler::fixtures::one_layer();
        let report = text(&trace, &ShownArgs::default());
        assert!(report.contains(&trace.layers[0].name) && report.contains("100.0%"), "{report}");
        let empty = text(&Trace::default(), &ShownArgs::default());
        assert!(empty.contains("no measured runs"), "{empty}");
    }

    #[test]
    fn output_names_become_file_names() {
        assert_eq!(file_stem("logits"), "logits");
        assert_eq!(file_stem("../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!(file_stem(".."), "output");
        assert_eq!(file_stem("a b:0"), "a_b_0");
    }
}
