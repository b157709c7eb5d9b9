//! `stratoscope what-if`: what a model's activations would take if they were planned otherwise.

use std::path::PathBuf;

use studies::{DeviceChoice, Settings, WhatIf};

use super::measure::{MeasureArgs, open_model};
use super::progress::Terminal;
use super::table::Table;
use super::{Outcome, print, print_json};
use crate::format;

/// Plan a model's memory in other ways: in place, in another order, in f16, with and without fusion
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope what-if model.onnx\n  \
    stratoscope what-if model.onnx --dim batch=8 --json\n\n\
    Every figure is the planner's own; nothing is run.")]
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
    // Only the CPU's plan has an arena.
    let settings = Settings { device: DeviceChoice::Cpu, ..args.measure.settings() };
    let model = open_model(args.model.as_deref(), &settings)?;
    let terminal = Terminal::start();
    let what_if = studies::what_if(&model, &settings, &terminal.control)?;
    drop(terminal);
    if args.json {
        print_json(&what_if)?;
    } else {
        print(&text(&what_if));
    }
    Ok(Outcome::Fine)
}

fn text(w: &WhatIf) -> String {
    let dims: Vec<String> = w.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let mut out = format!("{} {} {}\n\n", w.model, w.precision, dims.join(" "));
    let mut table = Table::new(&["ACTIVATIONS", "PEAK", "ARENA", "SAVED", ""], "lrrrl");
    let size = |bytes: u64| format::bytes(bytes as f64);
    let b = &w.baseline;
    table.row([b.name.clone(), size(b.peak_bytes), size(b.arena_bytes), String::new(), b.explanation.clone()]);
    for c in &w.cases {
        table.row([c.name.clone(), size(c.peak_bytes), size(c.arena_bytes), saved(w, c), c.explanation.clone()]);
    }
    out += &table.to_string();
    out + &format!(
        "\nno order can have a lower peak than {}: the inputs and outputs of {}\n",
        size(w.floor_bytes),
        w.floor_step
    )
}

/// `0.39 MB (24.1%)`, `no saving`, `costs 0.39 MB (24.1%)`.
pub fn saved(w: &WhatIf, case: &studies::Case) -> String {
    let bytes = w.saved_bytes(case);
    let figures = || {
        let share = format::percent(w.saved_share(case).abs());
        format!("{} ({share})", format::bytes(bytes.unsigned_abs() as f64))
    };
    match bytes {
        0 => "no saving".to_owned(),
        b if b < 0 => format!("costs {}", figures()),
        _ => figures(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_and_costs_are_said() {
        let case = |peak_bytes| studies::Case {
            id: "x",
            name: "X".into(),
            peak_bytes,
            arena_bytes: peak_bytes,
            explanation: String::new(),
        };
        let w = WhatIf {
            model: "m".into(),
            dims: Default::default(),
            precision: studies::Precision::F32,
            fusion: true,
            baseline: case(2000),
            cases: vec![case(1000), case(2000), case(3000)],
            floor_bytes: 900,
            floor_step: "layer.1".into(),
        };
        let texts: Vec<String> = w.cases.iter().map(|c| saved(&w, c)).collect();
        assert_eq!(texts, ["1.00 kB (50.0%)", "no saving", "costs 1.00 kB (50.0%)"]);
        assert!(text(&w).contains("layer.1"));
    }
}
