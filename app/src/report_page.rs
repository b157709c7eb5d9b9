//! A profile as one HTML page that needs nothing else: the answer first, then pictures and tables. It reads on a screen and on
//! paper.

use std::fmt::Write;

use profiler::{Advice, Audit, LayerStats, Severity};

use crate::format::{self, UNKNOWN};
use crate::snapshot::{self, Options, Scene};
use crate::svg::escape;
use crate::view::Profile;

/// Rows of the table of layers; the rest is one line.
const ROWS: usize = 40;
const WIDTH: f32 = 1000.0;

/// Which views stand in the report, how high, under which title, and whether the trace has what fills them.
type Picture = (&'static str, f32, &'static str, &'static str, fn(&Profile) -> bool);

const PICTURES: [Picture; 5] = [
    ("flame", 300.0, "Timeline", "The measured run that is closest to the median.", |p| !p.trace.spans.is_empty()),
    ("roofline", 420.0, "Roofline", "Each layer under what its device can do at best.", |p| p.trace.ceilings.is_some()),
    ("memory", 420.0, "Memory", "What is alive at each step of the plan.", |p| !p.trace.memory.tensors.is_empty()),
    ("accuracy", 420.0, "Accuracy", "What a reduced precision costs, layer by layer.", |p| {
        !p.trace.accuracy.is_empty()
    }),
    ("graph", 520.0, "Graph", "The model as blocks, coloured by time.", |p| !p.trace.nodes.is_empty()),
];

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 14px/1.5 Inter, system-ui, sans-serif; color: #2f3640; background: #fff; margin: 0 auto; max-width: 1000px; padding: 32px 24px 64px; }
h1 { font-size: 24px; line-height: 1.2; color: #111418; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; color: #111418; margin: 40px 0 8px; border-bottom: 1px solid #dfe2e7; padding-bottom: 4px; }
p { margin: 4px 0; } .weak { color: #667085; }
.answer { font-size: 20px; color: #111418; margin: 16px 0; }
.num, td.r, th.r { font-family: 'JetBrains Mono', ui-monospace, monospace; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: 12px; }
th { text-align: left; color: #667085; font-weight: 500; border-bottom: 1px solid #dfe2e7; padding: 4px 8px; }
td { border-bottom: 1px solid #eef0f3; padding: 3px 8px; vertical-align: top; overflow-wrap: anywhere; }
td.r, th.r { text-align: right; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; font-size: 13px; }
dt { color: #667085; } dd { margin: 0; overflow-wrap: anywhere; }
ol { padding-left: 20px; } li { margin: 8px 0; }
svg { width: 100%; height: auto; border: 1px solid #dfe2e7; }
.ok { color: #17734a; } .warn { color: #855600; } .bad { color: #b92b34; }
@page { margin: 14mm; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } figure, li, tr, dl { break-inside: avoid; } h2 { break-after: avoid; } }
figure { margin: 8px 0; } figcaption { color: #667085; font-size: 12px; }
";

/// The page.
pub fn html(profile: &Profile) -> String {
    let trace = &profile.trace;
    let meta = &trace.meta;
    let title = if meta.model.is_empty() { "Profile" } else { &meta.model };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0} - Stratoscope</title><style>{STYLE}</style></head>\n\
         <body>\n<h1>{0}</h1>\n<p class=\"weak\">{1}</p>\n",
        escape(title),
        escape(&subtitle(profile))
    );
    _ = writeln!(page, "<p class=\"answer\">{}</p>", answer(profile));
    let scene = Scene::of(Some(profile), None);
    facts(&mut page, profile);
    if let Some(advised) = &scene.facts.advice {
        advice(&mut page, &advised.advice);
    }
    audit(&mut page, &profile.audit);
    for (view, height, title, caption, _) in PICTURES.iter().filter(|p| (p.4)(profile)) {
        let options = Options { size: [WIDTH, *height], dark: false, ..Options::default() };
        // A picture that can't be made is left out rather than the report.
        match snapshot::view_svg(view, &scene, options, view) {
            Ok(svg) => {
                _ = writeln!(page, "<h2>{title}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>");
            }
            Err(e) => log::warn!("report: {view}: {e}"),
        }
    }
    layers(&mut page, profile);
    page + "</body></html>\n"
}

fn subtitle(profile: &Profile) -> String {
    let meta = &profile.trace.meta;
    let mut parts = vec![meta.device.clone(), meta.precision.clone()];
    if !meta.fusion && meta.producer.starts_with("stratoscope") {
        parts.push("fusion off".to_owned());
    }
    parts.extend(meta.dims.iter().map(|(name, n)| format!("{name}={n}")));
    if let Ok(at) = i64::try_from(meta.created_unix_s)
        && at > 0
    {
        parts.push(format::local_time(at));
    }
    parts.push(meta.producer.clone());
    parts.retain(|p| !p.is_empty());
    parts.join(" · ")
}

/// The page's first sentence: how long it takes, and what takes most of it.
fn answer(profile: &Profile) -> String {
    let Some(latency) = profile.trace.headline() else { return "No run was measured.".to_owned() };
    let spread = if latency.count > 1 {
        format!(" <span class=\"weak num\">±{}, {} runs</span>", format::duration(latency.mad), latency.count)
    } else {
        " <span class=\"weak\">one run: its spread is unknown</span>".to_owned()
    };
    let mut text = format!("<span class=\"num\">{}</span>{spread}", format::duration(latency.median));
    let slowest = profile.stats.iter().max_by(|a, b| a.share.total_cmp(&b.share));
    if let Some((s, layer)) = slowest.and_then(|s| Some((s, profile.layer(s.layer)?))) {
        _ = write!(
            text,
            ". The slowest layer, {}, takes <span class=\"num\">{}</span> of the layers' time.",
            escape(&layer.name),
            format::percent(s.share)
        );
    }
    text
}

fn facts(page: &mut String, profile: &Profile) {
    let (trace, m) = (&profile.trace, &profile.trace.memory);
    let bytes = |b: u64| if b == 0 { UNKNOWN.to_owned() } else { format::bytes(b as f64) };
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(s) = trace.headline().filter(|s| s.count > 1) {
        rows.push(("p90, p99", format!("{}, {}", format::duration(s.p90), format::duration(s.p99))));
    }
    if let Some(t) = trace.throughput_per_s() {
        rows.push(("Throughput", format!("{} items/s", format::number(t))));
    }
    rows.push(("Weights", bytes(m.weights_bytes)));
    rows.push(("Activations at the peak", bytes(m.activations_peak_bytes)));
    if m.process_peak_bytes > 0 {
        rows.push(("Process at the peak", bytes(m.process_peak_bytes)));
    }
    rows.push(("Clock", trace.meta.clock.strategy.clone()));
    if !trace.meta.model_path.is_empty() {
        rows.push(("Model", trace.meta.model_path.clone()));
    }
    rows.extend(trace.meta.inputs.iter().map(|(name, ty)| ("Input", format!("{name} {ty}"))));
    page.push_str("<dl>\n");
    for (name, value) in rows.iter().filter(|r| !r.1.is_empty()) {
        _ = writeln!(page, "<dt>{name}</dt><dd class=\"num\">{}</dd>", escape(value));
    }
    page.push_str("</dl>\n");
}

fn advice(page: &mut String, advice: &Advice) {
    if advice.findings.is_empty() {
        return;
    }
    page.push_str("<h2>What to fix first</h2>\n<ol>\n");
    for f in advice.findings.iter().take(5) {
        let saving = match (f.saving_ns, f.saving_bytes) {
            (Some(ns), _) => format!(" <span class=\"num\">saves up to {}</span>", format::duration(ns)),
            (_, Some(b)) => format!(" <span class=\"num\">saves up to {}</span>", format::bytes(b as f64)),
            _ => String::new(),
        };
        _ = writeln!(
            page,
            "<li><b>{}</b>{saving}<p>{}</p><p class=\"weak\">{} {}</p></li>",
            escape(&f.title),
            escape(&f.why),
            escape(&f.try_this),
            escape(&f.basis)
        );
    }
    page.push_str("</ol>\n");
}

fn audit(page: &mut String, audit: &Audit) {
    page.push_str("<h2>Can this be trusted?</h2>\n<table>\n");
    for b in &audit.badges {
        let (class, word) = match b.severity {
            Severity::Ok => ("ok", "fine"),
            Severity::Warn => ("warn", "note"),
            Severity::Bad => ("bad", "bad"),
        };
        _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td class=\"weak\">{}</td></tr>",
            escape(&b.title),
            escape(&b.detail)
        );
    }
    page.push_str("</table>\n");
}

fn layers(page: &mut String, profile: &Profile) {
    let mut stats: Vec<&LayerStats> = profile.stats.iter().collect();
    stats.sort_by(|a, b| b.share.total_cmp(&a.share));
    if stats.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Layers</h2>\n<table>\n<thead><tr><th>Layer</th><th>Operator</th><th class=\"r\">Median</th><th class=\"r\">p99</th>\
         <th class=\"r\">Share</th><th class=\"r\">Rate</th><th>Output</th></tr></thead>\n",
    );
    let unknown = || UNKNOWN.to_owned();
    for s in stats.iter().take(ROWS) {
        let Some(layer) = profile.layer(s.layer) else { continue };
        let rate =
            layer.flops.filter(|_| s.time.median > 0.0).map(|f| format::flops_rate(f as f64 * 1e9 / s.time.median));
        let p99 = if s.runs > 1 { format::duration(s.time.p99) } else { unknown() };
        _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"r\">{}</td><td class=\"r\">{p99}</td><td class=\"r\">{}</td><td class=\"r\">{}</td><td>{}</td></tr>",
            escape(&layer.name),
            escape(&layer.op),
            format::duration(s.time.median),
            format::percent(s.share),
            rate.unwrap_or_else(unknown),
            escape(&layer.outputs.join(" "))
        );
    }
    page.push_str("</table>\n");
    if stats.len() > ROWS {
        let rest: f64 = stats[ROWS..].iter().map(|s| s.share).sum();
        let more = format::plural(stats.len() - ROWS, "more layer");
        _ = writeln!(page, "<p class=\"weak\">{more}: {} of the time</p>", format::percent(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_report_holds_the_figures_and_escapes_what_it_is_given() {
        let mut trace = profiler::fixtures::transformer(2, 5, 1);
        trace.meta.model = "<script>alert(1)</script>".into();
        let median = trace.headline().unwrap().median;
        let page = html(&Profile::new(Arc::new(trace)));
        assert!(page.contains(&format::duration(median)), "the latency");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "names are escaped");
        assert!(page.contains("<h2>Timeline</h2>") && page.contains("<h2>Memory</h2>"));
        let empty = html(&Profile::new(Arc::new(profiler::fixtures::empty())));
        assert!(empty.contains("No run was measured") && !empty.contains("<svg"), "{empty}");
    }

    #[test]
    fn a_report_loads_nothing_from_elsewhere() {
        let page = html(&Profile::new(Arc::new(profiler::fixtures::one_layer())));
        for word in ["src=", "href=", "@import", "url(http"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
