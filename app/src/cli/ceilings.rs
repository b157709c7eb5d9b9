//! `stratoscope ceilings`: what a device can do at best.

use profiler::Ceilings;
use studies::ceilings::{Target, ceilings};
use studies::{DeviceChoice, Settings};

use super::progress::Terminal;
use super::table::Table;
use super::{Outcome, print, print_json};
use crate::format;

/// Measure what a device can do at best: arithmetic, memory, caches
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  stratoscope ceilings                      the CPU, as remembered or measured now\n  \
    stratoscope ceilings --device gpu --again\n  stratoscope ceilings --threads 1 --json\n\n\
    Rooflines and advice hold layers against these. They are remembered for each device and number of threads."
)]
pub struct Args {
    /// auto, cpu, gpu or gpu:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
    /// CPU threads [default: one per physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Measure even if they are remembered
    #[arg(long)]
    again: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let settings = Settings { device: args.device, threads: args.threads.map(usize::from), ..Settings::default() };
    let target = Target::of_settings(&settings)?;
    let terminal = Terminal::start();
    let measured = ceilings(&target, crate::ceilings::folder().as_deref(), args.again, &terminal.control)?;
    drop(terminal);
    if args.json {
        print_json(&measured)?;
    } else {
        print(&text(&measured));
    }
    Ok(Outcome::Fine)
}

fn text(c: &Ceilings) -> String {
    let mut table = Table::new(&["CEILING", "RATE", "HOW"], "lrl");
    for r in &c.compute {
        table.row([format!("{} arithmetic", r.dtype), format::flops_rate(r.flop_per_s), r.how.clone()]);
    }
    for r in &c.caches {
        table.row([
            format!("{} cache", r.name),
            format::bytes_rate(r.bytes_per_s),
            format!("of {}", format::bytes(r.bytes as f64)),
        ]);
    }
    table.row(["memory".to_owned(), format::bytes_rate(c.bandwidth_bytes_per_s), c.bandwidth_how.clone()]);
    let mut out = format!("{}, measured {}\n\n{table}", c.device, format::local_time(c.measured_unix_s as i64));
    for note in &c.notes {
        out += &format!("note: {note}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::roofline::{CacheRoof, ComputeRoof};

    #[test]
    fn every_ceiling_is_printed() {
        let words = text(&Ceilings {
            device: "a device".into(),
            compute: vec![ComputeRoof { dtype: "f32".into(), flop_per_s: 97.6e9, how: "multiply-adds".into() }],
            caches: vec![CacheRoof { name: "L2".into(), bytes: 1 << 20, bytes_per_s: 90e9 }],
            bandwidth_bytes_per_s: 18.8e9,
            bandwidth_how: "reading".into(),
            notes: vec!["it was noisy".into()],
            ..Ceilings::default()
        });
        for part in
            ["a device", "f32 arithmetic  97.6 GFLOP/s  multiply-adds", "90.0 GB/s", "18.8 GB/s", "it was noisy"]
        {
            assert!(words.contains(part), "{part} in\n{words}");
        }
    }
}
