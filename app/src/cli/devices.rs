//! `stratoscope devices`: where a model can run.

use studies::Device;

use super::table::Table;
use super::{Outcome, print, print_json};

/// List the devices that models can run on
#[derive(clap::Args)]
#[command(after_help = "Example:\n  stratoscope devices\n\nThe first column is what --device takes.")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Row<'a> {
    device: String,
    name: &'a str,
    detail: &'a str,
    usable: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
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

fn row(d: &Device) -> Row<'_> {
    Row { device: d.choice.to_string(), name: &d.name, detail: &d.detail, usable: d.usable }
}
