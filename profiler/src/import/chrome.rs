//! Chrome trace events: a bare array, or an object with `traceEvents`. Complete (X), begin and end (B, E), metadata (M) and
//! counter (C) events are read, in any order; others are counted in a warning. Spans from our own export become layers again
//! with all that their `args` say; in other files every innermost span counts as a layer.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::source::Source;
use super::spans::{Builder, leaves_to_layers};
use super::{Problem, damaged};
use crate::nest::nest;
use crate::recorder::seal;
use crate::{Counter, Layer, LayerId, Meta, Quality, Run, RunId, Spans, Trace, TrackId, TrackKind};

/// How much of a file is searched for a sign that it holds trace events.
const SNIFFED: usize = 1 << 16;
/// ONNX Runtime stops at a tenth of this.
const MAX_EVENTS: u64 = 10_000_000;
/// The longest event, in bytes of JSON: as a tree it takes many times as much.
const MAX_EVENT_BYTES: usize = 1 << 22;

pub(super) fn matches(bytes: &[u8]) -> bool {
    let bytes = without_mark(bytes);
    let head = &bytes[..bytes.len().min(SNIFFED)];
    let has = |word: &[u8]| head.windows(word.len()).any(|w| w == word);
    match head.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => has(b"\"traceEvents\"") || has(b"\"displayTimeUnit\""),
        Some(b'[') => has(b"\"ph\""),
        _ => false,
    }
}

pub(super) fn read(source: &mut Source) -> Result<Trace, Problem> {
    let bytes = &source.read_all(super::MAX_FILE_BYTES)?;
    let mut events = Events::default();
    let mut json = serde_json::Deserializer::from_slice(without_mark(bytes));
    match File(&mut events).deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => {}
        // Writers that are killed leave the closing brackets out.
        Err(e) if e.is_eof() && !events.complete.is_empty() => {
            events.warnings.push("the file ends early: later events are missing".into());
        }
        Err(e) => return Err(damaged(e)),
    }
    events.finish()
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// A thread as the file names it: process, thread.
type Row = (String, String);

/// An event as it stands in the file. Times are kept as text: as floats they would lose nanoseconds.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    ph: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    cat: Cow<'a, str>,
    #[serde(default)]
    pid: Value,
    #[serde(default)]
    tid: Value,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    dur: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

impl Event<'_> {
    fn start(&self) -> Option<i64> {
        nanoseconds(self.ts?.get())
    }

    fn row(&self) -> Row {
        (id(&self.pid), id(&self.tid))
    }

    fn args(&self) -> Value {
        self.args.and_then(|a| serde_json::from_str(a.get()).ok()).unwrap_or_default()
    }
}

fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Microseconds as JSON text, a number or a string that holds one, to the nearest nanosecond.
fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.trim_matches('"').trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let exact = || {
        let padded = format!("{fraction:0<3}");
        let (digits, rest) = padded.split_at_checked(3)?;
        if !padded.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let magnitude = whole.trim_start_matches('-').parse::<i64>().ok()?.checked_mul(1000)?;
        let ns =
            magnitude.checked_add(digits.parse::<i64>().ok()? + i64::from(rest.as_bytes().first() >= Some(&b'5')))?;
        Some(if whole.starts_with('-') { -ns } else { ns })
    };
    exact().or_else(|| {
        let ns = text.parse::<f64>().ok()? * 1000.0;
        (ns.abs() < 9e18).then_some(ns.round() as i64)
    })
}

struct Complete {
    row: u32,
    name: u32,
    /// Nanoseconds, from the file's own origin.
    start: i64,
    end: i64,
    /// Its layer's place in the order of appearance, plus 1; 0 for none.
    layer: u32,
    run: Option<u32>,
    is_run: bool,
    quality: Quality,
}

#[derive(Default)]
struct Events {
    rows: HashMap<Row, u32>,
    row_names: BTreeMap<u32, RowName>,
    processes: HashMap<String, String>,
    names: HashMap<String, u32>,
    name_list: Vec<String>,
    /// The operator of each name, where `args` say it.
    ops: HashMap<u32, String>,
    complete: Vec<Complete>,
    /// Per row, events begun and not ended, as indices into `complete`.
    open: HashMap<u32, Vec<usize>>,
    /// Layers of our own export, by their number there.
    ours: BTreeMap<u64, (u32, Layer)>,
    /// Runs of our own export: is it a warm-up?
    runs: BTreeMap<u32, bool>,
    counters: BTreeMap<(String, String), Vec<(i64, f64)>>,
    meta: Option<Meta>,
    /// Events of any kind so far.
    count: u64,
    skipped: u64,
    warnings: Vec<String>,
}

#[derive(Default)]
struct RowName {
    name: String,
    track: Option<String>,
    kind: Option<TrackKind>,
    sort: i64,
}

impl Events {
    fn add(&mut self, json: &RawValue) {
        let event = (json.get().len() <= MAX_EVENT_BYTES).then(|| serde_json::from_str(json.get()).ok()).flatten();
        let taken = event.is_some_and(|event: Event| match (&*event.ph, event.start()) {
            ("X", Some(start)) => {
                let duration = event.dur.and_then(|d| nanoseconds(d.get())).unwrap_or(0).max(0);
                self.span(&event, start, start.saturating_add(duration));
                true
            }
            ("B", Some(start)) => {
                let row = self.span(&event, start, start);
                self.open.entry(row).or_default().push(self.complete.len() - 1);
                true
            }
            ("E", Some(end)) => {
                let row = self.row(event.row());
                let begun = self.open.get_mut(&row).and_then(Vec::pop);
                if let Some(i) = begun {
                    self.complete[i].end = end.max(self.complete[i].start);
                }
                begun.is_some()
            }
            ("C", Some(at)) => {
                for (key, value) in event.args().as_object().into_iter().flatten() {
                    if let Some(value) = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()) {
                        self.counters.entry((event.name.to_string(), key.clone())).or_default().push((at, value));
                    }
                }
                true
            }
            ("M", _) => {
                self.metadata(&event);
                true
            }
            _ => false,
        });
        self.skipped += u64::from(!taken);
    }

    /// Adds a span; its row.
    fn span(&mut self, event: &Event, start: i64, end: i64) -> u32 {
        let row = self.row(event.row());
        let name = match self.names.get(&*event.name) {
            Some(&i) => i,
            None => {
                let i = self.name_list.len() as u32;
                self.name_list.push(event.name.to_string());
                self.names.insert(event.name.to_string(), i);
                i
            }
        };
        let mut c = Complete { row, name, start, end, layer: 0, run: None, is_run: false, quality: Quality::Cpu };
        if self.meta.is_some() {
            let args = event.args();
            let arg = |key: &str| args.get(key);
            c.run = arg("run").and_then(Value::as_u64).and_then(|r| u32::try_from(r).ok());
            c.quality = arg("quality").and_then(|q| serde_json::from_value(q.clone()).ok()).unwrap_or_default();
            if let Some(run) = c.run {
                self.runs.insert(run, arg("warmup").and_then(Value::as_bool).unwrap_or(false));
            }
            if let Some(number) = arg("layer").and_then(Value::as_u64) {
                c.layer = self.our_layer(number, &event.name, args);
            }
            c.is_run = event.cat == "run" && c.layer == 0;
        } else if let Entry::Vacant(op) = self.ops.entry(name) {
            let args = event.args();
            let known = args.get("op_name").or_else(|| args.get("op")).and_then(Value::as_str);
            op.insert(known.unwrap_or(&event.cat).to_owned());
        }
        self.complete.push(c);
        row
    }

    /// Remembers a layer of our own export; its place in the order of appearance, plus 1.
    fn our_layer(&mut self, number: u64, name: &str, args: Value) -> u32 {
        if let Some((place, _)) = self.ours.get(&number) {
            return *place;
        }
        let place = self.ours.len() as u32 + 1;
        let layer: Layer = serde_json::from_value(args).unwrap_or_default();
        self.ours.insert(number, (place, Layer { name: name.to_owned(), ..layer }));
        place
    }

    fn row(&mut self, row: Row) -> u32 {
        let next = self.rows.len() as u32;
        *self.rows.entry(row).or_insert(next)
    }

    fn metadata(&mut self, event: &Event) {
        let args = event.args();
        let name = args.get("name").and_then(Value::as_str).map(str::to_owned);
        match (&*event.name, name) {
            ("process_name", Some(name)) => drop(self.processes.insert(id(&event.pid), name)),
            ("thread_name", Some(name)) => {
                let row = self.row(event.row());
                let entry = self.row_names.entry(row).or_default();
                entry.name = name;
                entry.track = args.get("track").and_then(Value::as_str).map(str::to_owned);
                entry.kind = args.get("kind").and_then(|k| serde_json::from_value(k.clone()).ok());
            }
            ("thread_sort_index", _) => {
                let row = self.row(event.row());
                self.row_names.entry(row).or_default().sort =
                    args.get("sort_index").and_then(Value::as_i64).unwrap_or(0);
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Trace, Problem> {
        if self.complete.is_empty() && self.counters.is_empty() && self.meta.is_none() {
            return Err(damaged("no complete (X), begin (B) or counter (C) event in it"));
        }
        let latest = self.complete.iter().map(|c| c.end).max().unwrap_or(0);
        for i in std::mem::take(&mut self.open).into_values().flatten() {
            self.complete[i].end = latest.max(self.complete[i].start);
        }
        let ours = self.meta.is_some();
        if !ours {
            self.settle_whole_microseconds();
        }
        let times = self.complete.iter().map(|c| c.start).chain(self.counters.values().flatten().map(|c| c.0));
        let origin = if ours { 0 } else { times.min().unwrap_or(0) };
        let ns = |t: i64| u64::try_from(i128::from(t) - i128::from(origin)).unwrap_or(0);

        let mut b = Builder::default();
        let tracks = self.tracks(&mut b);
        let numbers: Vec<u64> = self.ours.keys().copied().collect();
        let mut layer_ids = vec![LayerId(0); numbers.len() + 1];
        for (id, number) in numbers.iter().enumerate() {
            let (place, layer) = self.ours.remove(number).unwrap_or_default();
            layer_ids[place as usize] = LayerId(id as u32);
            b.trace.layers.push(layer);
        }
        let run_ids: HashMap<u32, RunId> = self.runs.keys().enumerate().map(|(i, &r)| (r, RunId(i as u32))).collect();
        b.trace.runs = self.runs.values().map(|&warmup| Run { warmup, ..Run::default() }).collect();
        for c in &self.complete {
            let run = c.run.and_then(|r| run_ids.get(&r)).copied();
            let bounds = (ns(c.start), ns(c.end).max(ns(c.start)));
            if let Some(run) = run.filter(|_| c.is_run) {
                let run = &mut b.trace.runs[run.index()];
                (run.start_ns, run.end_ns) = bounds;
            }
            let what = match c.layer {
                0 => Err(b.name(&self.name_list[c.name as usize])),
                place => Ok(layer_ids[place as usize]),
            };
            b.push(tracks[c.row as usize], what, bounds, run, c.quality);
        }
        let mut trace = b.trace;
        trace.counters = self
            .counters
            .into_iter()
            .map(|((name, unit), mut samples)| {
                samples.sort_by_key(|s| s.0);
                let (time_ns, value) = samples.into_iter().map(|(t, v)| (ns(t), v)).unzip();
                Counter { name, unit, time_ns, value }
            })
            .collect();
        match self.meta.take() {
            Some(meta) => {
                trace.meta = meta;
                seal(&mut trace);
            }
            None => {
                nest(&mut trace.spans, |_, _| 0);
                let ops = op_by_span_name(&trace.spans, &self.names, &self.ops);
                leaves_to_layers(&mut trace, |name| ops.get(&name).cloned().unwrap_or_default());
                trace.meta.model = self.processes.into_values().min().unwrap_or_default();
                "as recorded in the Chrome trace".clone_into(&mut trace.meta.clock.strategy);
            }
        }
        if self.skipped > 0 {
            self.warnings.push(format!("{} events of other kinds were left out", self.skipped));
        }
        trace.meta.warnings.append(&mut self.warnings);
        Ok(trace)
    }

    /// Where times are whole microseconds, a parent's start and duration were cut on their own and it may seem to end
    /// up to 1 us before its last child. Such a child is cut to fit, or it would no longer be inside.
    fn settle_whole_microseconds(&mut self) {
        const QUANTUM: i64 = 1000;
        if self.complete.iter().any(|c| c.start % QUANTUM != 0 || c.end % QUANTUM != 0) {
            return;
        }
        let mut order: Vec<usize> = (0..self.complete.len()).collect();
        order.sort_by_key(|&i| {
            let c = &self.complete[i];
            (c.row, c.start, std::cmp::Reverse(c.end))
        });
        let mut open: Vec<(u32, i64)> = Vec::new();
        for i in order {
            let c = &mut self.complete[i];
            while open.pop_if(|o| o.0 != c.row || o.1 <= c.start).is_some() {}
            if let Some(&(_, end)) = open.last().filter(|o| c.end.saturating_sub(QUANTUM) <= o.1) {
                c.end = c.end.min(end);
            }
            open.push((c.row, c.end));
        }
    }

    /// The track of each row, in the file's sort order, unnamed ones last. Rows of our own export that are lanes of one track join again.
    fn tracks(&self, b: &mut Builder) -> Vec<TrackId> {
        let mut rows: Vec<(&Row, u32)> = self.rows.iter().map(|(row, &i)| (row, i)).collect();
        rows.sort_by_key(|&(_, i)| (self.row_names.get(&i).map_or(i64::MAX, |n| n.sort), i));
        let mut tracks = vec![TrackId(0); rows.len()];
        let mut used = vec![false; rows.len()];
        for c in &self.complete {
            used[c.row as usize] = true;
        }
        for ((process, thread), i) in rows {
            if !used[i as usize] {
                continue;
            }
            let known = self.row_names.get(&i);
            let named = known.map(|n| n.track.as_ref().unwrap_or(&n.name)).filter(|n| !n.is_empty());
            let name: Cow<str> = match named {
                Some(name) if known.is_some_and(|n| n.track.is_some()) => name.into(),
                // Threads of two processes may have the same name.
                Some(name) if self.processes.len() < 2 => name.into(),
                Some(name) => format!("{} / {name}", self.processes.get(process).unwrap_or(process)).into(),
                None => format!("{} / {thread}", self.processes.get(process).unwrap_or(process)).into(),
            };
            let kind = known.and_then(|n| n.kind).unwrap_or(TrackKind::Other);
            tracks[i as usize] = b.track(&name, kind);
        }
        tracks
    }
}

fn op_by_span_name(spans: &Spans, names: &HashMap<String, u32>, ops: &HashMap<u32, String>) -> HashMap<u32, String> {
    let op = |name: &String| Some(ops.get(names.get(name)?)?.clone());
    spans.names.iter().enumerate().filter_map(|(i, name)| Some((i as u32, op(name)?))).collect()
}

#[derive(Deserialize)]
struct OtherData<'a> {
    #[serde(borrow)]
    producer: Cow<'a, str>,
    meta: Meta,
}

/// The whole file: events are taken one by one, so that no tree of all of them is built.
struct File<'a>(&'a mut Events);

impl<'de> DeserializeSeed<'de> for File<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for File<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of trace events, or an object with traceEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element::<&RawValue>()? {
            self.0.count += 1;
            if self.0.count > MAX_EVENTS {
                return Err(A::Error::custom(format!("more than {MAX_EVENTS} events")));
            }
            self.0.add(event);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<str>>()? {
            match &*key {
                "traceEvents" => map.next_value_seed(File(self.0))?,
                "otherData" => {
                    // Only what our own export holds matters; in other files it can be anything.
                    let raw = map.next_value::<&RawValue>()?;
                    let ours = serde_json::from_str(raw.get()).ok().filter(|o: &OtherData| o.producer == "stratoscope");
                    self.0.meta = ours.map(|o| o.meta);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_to_nanoseconds() {
        for (text, want) in [
            ("0", Some(0)),
            ("12", Some(12_000)),
            ("4514726512158.301", Some(4_514_726_512_158_301)),
            ("1.5", Some(1_500)),
            ("1.0005", Some(1_001)),
            ("-2.25", Some(-2_250)),
            ("-0.5", Some(-500)),
            ("\"7.001\"", Some(7_001)),
            ("1.5e3", Some(1_500_000)),
            ("1e300", None),
            ("9223372036854775807", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(nanoseconds(text), want, "{text:?}");
        }
    }

    #[test]
    fn whole_microseconds_stay_nested() {
        // 0.9 to 3.8, with a child from 1.2 to 3.8: written as 0 + 2 and 1 + 2.
        let file = br#"[{"ph":"X","name":"outer","ts":0,"dur":2},{"ph":"X","name":"inner","ts":1,"dur":2}]"#;
        let trace = super::super::read(file).unwrap();
        assert_eq!(trace.spans.parent, [None, Some(crate::SpanId(0))]);
        assert_eq!(trace.spans.end_ns, [2_000, 2_000]);
    }
}
