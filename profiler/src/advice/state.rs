//! Rules about memory, accuracy, and how far the figures themselves can be trusted.

use super::{Advice, Case, Finding, bytes, percent, plural};
use crate::{LayerId, Memory, MemoryClass, Trace};

/// Activations below this peak are not worth a thought.
const LEAST_PEAK: u64 = 1 << 20;

/// One tensor that drives the peak of the activations.
pub(super) fn memory(memory: &Memory, layers: usize, advice: &mut Advice) {
    let tensors: Vec<_> = memory.tensors.iter().filter(|t| t.class == MemoryClass::Activations).cloned().collect();
    if tensors.is_empty() {
        advice.missing.push("What drives the peak of memory: the trace has no memory plan.".to_owned());
        return;
    }
    let mut activations = Memory { tensors, ..Memory::default() };
    let Some((at, peak)) = activations.timeline(layers).peak else { return };
    let alive = |t: &crate::TensorLife| t.first <= at && at <= t.last;
    let Some(i) = (0..activations.tensors.len())
        .filter(|&i| alive(&activations.tensors[i]))
        .max_by_key(|&i| activations.tensors[i].bytes)
    else {
        return;
    };
    let largest = activations.tensors.swap_remove(i);
    let without = activations.timeline(layers).peak.map_or(0, |p| p.1);
    let saving = peak.saturating_sub(without);
    if peak < LEAST_PEAK || saving < peak / 4 {
        return;
    }
    let from = largest.producer.map_or_else(Vec::new, |p| vec![p]);
    advice.findings.push(Finding {
        rule: "peak",
        title: format!("One tensor drives the peak of memory: {}", largest.name),
        why: format!(
            "{} of the {} of activations alive at the peak are {} {}; without it the peak would be {}.",
            bytes(largest.bytes as f64),
            bytes(peak as f64),
            largest.name,
            largest.ty,
            bytes(without as f64)
        ),
        try_this:
            "Compute it in parts (a smaller batch, attention by blocks), or let the layer that reads it write over it."
                .into(),
        layers: from,
        saving_ns: None,
        saving_bytes: Some(saving),
        basis: "the plan's lifetimes with and without this tensor".to_owned(),
    });
}

/// Latency that went up or down over the measured runs.
pub(super) fn drift(case: &Case<'_>, advice: &mut Advice) {
    let Some(drift) = case.audit.warmup_drift.filter(|d| d.abs() > 0.05) else { return };
    let slower = drift > 0.0;
    advice.findings.push(Finding {
        rule: "drift",
        title: format!("Runs became {} {} while measuring", percent(drift.abs()), if slower { "slower" } else { "faster" }),
        why: "The median of the last third of the runs against that of the first third: every other figure is a mix of both.".into(),
        try_this: if slower {
            "Let the machine cool down, close what else runs on it, and measure again."
        } else {
            "Add warm-up runs: the first measured ones were not warm yet."
        }
        .into(),
        ..Finding::default()
    });
}

/// Layers whose times vary too much to be compared.
pub(super) fn unstable(case: &Case<'_>, advice: &mut Advice) {
    let noisy: Vec<_> = case.stats.iter().filter(|s| s.runs >= 3 && s.time.spread() > 0.1).collect();
    let share: f64 = noisy.iter().map(|s| s.share).sum();
    if share < 0.2 {
        return;
    }
    advice.findings.push(Finding {
        rule: "unstable",
        title: format!("{} of the time is in layers that vary by more than 10%", percent(share)),
        why: format!(
            "{} have a median absolute deviation above a tenth of their median.",
            plural(noisy.len(), "layer")
        ),
        try_this: "Measure longer, on a machine with nothing else to do, before believing small differences.".into(),
        layers: noisy.iter().map(|s| s.layer).collect(),
        ..Finding::default()
    });
}

/// A layer that loses far more than the others under a precision.
pub(super) fn accuracy(trace: &Trace, advice: &mut Advice) {
    if trace.accuracy.is_empty() {
        advice.missing.push("Which layers lose accuracy: precisions were not compared with f32.".to_owned());
    }
    for scheme in &trace.accuracy {
        let mut local: Vec<(f64, &str)> = scheme
            .layers
            .iter()
            .filter_map(|l| Some((l.local_sqnr_db.filter(|db| db.is_finite())?, l.layer.as_str())))
            .collect();
        local.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(&(worst, name)), Some(&(median, _))) = (local.first(), local.get(local.len() / 2)) else { continue };
        if local.len() < 3 || worst > median - 10.0 || worst > 30.0 {
            continue;
        }
        let layer = trace.layers.iter().position(|l| l.name == name).map(|i| LayerId(i as u32));
        advice.findings.push(Finding {
            rule: "accuracy",
            title: format!("{} hurts {name} most: {worst:.1} dB", scheme.scheme),
            why: format!(
                "Alone in {} its output keeps a signal-to-noise ratio of {worst:.1} dB; the middle of the {} keeps {median:.1} dB.",
                scheme.scheme,
                plural(local.len(), "layer")
            ),
            try_this: "Keep this layer in f32, or look at its weights: a few large ones stretch the steps of all the others.".into(),
            layers: layer.into_iter().collect(),
            ..Finding::default()
        });
    }
}
