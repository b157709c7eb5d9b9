//! `stratoscope inspect`: what is in a model, without running it.

use std::path::PathBuf;

use studies::Inspection;

use super::measure::{MeasureArgs, open_model};
use super::table::{Table, shorten};
use super::{Outcome, print, print_json};
use crate::format;

/// Show what is in a model: inputs, operators, parameters, planned cost
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope inspect model.onnx\n  \
    stratoscope inspect model.onnx --dim batch=8 --dim seq=128 --json\n\n\
    Exit code 1 if the model holds operators that can't run yet.")]
pub struct Args {
    /// An .onnx file or sample:ID [default: the built-in sample]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let settings = args.measure.settings();
    let model = open_model(args.model.as_deref(), &settings)?;
    let inspection = studies::inspect(&model, &settings);
    if args.json {
        print_json(&inspection)?;
    } else {
        print(&text(&inspection));
    }
    Ok(if inspection.unsupported.is_empty() { Outcome::Fine } else { Outcome::CheckFailed })
}

fn text(i: &Inspection) -> String {
    let mut head = Table::headless("ll");
    let mut fact = |name: &str, value: String| head.row([name.to_owned(), value]);
    fact("model", i.model.clone());
    if !i.producer.is_empty() {
        fact("made by", i.producer.clone());
    }
    let opsets: Vec<String> =
        i.opsets.iter().map(|(d, v)| format!("{} {v}", if d.is_empty() { "ai.onnx" } else { d })).collect();
    fact("format", format!("{}, opset {}", i.format, opsets.join(", ")));
    fact(
        "size",
        format!("{} on disk, {} of weights", format::bytes(i.file_bytes as f64), format::bytes(i.weights_bytes as f64)),
    );
    fact("parameters", format::count(i.parameters as f64));
    fact("graph", format!("{} nodes, {} planned layers", i.nodes, i.layers.len()));
    fact("work", i.flops.map_or("unknown".into(), |f| format!("{} per run", format::flops(f as f64))));
    fact(
        "activations",
        i.activations_peak_bytes.map_or("unknown".into(), |b| format!("{} at the peak", format::bytes(b as f64))),
    );
    let mut out = head.to_string();

    let mut inputs = Table::new(&["INPUT", "TYPE", "SHAPE NOW", "FILL"], "llll");
    for x in &i.inputs {
        inputs.row([x.name.clone(), x.ty.clone(), format!("{:?}", x.shape), x.fill.clone()]);
    }
    out += &format!("\n{inputs}");
    if !i.dims.is_empty() {
        let dims: Vec<String> = i.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
        out += &format!("\ndimensions: {} (change with --dim)\n", dims.join(", "));
    }
    let mut outputs = Table::new(&["OUTPUT", "TYPE"], "ll");
    for (name, ty) in &i.outputs {
        outputs.row([name.clone(), ty.clone()]);
    }
    out += &format!("\n{outputs}");

    let mut ops = Table::new(&["OPERATOR", "NODES", ""], "lrl");
    for (op, n, supported) in &i.operators {
        let note = if *supported { "" } else { "can't run yet" };
        ops.row([shorten(op, 48), n.to_string(), note.to_owned()]);
    }
    out += &format!("\n{ops}");
    for message in &i.unsupported {
        out += &format!("\nunsupported: {message}");
    }
    if !i.unsupported.is_empty() {
        out.push('\n');
    }
    out
}
