//! Statistics of a trace: per layer, per run, per kind of track.

use serde::{Deserialize, Serialize};

use crate::group::Groups;
use crate::nest::union_ns;
use crate::{LayerId, LayerSpans, Quality, SpanId, Trace, TrackKind};

/// The spread of a set of durations, in nanoseconds.
///
/// Percentiles interpolate linearly between the closest ranks: the p-th lies at position `p * (count - 1)` of the sorted
/// values, counted from 0 (Hyndman and Fan's type 7, NumPy's default).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The smallest.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// Median absolute deviation from the median, not scaled.
    pub mad: f64,
    /// How many values.
    pub count: usize,
}

impl Summary {
    /// Of durations in any order; `None` if there are none.
    pub fn of(values: &[u64]) -> Option<Summary> {
        let mut sorted: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let median = percentile(&sorted, 0.5);
        let mut deviations: Vec<f64> = sorted.iter().map(|v| (v - median).abs()).collect();
        deviations.sort_unstable_by(f64::total_cmp);
        Some(Summary {
            min,
            median,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p90: percentile(&sorted, 0.9),
            p99: percentile(&sorted, 0.99),
            max,
            mad: percentile(&deviations, 0.5),
            count: sorted.len(),
        })
    }

    /// Itself, if there is more than one value: of a single one (an average from elsewhere, one run), percentiles and spread
    /// are unknown, not equal to it.
    pub fn distribution(&self) -> Option<&Summary> {
        (self.count > 1).then_some(self)
    }

    /// MAD over median: the relative spread; 0 for a median of 0.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { self.mad / self.median } else { 0.0 }
    }
}

/// The p-th (0 to 1) percentile of sorted values, as [`Summary`] defines it. NaN if there are none.
pub(crate) fn percentile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = p * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[(at.ceil() as usize).min(last)]);
    low + (high - low) * at.fract()
}

/// One layer's time over the measured runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerStats {
    /// Which layer.
    pub layer: LayerId,
    /// Its time per run. Several spans in one run are joined: overlapping ones count once, others add up.
    pub time: Summary,
    /// Its share of the time of all layers, 0 to 1; the shares of all layers add up to 1.
    pub share: f64,
    /// Measured runs in which it was seen.
    pub runs: usize,
    /// How many of its spans had their timestamps rejected.
    pub rejected: usize,
    /// True if any of its times is wall-clock only (submit and wait).
    pub wall: bool,
}

impl Trace {
    /// Statistics of every layer that was seen in a measured run, in layer order. In a trace without runs (an import)
    /// everything counts as one run.
    pub fn layer_stats(&self) -> Vec<LayerStats> {
        self.layer_stats_of(&LayerSpans::of(self))
    }

    /// As [`Trace::layer_stats`], with the trace's spans by layer already at hand.
    pub fn layer_stats_of(&self, spans: &LayerSpans) -> Vec<LayerStats> {
        let s = &self.spans;
        let (mut stats, mut totals, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for layer in (0..self.layers.len()).map(|l| LayerId(l as u32)) {
            let measured =
                || spans.measured(layer).iter().map(|i| i.index()).filter(|&i| self.measured_run(i).is_some());
            rows.clear();
            rows.extend(measured().filter_map(|i| Some((self.measured_run(i)?, s.start_ns[i], s.end_ns[i]))));
            if !rows.is_sorted() {
                rows.sort();
            }
            let times: Vec<u64> =
                rows.chunk_by(|a, b| a.0 == b.0).map(|of_run| union_ns(of_run.iter().map(|r| (r.1, r.2)))).collect();
            let Some(time) = Summary::of(&times) else { continue };
            totals.push(times.iter().fold(0u64, |a, &b| a.saturating_add(b)) as f64);
            stats.push(LayerStats {
                layer,
                time,
                share: 0.0,
                runs: times.len(),
                rejected: measured().filter(|&i| s.quality[i] == Quality::Rejected).count(),
                wall: measured().any(|i| s.quality[i] == Quality::Wall),
            });
        }
        let all: f64 = totals.iter().sum();
        for (stat, total) in stats.iter_mut().zip(totals) {
            stat.share = if all > 0.0 { total / all } else { 0.0 };
        }
        stats
    }

    /// Latency of the measured runs with recording on.
    pub fn latency(&self) -> Option<Summary> {
        Summary::of(&self.run_latencies_ns())
    }

    /// Latency of the runs with recording off.
    pub fn unprofiled_latency(&self) -> Option<Summary> {
        Summary::of(&self.meta.unprofiled_ns)
    }

    /// The latency to show first: of the unprofiled runs if there are any, else of the profiled ones.
    pub fn headline(&self) -> Option<Summary> {
        self.unprofiled_latency().or_else(|| self.latency())
    }

    /// Items (sequences, images) per second at the headline's median; `None` if the batch is unknown.
    pub fn throughput_per_s(&self) -> Option<f64> {
        let median = self.headline()?.median;
        (self.meta.batch > 0 && median > 0.0).then(|| self.meta.batch as f64 * 1e9 / median)
    }

    /// Busy time per measured run on the tracks of one kind: the union of their spans, never the sum. Spans that
    /// enclose a whole run are left out.
    pub fn busy(&self, kind: TrackKind) -> Option<Summary> {
        let s = &self.spans;
        self.per_run(|i| {
            let on_track = self.tracks.get(s.track[i].index()).is_some_and(|t| t.kind == kind);
            on_track && !self.is_run_span(i)
        })
    }

    /// Time per measured run that layers cover, on any track: the union of their spans.
    pub fn layer_time(&self) -> Option<Summary> {
        self.per_run(|i| self.spans.layer[i].is_some())
    }

    /// Each distinct named span (encode, submit, upload, ...) with its time per measured run; setup spans outside of
    /// runs count as one. Names in order of first appearance.
    pub fn named_spans(&self) -> Vec<(String, Summary)> {
        let s = &self.spans;
        let mut rows: Vec<(u32, Option<u32>, u64, u64)> = (0..s.len())
            .filter(|&i| s.layer[i].is_none() && !self.is_run_span(i))
            .filter_map(|i| match self.measured_run(i) {
                Some(run) => Some((s.name[i], Some(run), s.start_ns[i], s.end_ns[i])),
                None if s.run[i].is_none() => Some((s.name[i], None, s.start_ns[i], s.end_ns[i])),
                None => None,
            })
            .collect();
        rows.sort_unstable();
        rows.chunk_by(|a, b| a.0 == b.0)
            .filter_map(|of_name| {
                let times: Vec<u64> = of_name
                    .chunk_by(|a, b| a.1 == b.1)
                    .map(|of_run| union_ns(of_run.iter().map(|r| (r.2, r.3))))
                    .collect();
                Some((s.names.get(of_name[0].0 as usize)?.clone(), Summary::of(&times)?))
            })
            .collect()
    }

    /// Share of each measured run that no layer covers, in run order: `1 - layers / run`.
    pub(crate) fn residuals(&self) -> Vec<f64> {
        self.per_run_times(|i| self.spans.layer[i].is_some())
            .into_iter()
            .filter_map(|(run, layers)| {
                let run = self.runs.get(run as usize)?;
                let time = run.end_ns.saturating_sub(run.start_ns);
                (time > 0).then(|| 1.0 - layers as f64 / time as f64)
            })
            .collect()
    }

    fn per_run(&self, keep: impl Fn(usize) -> bool) -> Option<Summary> {
        let times: Vec<u64> = self.per_run_times(keep).into_iter().map(|r| r.1).collect();
        Summary::of(&times)
    }

    fn per_run_times(&self, keep: impl Fn(usize) -> bool) -> Vec<(u32, u64)> {
        let s = &self.spans;
        let count = self.runs.len().max(1);
        let by_run = Groups::of(count, s.len(), |i| self.measured_run(i).filter(|_| keep(i)).map(|r| r as usize));
        let mut times = Vec::new();
        let mut rows = Vec::new();
        for run in 0..count {
            rows.clear();
            rows.extend(
                by_run.get(run, run + 1).iter().map(|&SpanId(i)| (s.start_ns[i as usize], s.end_ns[i as usize])),
            );
            if rows.is_empty() {
                continue;
            }
            // Tracks come one after the other, each in order: a stable sort only has to merge them.
            if !rows.is_sorted() {
                rows.sort();
            }
            times.push((run as u32, union_ns(rows.iter().copied())));
        }
        times
    }

    /// True for a span named `run` that is no layer: the root of a run.
    pub fn is_run_span(&self, span: usize) -> bool {
        let s = &self.spans;
        s.layer[span].is_none() && s.names.get(s.name[span] as usize).is_some_and(|n| n == "run")
    }

    /// The measured run that a span belongs to; 0 for every span if there are no runs.
    fn measured_run(&self, span: usize) -> Option<u32> {
        if self.runs.is_empty() {
            return Some(0);
        }
        let run = self.spans.run[span]?;
        (!self.runs.get(run.index())?.warmup).then_some(run.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    /// Counts instead of sorting: the value v with enough values at or below it, per rank.
    fn naive_percentile(values: &[u64], p: f64) -> f64 {
        let mut v = values.to_vec();
        for i in 0..v.len() {
            for j in i + 1..v.len() {
                if v[j] < v[i] {
                    v.swap(i, j);
                }
            }
        }
        let at = p * (v.len() - 1) as f64;
        let low = v[at as usize] as f64;
        let high = v[(at as usize + 1).min(v.len() - 1)] as f64;
        low * (1.0 - at.fract()) + high * at.fract()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn summaries_match_a_naive_oracle() {
        let mut random = Random::fresh();
        for n in 1..60 {
            let values: Vec<u64> = (0..n).map(|_| random.below(10_000)).collect();
            let s = Summary::of(&values).unwrap();
            let median = naive_percentile(&values, 0.5);
            let deviations: Vec<u64> = values.iter().map(|&v| ((v as f64 - median).abs() * 2.0) as u64).collect();
            assert!(close(s.median, median), "{values:?} {s:?} seed {}", random.seed);
            assert!(close(s.p90, naive_percentile(&values, 0.9)), "{values:?} {s:?} seed {}", random.seed);
            assert!(close(s.p99, naive_percentile(&values, 0.99)), "{values:?} {s:?} seed {}", random.seed);
            assert!(close(s.mad, naive_percentile(&deviations, 0.5) / 2.0), "{values:?} {s:?} seed {}", random.seed);
            assert!(close(s.mean, values.iter().sum::<u64>() as f64 / n as f64));
            assert!(close(s.min, *values.iter().min().unwrap() as f64));
            assert!(close(s.max, *values.iter().max().unwrap() as f64));
            assert_eq!(s.count, n as usize);
        }
        assert_eq!(Summary::of(&[]), None);
        assert!(Summary::of(&[7]).unwrap().distribution().is_none());
        assert!(Summary::of(&[7, 7]).unwrap().distribution().is_some());
    }

    #[test]
    fn layer_times_match_counting_every_nanosecond() {
        let mut random = Random::fresh();
        for _ in 0..20 {
            let trace = fixtures::random(&mut random);
            let stats = trace.layer_stats();
            for (l, _) in trace.layers.iter().enumerate() {
                let mut times = Vec::new();
                for (r, run) in trace.runs.iter().enumerate() {
                    if run.warmup {
                        continue;
                    }
                    let spans: Vec<_> = trace
                        .spans
                        .iter()
                        .filter(|s| s.layer == Some(LayerId(l as u32)) && s.run.map(|r| r.index()) == Some(r))
                        .collect();
                    if spans.is_empty() {
                        continue;
                    }
                    let first = spans.iter().map(|s| s.start_ns).min().unwrap();
                    let last = spans.iter().map(|s| s.end_ns).max().unwrap();
                    times
                        .push((first..last).filter(|&t| spans.iter().any(|s| s.start_ns <= t && t < s.end_ns)).count());
                }
                let times: Vec<u64> = times.into_iter().map(|t| t as u64).collect();
                let got = stats.iter().find(|s| s.layer.index() == l);
                assert_eq!(got.map(|s| s.time), Summary::of(&times), "layer {l} seed {}", random.seed);
            }
            let shares: f64 = stats.iter().map(|s| s.share).sum();
            assert!(stats.is_empty() || close(shares, 1.0) || close(shares, 0.0), "{shares} seed {}", random.seed);
        }
    }

    #[test]
    fn the_headline_prefers_unprofiled_runs() {
        let mut trace = fixtures::one_layer();
        let profiled = trace.latency().unwrap();
        trace.meta.unprofiled_ns = vec![7, 9, 8];
        assert_eq!(trace.headline().unwrap().median.to_bits(), 8f64.to_bits());
        trace.meta.unprofiled_ns.clear();
        assert_eq!(trace.headline(), Some(profiled));
        assert_eq!(Trace::default().headline(), None);
        assert!(Trace::default().layer_stats().is_empty());
    }

    #[test]
    fn busy_time_is_the_union() {
        let trace = fixtures::transformer(2, 4, 1);
        let layers = trace.layer_time().unwrap();
        let busy = trace.busy(TrackKind::Cpu).unwrap();
        let run = trace.latency().unwrap();
        assert!(layers.median <= busy.median && busy.median <= run.median, "{layers:?} {busy:?} {run:?}");
        assert_eq!(layers.count, 4);
        assert!(trace.named_spans().iter().any(|(n, _)| n == "load"));
    }
}
