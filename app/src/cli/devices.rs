//! `stratoscope devices`: where a model can run.

use studies::tuning::{folder, tune};
use studies::{Device, DeviceChoice};

use super::progress::Terminal;
use super::table::Table;
use super::{Outcome, print, print_json};

/// List the devices that models can run on
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  stratoscope devices\n  stratoscope devices --tune gpu:0\n\nThe first column is what --device takes. \
    What was tuned is remembered for the adapter and its driver, and used from then on."
)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Find the fastest matrix tiles of a GPU, and remember them
    #[arg(long, value_name = "DEVICE")]
    tune: Option<DeviceChoice>,
}

#[derive(serde::Serialize)]
struct Row<'a> {
    device: String,
    name: &'a str,
    detail: &'a str,
    usable: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if let Some(device) = args.tune {
        return tuned(device, args.json);
    }
    let devices = studies::devices();
    let rows: Vec<Row> = devices.iter().map(row).collect();
    if args.json {
        print_json(&rows)?;
        return Ok(Outcome::Fine);
    }
    let mut table = Table::new(&["DEVICE", "NAME", "DETAIL"], "lll");
    for r in &rows {
        let detail = if r.usable { r.detail.to_owned() } else { format!("{} (not usable)", r.detail) };
        table.row([r.device.clone(), r.name.to_owned(), detail]);
    }
    print(&table.to_string());
    Ok(Outcome::Fine)
}

/// Times every tile of the table on one adapter.
fn tuned(device: DeviceChoice, json: bool) -> anyhow::Result<Outcome> {
    let terminal = Terminal::start();
    let rows = tune(device, folder().as_deref(), &terminal.control)?;
    drop(terminal);
    if json {
        print_json(&rows)?;
        return Ok(Outcome::Fine);
    }
    let mut table = Table::new(&["PRODUCT", "TILE", "GFLOP/S", ""], "llrl");
    for r in rows {
        let mark = if r.fastest { "fastest" } else { "" };
        table.row([r.product, r.tile, format!("{:.1}", r.gflop_per_s), mark.to_owned()]);
    }
    print(&table.to_string());
    Ok(Outcome::Fine)
}

fn row(d: &Device) -> Row<'_> {
    Row { device: d.choice.to_string(), name: &d.name, detail: &d.detail, usable: d.usable }
}
