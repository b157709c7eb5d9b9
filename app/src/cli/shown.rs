//! Which layers a report shows, and what they are added up by.

use profiler::filter::{Filter, FilterError, Subject};
use profiler::{Audit, LayerStats, RollupKey, Trace, rollup};

use super::table::{Table, shorten};
use crate::draw::layer_figures::LayerFigures;
use crate::format;

/// Rows of a report, unless a filter picks them.
const ROWS: usize = 12;

#[derive(clap::Args, Default)]
pub struct ShownArgs {
    /// Only these layers in the report: "op:MatMul time>1ms", "type:attention -op:Reshape", "share>2%"
    #[arg(long, value_name = "FILTER", value_parser = parse)]
    filter: Option<Filter>,
    /// Add layers up in the report: by scope (its first two parts), op or type (attention, MLP, ...)
    #[arg(long, value_name = "BY")]
    group: Option<By>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum By {
    Scope,
    Op,
    Type,
}

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text)
}

/// The layers that take most of the time, or those that are asked for.
pub fn layers(trace: &Trace, shown: &ShownArgs) -> String {
    let mut stats = trace.layer_stats();
    if stats.is_empty() {
        return String::new();
    }
    let all = stats.len();
    if let Some(filter) = &shown.filter {
        let figures = LayerFigures::new(trace, |_| Vec::new(), &[]);
        stats.retain(|s| passes(trace, &figures, s, filter));
    }
    stats.sort_by(|a, b| b.share.total_cmp(&a.share));
    let sum = |stats: &[LayerStats]| stats.iter().map(|s| s.share).sum::<f64>();
    let mut out = match shown.group {
        Some(by) => format!("\n{}", groups(trace, &stats, by)),
        None => {
            let rows = if shown.filter.is_some() { stats.len() } else { ROWS };
            let mut out = format!("\n{}", single(trace, &stats[..rows.min(stats.len())]));
            if stats.len() > rows {
                out += &format!("{} more layers: {:.1}%\n", stats.len() - rows, sum(&stats[rows..]) * 100.0);
            }
            out
        }
    };
    if shown.filter.is_some() {
        let time: f64 = stats.iter().map(|s| s.time.median).sum();
        let (of, share) = (format::plural(all, "layer"), sum(&stats) * 100.0);
        out += &format!("{} of {of} pass: {}, {share:.1}%\n", stats.len(), format::duration(time));
    }
    out
}

fn passes(trace: &Trace, figures: &LayerFigures, stats: &LayerStats, filter: &Filter) -> bool {
    let i = stats.layer.index();
    let Some(layer) = trace.layers.get(i) else { return false };
    filter.matches(&Subject {
        layer,
        label: &layer.name,
        stats: Some(stats),
        memory_bytes: figures.memory[i].map(|b| b as f64),
        error_db: figures.error(i, None),
        ceiling: None,
        badges: &Audit::layer_badges(trace, stats),
    })
}

fn single(trace: &Trace, stats: &[LayerStats]) -> Table {
    let mut table = Table::new(&["LAYER", "SCOPE", "OPERATOR", "MEDIAN", "P99", "SHARE", "RATE"], "lllrrrr");
    for s in stats {
        let Some(layer) = trace.layers.get(s.layer.index()) else { continue };
        let rate =
            layer.flops.filter(|_| s.time.median > 0.0).map(|f| format::flops_rate(f as f64 * 1e9 / s.time.median));
        table.row([
            shorten(&layer.name, 36),
            shorten(&layer.scope, 36),
            shorten(&layer.op, 28),
            format::duration(s.time.median),
            format::duration(s.time.p99),
            format!("{:.1}%", s.share * 100.0),
            rate.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn groups(trace: &Trace, stats: &[LayerStats], by: By) -> Table {
    let (head, key) = match by {
        By::Scope => ("SCOPE", RollupKey::Scope(2)),
        By::Op => ("OPERATOR", RollupKey::Op),
        By::Type => ("TYPE", RollupKey::Kind),
    };
    let mut table = Table::new(&[head, "LAYERS", "MEDIAN", "SHARE", "WORK", "BYTES", "WEIGHTS"], "lrrrrrr");
    let groups = rollup(trace, stats, key);
    for g in &groups {
        table.row([
            if g.name.is_empty() { "(none)".to_owned() } else { shorten(&g.name, 48) },
            g.layers.len().to_string(),
            format::duration(g.median_ns),
            format!("{:.1}%", g.share * 100.0),
            format::flops(g.flops as f64),
            format::bytes(g.bytes as f64),
            format::bytes(g.weight_bytes as f64),
        ]);
    }
    let sum = |of: fn(&profiler::Rollup) -> u64| groups.iter().map(of).fold(0u64, u64::saturating_add) as f64;
    table.row([
        "sum".to_owned(),
        groups.iter().map(|g| g.layers.len()).sum::<usize>().to_string(),
        format::duration(groups.iter().map(|g| g.median_ns).sum()),
        format!("{:.1}%", groups.iter().map(|g| g.share).sum::<f64>() * 100.0),
        format::flops(sum(|g| g.flops)),
        format::bytes(sum(|g| g.bytes)),
        format::bytes(sum(|g| g.weight_bytes)),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_pick_rows_and_groups_add_up() {
        let trace = profiler::fixtures::transformer(3, 4, 1);
        let text = |filter: &str, group| {
            let filter = (!filter.is_empty()).then(|| Filter::parse(filter).unwrap());
            layers(&trace, &ShownArgs { filter, group })
        };
        let plain = text("", None);
        assert_eq!(plain.lines().filter(|l| l.contains("encoder/")).count(), ROWS, "{plain}");
        let queries = text("name:query error>0", None);
        assert_eq!(queries.lines().filter(|l| l.contains("/query")).count(), 3, "{queries}");
        let pass = format!("3 of {} layers pass", trace.layers.len());
        assert!(queries.contains(&pass), "{queries}");
        for by in [By::Scope, By::Op, By::Type] {
            let grouped = text("", Some(by));
            assert!(grouped.lines().last().is_some_and(|l| l.starts_with("sum") && l.contains("100.0%")), "{grouped}");
        }
        assert!(text("", Some(By::Type)).contains("Attention"));
        assert!(text("op:nothing", None).contains("0 of "));
        assert_eq!(layers(&Trace::default(), &ShownArgs::default()), "");
    }
}
