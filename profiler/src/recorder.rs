//! Makes a [`Trace`] while an engine runs.

use std::collections::HashMap;
use std::time::Instant;

use crate::nest::nest;
use crate::*;

/// Collects spans, counters and facts, and turns them into a [`Trace`] at the end.
///
/// Recording a layer is a handful of pushes into columns whose room was reserved when the run began. A recorder that is
/// [`off`](Recorder::off) does nothing at all, so the same code runs profiled and unprofiled.
#[derive(Debug)]
pub struct Recorder {
    on: bool,
    epoch: Instant,
    trace: Trace,
    /// Index of each name in `trace.spans.names`.
    names: HashMap<String, u32>,
    /// Spans begun and not ended yet.
    open: Vec<u32>,
    run: Option<RunId>,
}

/// A span that was begun: give it to [`Recorder::end`].
#[derive(Debug)]
#[must_use = "give it to Recorder::end, or the span lasts to the end of the trace"]
pub struct SpanToken(u32);

const OFF: u32 = u32::MAX;
/// Room for the named spans of one run, beside its layers.
const SPANS_PER_RUN: usize = 16;
/// The name of the span that encloses a run.
const RUN: &str = "run";

impl Recorder {
    /// A recorder that is on. Times are counted from `epoch`.
    pub fn new(epoch: Instant) -> Recorder {
        let mut trace = Trace::default();
        trace.meta.created_unix_s = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs().saturating_sub(epoch.elapsed().as_secs()));
        Recorder { on: true, epoch, trace, names: HashMap::new(), open: Vec::new(), run: None }
    }

    /// A recorder whose every call returns at once.
    pub fn off() -> Recorder {
        let trace = Trace::default();
        Recorder { on: false, epoch: Instant::now(), trace, names: HashMap::new(), open: Vec::new(), run: None }
    }

    /// False for [`Recorder::off`].
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Time zero of the trace.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Nanoseconds since the epoch; 0, with no clock read, if the recorder is off.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        if self.on { self.epoch.elapsed().as_nanos() as u64 } else { 0 }
    }

    /// Says what the layers are. [`LayerId`] n is the n-th of them.
    pub fn set_layers(&mut self, layers: Vec<Layer>) {
        if self.on {
            self.trace.layers = layers;
        }
    }

    /// Says what the model's own nodes are.
    pub fn set_nodes(&mut self, nodes: Vec<SourceNode>) {
        if self.on {
            self.trace.nodes = nodes;
        }
    }

    /// How many layers were set.
    pub fn layers_len(&self) -> usize {
        self.trace.layers.len()
    }

    /// The track of this name, made if it is new.
    pub fn track(&mut self, name: &str, kind: TrackKind) -> TrackId {
        if !self.on {
            return TrackId(0);
        }
        let tracks = &mut self.trace.tracks;
        let i = tracks.iter().position(|t| t.name == name).unwrap_or_else(|| {
            tracks.push(Track { name: name.to_owned(), kind });
            tracks.len() - 1
        });
        TrackId(i as u32)
    }

    /// Begins a run now; spans that follow belong to it. Room for its spans is reserved before the clock is read.
    pub fn begin_run(&mut self, warmup: bool) {
        if self.on {
            self.trace.spans.reserve(self.trace.layers.len() + SPANS_PER_RUN);
            let now = self.now_ns();
            self.begin_run_at(now, warmup);
        }
    }

    /// Begins a run at a given time. A run that is still open ends there.
    pub fn begin_run_at(&mut self, start_ns: u64, warmup: bool) {
        if self.on {
            self.end_run_at(start_ns);
            self.run = Some(RunId(self.trace.runs.len() as u32));
            self.trace.runs.push(Run { start_ns, end_ns: start_ns, warmup });
        }
    }

    /// Ends the run now.
    pub fn end_run(&mut self) {
        if self.on {
            let now = self.now_ns();
            self.end_run_at(now);
        }
    }

    /// Ends the run at a given time. Spans recorded later (GPU times that had to be read back) are counted to the run in
    /// which their middle lies.
    pub fn end_run_at(&mut self, end_ns: u64) {
        if let Some(run) = self.run.take() {
            let run = &mut self.trace.runs[run.index()];
            run.end_ns = end_ns.max(run.start_ns);
        }
    }

    /// Records one execution of a layer.
    #[inline]
    pub fn layer(&mut self, track: TrackId, layer: LayerId, start_ns: u64, end_ns: u64, quality: Quality) {
        if self.on {
            self.push(track, Some(layer), 0, start_ns, end_ns, quality);
        }
    }

    /// Begins a named span now. Spans may nest.
    pub fn begin(&mut self, track: TrackId, name: &str) -> SpanToken {
        if !self.on {
            return SpanToken(OFF);
        }
        let name = self.intern(name);
        let now = self.now_ns();
        let id = self.push(track, None, name, now, now, Quality::Cpu);
        self.open.push(id.0);
        SpanToken(id.0)
    }

    /// Ends a span now.
    pub fn end(&mut self, token: SpanToken) {
        if self.on && token.0 != OFF {
            let now = self.now_ns();
            let end = &mut self.trace.spans.end_ns[token.0 as usize];
            *end = now.max(*end);
            self.open.retain(|&i| i != token.0);
        }
    }

    /// Records a named span with known bounds.
    pub fn span(&mut self, track: TrackId, name: &str, start_ns: u64, end_ns: u64, quality: Quality) {
        if self.on {
            let name = self.intern(name);
            self.push(track, None, name, start_ns, end_ns, quality);
        }
    }

    /// Records a sample of a quantity.
    pub fn counter(&mut self, name: &str, unit: &str, time_ns: u64, value: f64) {
        if !self.on {
            return;
        }
        let counters = &mut self.trace.counters;
        let i = counters.iter().position(|c| c.name == name).unwrap_or_else(|| {
            counters.push(Counter { name: name.to_owned(), unit: unit.to_owned(), ..Counter::default() });
            counters.len() - 1
        });
        counters[i].time_ns.push(time_ns);
        counters[i].value.push(value);
    }

    /// Facts about the run, to fill in. What is written to a recorder that is off is lost.
    pub fn meta(&mut self) -> &mut Meta {
        &mut self.trace.meta
    }

    /// The memory plan, to fill in. What is written to a recorder that is off is lost.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.trace.memory
    }

    /// What was recorded so far: raw, its spans neither sorted nor nested.
    pub fn so_far(&self) -> &Trace {
        &self.trace
    }

    /// The trace: spans sorted and nested, each run enclosed by a span named `run` on the main track (the first CPU track).
    pub fn finish(mut self) -> Trace {
        if !self.on {
            return Trace::default();
        }
        let now = self.now_ns();
        self.end_run_at(now);
        for i in std::mem::take(&mut self.open) {
            self.trace.spans.end_ns[i as usize] = now;
        }
        let mut trace = self.trace;
        seal(&mut trace);
        let clock = &mut trace.meta.clock;
        if clock.strategy.is_empty() {
            "CPU monotonic clock".clone_into(&mut clock.strategy);
        }
        if clock.resolution_ns == 0 {
            clock.resolution_ns = cpu_clock_resolution_ns();
        }
        if clock.rejected == 0 {
            clock.rejected = trace.spans.quality.iter().filter(|&&q| q == Quality::Rejected).count() as u64;
        }
        trace
    }

    fn intern(&mut self, name: &str) -> u32 {
        if let Some(&i) = self.names.get(name) {
            return i;
        }
        let i = self.trace.spans.names.len() as u32;
        self.trace.spans.names.push(name.to_owned());
        self.names.insert(name.to_owned(), i);
        i
    }

    #[inline]
    fn push(
        &mut self,
        track: TrackId,
        layer: Option<LayerId>,
        name: u32,
        start_ns: u64,
        end_ns: u64,
        quality: Quality,
    ) -> SpanId {
        self.trace.spans.push(Span { track, layer, name, start_ns, end_ns, parent: None, run: self.run, quality })
    }
}

/// Puts the spans of a freshly made trace in order: runs found by time where missing, a root span per run, parents.
pub(crate) fn seal(trace: &mut Trace) {
    assign_runs(trace);
    let run_name = add_run_spans(trace);
    nest(&mut trace.spans, |s, i| match (s.layer[i], s.name[i]) {
        (None, n) if Some(n) == run_name => 0,
        (None, _) => 1,
        (Some(_), _) => 2,
    });
}

/// A span without a run belongs to the run in which its middle lies.
pub(crate) fn assign_runs(trace: &mut Trace) {
    let mut runs: Vec<(u64, u64, u32)> =
        trace.runs.iter().enumerate().map(|(i, r)| (r.start_ns, r.end_ns, i as u32)).collect();
    runs.sort_unstable();
    let spans = &mut trace.spans;
    for i in 0..spans.len() {
        if spans.run[i].is_some() {
            continue;
        }
        let middle = spans.start_ns[i] + (spans.end_ns[i] - spans.start_ns[i]) / 2;
        let after = runs.partition_point(|r| r.0 <= middle);
        let Some(&(start, end, id)) = after.checked_sub(1).and_then(|r| runs.get(r)) else { continue };
        let encloses_run = spans.start_ns[i] < start && spans.end_ns[i] > end;
        if middle <= end && !encloses_run {
            spans.run[i] = Some(RunId(id));
        }
    }
}

/// Adds the missing root spans; the index of their name, if there are runs.
fn add_run_spans(trace: &mut Trace) -> Option<u32> {
    if trace.runs.is_empty() {
        return None;
    }
    if trace.tracks.is_empty() {
        trace.tracks.push(Track { name: "CPU".into(), kind: TrackKind::Cpu });
    }
    let main = TrackId(trace.tracks.iter().position(|t| t.kind == TrackKind::Cpu).unwrap_or(0) as u32);
    let name = trace.spans.intern(RUN);
    let mut has_root = vec![false; trace.runs.len()];
    for s in trace.spans.iter().filter(|s| s.name == name && s.layer.is_none() && s.track == main) {
        if let Some(run) = s.run {
            has_root[run.index()] = true;
        }
    }
    for (i, run) in trace.runs.iter().enumerate().filter(|(i, _)| !has_root[*i]) {
        trace.spans.push(Span {
            track: main,
            layer: None,
            name,
            start_ns: run.start_ns,
            end_ns: run.end_ns,
            parent: None,
            run: Some(RunId(i as u32)),
            quality: Quality::Cpu,
        });
    }
    Some(name)
}

/// The smallest difference that the CPU's monotonic clock shows, from repeated reads.
fn cpu_clock_resolution_ns() -> u64 {
    let start = Instant::now();
    let mut last = start;
    let mut best = u64::MAX;
    for _ in 0..10_000 {
        let now = Instant::now();
        let step = (now - last).as_nanos() as u64;
        if step > 0 {
            best = best.min(step);
        }
        last = now;
        if (now - start).as_micros() > 200 && best != u64::MAX {
            break;
        }
    }
    if best == u64::MAX { 0 } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(n: usize) -> Vec<Layer> {
        (0..n).map(|i| Layer { name: format!("layer{i}"), ..Layer::default() }).collect()
    }

    #[test]
    fn a_recorded_trace_is_nested_under_its_runs() {
        let mut r = Recorder::new(Instant::now());
        r.set_layers(layers(2));
        let setup = r.track("Setup", TrackKind::Setup);
        let cpu = r.track("CPU", TrackKind::Cpu);
        let gpu = r.track("GPU queue", TrackKind::Gpu);
        assert_eq!(r.track("CPU", TrackKind::Other), cpu);
        r.span(setup, "load", 10, 90, Quality::Cpu);
        for (start, warmup) in [(100, true), (200, false)] {
            r.begin_run_at(start, warmup);
            r.layer(cpu, LayerId(0), start + 10, start + 20, Quality::Cpu);
            r.span(cpu, "submit", start + 30, start + 60, Quality::Cpu);
            r.end_run_at(start + 80);
            r.layer(gpu, LayerId(1), start + 40, start + 70, Quality::GpuTimestamp);
        }
        r.counter("memory", "bytes", 5, 1.0);
        r.counter("memory", "bytes", 6, 2.0);
        let t = r.finish();
        assert_eq!(t.runs.len(), 2);
        assert_eq!(t.run_latencies_ns(), [80]);
        let rows: Vec<_> = t
            .spans
            .iter()
            .map(|s| (s.track.0, t.span_name(&s).to_owned(), s.start_ns, s.parent.map(|p| p.0), s.run.map(|r| r.0)))
            .collect();
        let row = |t, n: &str, s, p, r| (t, n.to_owned(), s, p, r);
        assert_eq!(
            rows,
            [
                row(0, "load", 10, None, None),
                row(1, "run", 100, None, Some(0)),
                row(1, "layer0", 110, Some(1), Some(0)),
                row(1, "submit", 130, Some(1), Some(0)),
                row(1, "run", 200, None, Some(1)),
                row(1, "layer0", 210, Some(4), Some(1)),
                row(1, "submit", 230, Some(4), Some(1)),
                row(2, "layer1", 140, None, Some(0)),
                row(2, "layer1", 240, None, Some(1)),
            ]
        );
        assert_eq!(t.counters.len(), 1);
        assert_eq!(t.counters[0].value, [1.0, 2.0]);
        assert!(t.meta.clock.resolution_ns > 0);
    }

    #[test]
    fn begun_spans_end_and_forgotten_ones_last_to_the_end() {
        let mut r = Recorder::new(Instant::now());
        let cpu = r.track("CPU", TrackKind::Cpu);
        let forgotten = r.begin(cpu, "outer");
        let inner = r.begin(cpu, "inner");
        std::thread::sleep(std::time::Duration::from_millis(1));
        r.end(inner);
        drop(forgotten);
        let t = r.finish();
        let [outer, inner] = [t.spans.get(0), t.spans.get(1)];
        assert_eq!((t.span_name(&outer), t.span_name(&inner)), ("outer", "inner"));
        assert!(inner.duration_ns() >= 1_000_000 && outer.end_ns >= inner.end_ns);
        assert_eq!(inner.parent, Some(SpanId(0)));
    }

    #[test]
    fn off_records_nothing() {
        let mut r = Recorder::off();
        let t = r.track("CPU", TrackKind::Cpu);
        r.set_layers(layers(3));
        r.begin_run(false);
        let token = r.begin(t, "x");
        r.layer(t, LayerId(0), 1, 2, Quality::Cpu);
        r.end(token);
        r.counter("c", "", 1, 1.0);
        r.end_run();
        assert_eq!((r.now_ns(), r.layers_len(), r.is_on()), (0, 0, false));
        assert_eq!(r.finish(), Trace::default());
    }

    /// 100 layers a run, with the two clock reads that an engine makes for each. The bound is loose, for busy machines:
    /// the best of many runs is taken.
    #[test]
    fn recording_is_cheap() {
        let mut r = Recorder::new(Instant::now());
        r.set_layers(layers(100));
        let cpu = r.track("CPU", TrackKind::Cpu);
        let mut best = u64::MAX;
        for _ in 0..200 {
            r.begin_run(false);
            let start = r.now_ns();
            for i in 0..100 {
                let a = r.now_ns();
                let b = r.now_ns();
                r.layer(cpu, LayerId(i), a, b, Quality::Cpu);
            }
            best = best.min(r.now_ns() - start);
            r.end_run();
        }
        let per_layer = best / 100;
        println!("recording a layer takes {per_layer} ns");
        assert!(per_layer < 600, "{per_layer} ns a layer");
        assert_eq!(r.finish().spans.len(), 200 * 101);
    }
}
