//! Rules about arithmetic and memory rates: layers far from their ceilings, a lower precision, more threads.

use std::collections::BTreeMap;

use super::{Advice, Case, Finding, TINY_NS, bytes, percent, plural, rate, time};
use crate::roofline::{Bound, Ceilings, LayerRoof};
use crate::{LayerId, OpClass};

/// A layer that reaches more of its ceiling than this is fine.
const FAR: f64 = 0.6;
/// Findings per kind of ceiling.
const MOST: usize = 2;

/// Layers of one operator that stay far below their ceiling.
pub(super) fn ceiling(case: &Case<'_>, advice: &mut Advice) {
    let Some(ceilings) = case.ceilings else { return };
    let mut groups: BTreeMap<(Bound, &str), Vec<&LayerRoof>> = BTreeMap::new();
    for roof in &case.roofs {
        let far = roof.of_ceiling.is_some_and(|s| s < FAR) && roof.time_ns >= TINY_NS;
        if let Some(layer) = case.trace.layers.get(roof.layer.index()).filter(|_| far) {
            groups.entry((roof.bound, &layer.op)).or_default().push(roof);
        }
    }
    let mut found: Vec<(Bound, Finding)> = groups
        .into_iter()
        .filter_map(|((bound, op), roofs)| Some((bound, far(case, ceilings, bound, op, &roofs)?)))
        .collect();
    found.sort_by(|a, b| b.1.saving_ns.unwrap_or(0.0).total_cmp(&a.1.saving_ns.unwrap_or(0.0)));
    for bound in [Bound::Compute, Bound::Memory] {
        advice.findings.extend(found.iter().filter(|f| f.0 == bound).take(MOST).map(|f| f.1.clone()));
    }
}

fn far(case: &Case<'_>, c: &Ceilings, bound: Bound, op: &str, roofs: &[&LayerRoof]) -> Option<Finding> {
    let sum = |f: &dyn Fn(&LayerRoof) -> Option<f64>| roofs.iter().filter_map(|r| f(r)).sum::<f64>();
    let (took, attainable) = (sum(&|r| Some(r.time_ns)), sum(&|r| r.attainable_ns));
    let saving = took - attainable;
    if !case.matters(saving) {
        return None;
    }
    let first = roofs.first()?;
    let layers: Vec<LayerId> = roofs.iter().map(|r| r.layer).collect();
    let who = match layers[..] {
        [only] => format!("{} reaches", case.name(only)),
        _ => format!("{} {op} layers reach", layers.len()),
    };
    let took_words = format!("{} of each run ({})", time(took), case.share(took));
    let (ceiling, why, try_this) = match bound {
        Bound::Compute => {
            let best = c.flop_per_s(first.dtype)?;
            let threads =
                if c.threads > 0 { format!(" on {}", plural(c.threads as usize, "thread")) } else { String::new() };
            (
                format!("compute ceiling ({})", first.dtype),
                format!(
                    "They take {took_words} at {}; the device does {} in {}{threads}.",
                    rate(sum(&|r| r.flops) * 1e9 / took, "FLOP/s"),
                    rate(best, "FLOP/s"),
                    first.dtype
                ),
                "Give the products more rows (a larger batch, longer sequences): small ones leave the arithmetic units waiting. Then look at its tensors: odd sizes leave part of each vector unused.".to_owned(),
            )
        }
        _ => {
            let moved = sum(&|r| r.bytes);
            let weights: u64 = layers.iter().filter_map(|l| Some(case.trace.layers.get(l.index())?.weight_bytes)).sum();
            let mostly_weights = weights as f64 > moved / 2.0;
            let roof = match first.served_from.and_then(|i| c.caches.get(i)) {
                Some(cache) => format!(
                    "they are served from the {} cache, which gives {}",
                    cache.name,
                    rate(cache.bytes_per_s, "B/s")
                ),
                None => format!("main memory gives {}", rate(c.bytes_per_s()?, "B/s")),
            };
            (
                "memory ceiling".to_owned(),
                format!("They take {took_words} to move {} at {}; {roof}.", bytes(moved), rate(moved * 1e9 / took, "B/s")),
                if mostly_weights {
                    "Most of those bytes are weights: int8 or int4 has fewer of them, and a larger batch shares them among more rows."
                } else {
                    "Join it with the layer that makes or reads its tensors, so that they are not moved twice; lay tensors out in the order in which they are read."
                }
                .to_owned(),
            )
        }
    };
    Some(Finding {
        rule: "ceiling",
        title: format!("{who} {} of the {ceiling}", percent(attainable / took)),
        why: if layers.len() == 1 {
            why.replacen("They take", "It takes", 1).replace("they are served", "it is served")
        } else {
            why
        },
        try_this,
        layers,
        saving_ns: Some(saving),
        saving_bytes: None,
        basis: "their median times minus the times at the measured ceilings".to_owned(),
    })
}

/// Whether int8 weights would help, or did.
pub(super) fn int8(case: &Case<'_>, advice: &mut Advice) {
    if case.trace.meta.precision != "f32" {
        return;
    }
    let products: Vec<LayerId> = case
        .stats
        .iter()
        .filter(|s| {
            let layer = case.trace.layers.get(s.layer.index());
            layer.is_some_and(|l| l.class == OpClass::MatMul && l.weight_bytes > 0)
        })
        .map(|s| s.layer)
        .collect();
    let took = case.times(&products);
    // With little time in products there is little to win, and nothing to say.
    if products.is_empty() || took < 0.3 * case.latency_ns {
        return;
    }
    let measured = case.trace.accuracy.iter().find(|a| a.scheme == "int8" && !a.simulated).and_then(|a| a.latency_ns);
    let (saving, basis, because) = match measured {
        Some(ns) => (
            case.latency_ns - ns as f64,
            "the latency that was measured with int8 weights",
            format!("With int8 weights a run took {} instead of {}", time(ns as f64), time(case.latency_ns)),
        ),
        None => {
            let Some((saving, memory_bound)) = int8_estimate(case, &products) else { return };
            let bound = format!("Of the {}, memory bounds {memory_bound}", plural(products.len(), "layer"));
            (saving, "each layer at the same share of its int8 ceiling as it reaches of its f32 ceiling", bound)
        }
    };
    let share = format!("Products with weights take {} of each run ({})", time(took), case.share(took));
    let small = saving < 0.05 * case.latency_ns;
    advice.findings.push(Finding {
        rule: "int8",
        title: if small {
            "int8 weights would not help".into()
        } else {
            format!("int8 weights would save {}", time(saving))
        },
        why: format!("{share}. {because}."),
        try_this: if small {
            "Stay with f32 for speed; int8 still takes a quarter of the weights' memory.".into()
        } else {
            "Set the precision to int8, and compare its accuracy with f32 first.".into()
        },
        layers: products,
        saving_ns: (!small).then_some(saving),
        saving_bytes: None,
        basis: if small { String::new() } else { basis.to_owned() },
    });
}

/// The time saved over all, and how many of the layers memory binds; `None` where a ceiling is missing.
fn int8_estimate(case: &Case<'_>, products: &[LayerId]) -> Option<(f64, usize)> {
    let c = case.ceilings?;
    // A GPU's kernels unpack int8 weights and compute in f32.
    let arithmetic = c.flop_per_s(if case.is_gpu() { "f32" } else { "int8" })?;
    let main = c.bytes_per_s()?;
    let (mut saving, mut memory_bound, mut known) = (0.0, 0, 0);
    for roof in &case.roofs {
        if products.binary_search(&roof.layer).is_err() || roof.dtype != "f32" {
            continue;
        }
        let (Some(flops), Some(moved), Some(reached)) = (roof.flops, roof.bytes, roof.of_ceiling) else { continue };
        let weights = case.trace.layers.get(roof.layer.index())?.weight_bytes as f64;
        let memory = roof.served_from.and_then(|i| c.caches.get(i)).map_or(main, |cache| cache.bytes_per_s);
        let bound = (flops / arithmetic).max((moved - 0.75 * weights).max(0.0) / memory) * 1e9;
        saving += (roof.time_ns - bound / reached.min(1.0)).max(0.0);
        memory_bound += usize::from(roof.bound == Bound::Memory);
        known += 1;
    }
    (known > 0).then_some((saving, memory_bound))
}

/// Few threads on a machine with many cores.
pub(super) fn threads(case: &Case<'_>, advice: &mut Advice) {
    let meta = &case.trace.meta;
    let (threads, cores) = (f64::from(meta.threads), f64::from(meta.cores));
    if case.is_gpu() || meta.threads == 0 || meta.cores == 0 || threads * 2.0 > cores {
        return;
    }
    let took: f64 = case.stats.iter().map(|s| s.time.median).sum();
    advice.findings.push(Finding {
        rule: "threads",
        title: format!("{} on {} cores", plural(meta.threads as usize, "thread"), meta.cores),
        why: format!("Layers take {} of each run on {threads} of the {cores} cores.", time(took)),
        try_this: format!("Run with more threads (--threads {}).", meta.cores),
        layers: Vec::new(),
        saving_ns: Some(took * (1.0 - threads / cores)),
        saving_bytes: None,
        basis: "all layers spread evenly over all cores: the most that threads can give".to_owned(),
    });
}
