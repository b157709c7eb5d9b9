//! `stratoscope accuracy`: what each precision costs in error.

use std::path::PathBuf;

use anyhow::bail;
use profiler::{Accuracy, Trace};
use studies::Precision;

use super::measure::{MeasureArgs, open_model};
use super::progress::Terminal;
use super::table::{Table, shorten};
use super::{Outcome, print, print_json, require_format};
use crate::format;

/// Compare precisions with f32: error per layer and at the outputs
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope accuracy model.onnx\n  \
    stratoscope accuracy sample:digits_vit --schemes int8,int4 --out accuracy.scope\n\n\
    SQNR is signal to quantization noise in dB: higher is better, 20 dB is 1% of noise power.")]
pub struct Args {
    /// An .onnx file or sample:ID [default: the built-in sample]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Which precisions to compare
    #[arg(long, value_name = "P,P", value_delimiter = ',', default_value = "f16,bf16,int8,int4")]
    schemes: Vec<Precision>,
    #[command(flatten)]
    measure: MeasureArgs,
    /// Write the trace; the extension tells the format; may repeat
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.schemes.contains(&Precision::F32) {
        bail!("--schemes f32: f32 is the reference that the others are compared with");
    }
    for file in &args.out {
        require_format(file)?;
    }
    let settings = args.measure.settings();
    let model = open_model(args.model.as_deref(), &settings)?;
    let terminal = Terminal::start();
    let trace = studies::accuracy(&model, &settings, &args.schemes, &terminal.control)?;
    for file in &args.out {
        crate::export::write(&trace, file)?;
        terminal.say(&format!("Wrote {}", file.display()));
    }
    drop(terminal);
    if args.json {
        print_json(&serde_json::json!({
            "model": trace.meta.model, "device": trace.meta.device, "reference": "f32", "schemes": trace.accuracy,
        }))?;
    } else {
        print(&text(&trace));
    }
    Ok(Outcome::Fine)
}

fn text(trace: &Trace) -> String {
    let mut out = format!("{}, compared with f32\n\n", trace.meta.model);
    let head = ["SCHEME", "OUTPUT", "SQNR", "TOP-1 AGREES", "KL", "WEIGHTS", "LATENCY", ""];
    let mut table = Table::new(&head, "llrrrrrl");
    for a in &trace.accuracy {
        let note = if a.simulated { "simulated" } else { "" };
        for (i, o) in a.outputs.iter().enumerate() {
            let first = |s: String| if i == 0 { s } else { String::new() };
            table.row([
                first(a.scheme.clone()),
                shorten(&o.name, 24),
                known(o.sqnr_db, decibels),
                known(o.top1_agreement, |v| format!("{:.1}%", v * 100.0)),
                known(o.kl_nats, |v| format!("{v:.2e}")),
                first(format::bytes(a.weights_bytes as f64)),
                first(known(a.latency_ns, |v| format::duration(v as f64))),
                first(note.to_owned()),
            ]);
        }
    }
    out += &table.to_string();
    for a in &trace.accuracy {
        // Some descriptions start with the scheme's name.
        let words =
            a.description.strip_prefix(&a.scheme).map_or(a.description.as_str(), |d| d.trim_start_matches([':', ' ']));
        out += &format!("\n{}: {words}\n", a.scheme);
        out += &task(a);
        out += &worst(a);
    }
    out
}

fn task(a: &Accuracy) -> String {
    let Some(t) = &a.task else { return String::new() };
    let interval = t
        .difference_interval
        .map(|(low, high)| format!(", difference {:+.4} [{low:+.4}, {high:+.4}]", t.value - t.reference))
        .unwrap_or_default();
    format!("{} {:.4}, f32 {:.4}, on {}{interval}\n", t.metric, t.value, t.reference, format::grouped(t.count))
}

/// The layers that add most error of their own.
fn worst(a: &Accuracy) -> String {
    let mut layers: Vec<_> = a.layers.iter().filter_map(|l| Some((l.local_sqnr_db?, l))).collect();
    layers.sort_by(|x, y| x.0.total_cmp(&y.0));
    if layers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["WORST LAYERS", "OWN SQNR", "SO FAR"], "lrr");
    for (local, l) in layers.into_iter().take(5) {
        table.row([shorten(&l.layer, 52), decibels(local), known(l.cumulative_sqnr_db, decibels)]);
    }
    table.to_string()
}

fn known<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn decibels(v: f64) -> String {
    format!("{v:.1} dB")
}
