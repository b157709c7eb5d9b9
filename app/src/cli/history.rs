//! `stratoscope history`: the runs that were measured on this machine.

use clap::Subcommand;
use history::{Entry, History, Opened, Query, Trend};
use serde_json::json;

use super::table::{Table, shorten};
use super::{Outcome, print, print_json};
use crate::format;

/// List, search, tag and compare past runs
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope history                        the newest runs\n  \
    stratoscope history --search \"minilm int8\"\n  \
    stratoscope history trend 42               the latency of run 42's model over time, and where it changed\n  \
    stratoscope history tag 42 nightly release\n  \
    stratoscope history:42                     open run 42 in the window; history:ID stands for a file everywhere\n\n\
    The history lies in the user's data folder, or where STRATOSCOPE_HISTORY says. `profile --no-history` keeps a run out of it.")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Only runs in which all of these words occur (model, device, precision, tags, note)
    #[arg(long, value_name = "WORDS", default_value = "")]
    search: String,
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Everything about one run
    Show {
        /// The run's number
        id: i64,
    },
    /// The latency of a run's model over time under the same settings, and where it changed
    Trend {
        /// The number of one of its runs
        id: i64,
    },
    /// Replace the tags of a run
    Tag {
        /// The run's number
        id: i64,
        /// The tags; none removes all
        tags: Vec<String>,
    },
    /// Replace the note of a run
    Note {
        /// The run's number
        id: i64,
        /// The note; nothing removes it
        text: Vec<String>,
    },
    /// Print the path of a run's trace
    Path {
        /// The run's number
        id: i64,
    },
    /// Remove runs and their traces
    Remove {
        /// The runs' numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let Opened { mut history, note } = History::of_user()?;
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    match args.what {
        None => {
            let runs = history.list(&Query { text: args.search.clone(), limit: Some(args.limit) })?;
            if args.json {
                print_json(&runs)?;
            } else if runs.is_empty() {
                let why =
                    if args.search.is_empty() { "`stratoscope profile` adds one" } else { "no run has these words" };
                print(&format!("No runs: {why}.\n"));
            } else {
                print(&list(&runs, history.count()?));
            }
        }
        Some(What::Show { id }) => show(&history.get(id)?, args.json)?,
        Some(What::Trend { id }) => {
            let trend = Trend::of(history.like(&history.get(id)?)?);
            if args.json { print_json(&trend)? } else { print(&trend_text(&trend)) }
        }
        Some(What::Tag { id, tags }) => {
            history.set_tags(id, &tags.join(" "))?;
            show(&history.get(id)?, args.json)?;
        }
        Some(What::Note { id, text }) => {
            history.set_note(id, &text.join(" "))?;
            show(&history.get(id)?, args.json)?;
        }
        Some(What::Path { id }) => {
            let path = history.trace_path(id)?;
            if args.json {
                print_json(&json!({ "id": id, "path": path }))?
            } else {
                print(&format!("{}\n", path.display()))
            }
        }
        Some(What::Remove { ids }) => {
            for id in &ids {
                history.remove(*id)?;
            }
            if args.json {
                print_json(&json!({ "removed": ids }))?
            } else {
                eprintln!("Removed {}", format::plural(ids.len(), "run"))
            }
        }
    }
    Ok(Outcome::Fine)
}

fn latency(e: &Entry) -> String {
    e.median_ns.map_or_else(|| "-".to_owned(), format::duration)
}

fn list(runs: &[Entry], all: u64) -> String {
    let mut table =
        Table::new(&["RUN", "WHEN", "MODEL", "DEVICE", "PRECISION", "MEDIAN", "SPREAD", "TAGS", "NOTE"], "rllllrrll");
    for e in runs {
        table.row([
            e.id.to_string(),
            format::local_time(e.unix_s),
            shorten(&e.model, 28),
            shorten(&e.device, 36),
            if e.fusion { e.precision.clone() } else { format!("{}, fusion off", e.precision) },
            latency(e),
            e.mad_ns.map_or_else(|| "-".to_owned(), |m| format!("±{}", format::duration(m))),
            shorten(&e.tags.join(" "), 24),
            shorten(&e.note, 32),
        ]);
    }
    let rest = all.saturating_sub(runs.len() as u64);
    let rest = if rest > 0 { format!("{rest} more: --limit, --search\n") } else { String::new() };
    format!("{table}{rest}")
}

fn show(e: &Entry, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(e);
    }
    let mut facts = Table::headless("ll");
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.row([name.to_owned(), value]);
        }
    };
    fact("run", e.id.to_string());
    fact("when", format::local_time(e.unix_s));
    fact("model", e.model.clone());
    fact("file", e.model_path.clone());
    fact("device", e.device.clone());
    fact("precision", if e.fusion { e.precision.clone() } else { format!("{}, fusion off", e.precision) });
    fact("dimensions", e.dims.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "));
    if let (Some(mad), Some(p90), Some(p99)) = (e.mad_ns, e.p90_ns, e.p99_ns) {
        let [mad, p90, p99] = [mad, p90, p99].map(format::duration);
        fact(
            "latency",
            format!("{} median ±{mad}, p90 {p90}, p99 {p99}, {}", latency(e), format::plural(e.runs as usize, "run")),
        );
    }
    let bytes = |b: u64| format::bytes(b as f64);
    fact("memory", format!("{} weights, {} activations at the peak", bytes(e.weights_bytes), bytes(e.peak_bytes)));
    fact("tags", e.tags.join(" "));
    fact("note", e.note.clone());
    fact("trace", if e.has_trace { bytes(e.trace_bytes) } else { "removed to save space".to_owned() });
    print(&facts.to_string());
    Ok(())
}

fn trend_text(trend: &Trend) -> String {
    let (Some(first), Some(last)) = (trend.runs.first(), trend.runs.last()) else {
        return "No run of it was measured.\n".to_owned();
    };
    let mut table = Table::new(&["RUN", "WHEN", "MEDIAN", "SPREAD", "CHANGE", "TAGS"], "rlrrll");
    for (i, e) in trend.runs.iter().enumerate() {
        let change = trend.changes.iter().find(|c| c.at == i);
        table.row([
            e.id.to_string(),
            format::local_time(e.unix_s),
            latency(e),
            e.mad_ns.map_or_else(|| "-".to_owned(), |m| format!("±{}", format::duration(m))),
            change.map_or_else(String::new, |c| {
                let word = if c.ratio() > 0.0 { "slower" } else { "faster" };
                format!("from here {} {word}, p {}", format::percent(c.ratio().abs()), format::number(c.p))
            }),
            e.tags.join(" "),
        ]);
    }
    let verdict = match trend.changes.len() {
        0 if trend.runs.len() < 6 => "too few runs to tell a change from noise (6 are needed)".to_owned(),
        0 => "no change that stands out of the noise".to_owned(),
        n => format::plural(n, "change"),
    };
    let (device, precision) = (&last.device, &last.precision);
    format!(
        "{} on {device}, {precision}: {} since {}, {verdict}\n\n{table}",
        last.model,
        format::plural(trend.runs.len(), "run"),
        format::local_time(first.unix_s)
    )
}
