//! Chrome trace events: a bare array, or an object with `traceEvents`. Complete (X), begin and end (B, E), metadata (M) and
//! counter (C) events are read, in any order; others are counted in a warning. Spans from our own export become layers again
//! with all that their `args` say; in other files every innermost span counts as a layer.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

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

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
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

struct Complete {
    row: u32,
    name: u32,
    /// Microseconds.
    start: f64,
    end: f64,
    /// Index into `Events::ours`, plus 1; 0 for none.
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
    runs: BTreeMap<u32, bool>,
    counters: BTreeMap<(String, String), Vec<(f64, f64)>>,
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
    fn add(&mut self, event: &Value) {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("");
        let micros = |key: &str| event.get(key).and_then(number).filter(|t| t.is_finite());
        match text("ph") {
            "X" => match micros("ts") {
                Some(ts) => self.span(event, ts, micros("dur").unwrap_or(0.0).max(0.0)),
                None => self.skipped += 1,
            },
            "B" => match micros("ts") {
                Some(ts) => {
                    self.span(event, ts, 0.0);
                    let at = self.complete.len() - 1;
                    self.open.entry(self.complete[at].row).or_default().push(at);
                }
                None => self.skipped += 1,
            },
            "E" => {
                let row = self.row(event);
                match (micros("ts"), self.open.get_mut(&row).and_then(Vec::pop)) {
                    (Some(ts), Some(i)) => self.complete[i].end = ts.max(self.complete[i].start),
                    _ => self.skipped += 1,
                }
            }
            "M" => self.metadata(text("name"), event),
            "C" => match (micros("ts"), event.get("args").and_then(Value::as_object)) {
                (Some(ts), Some(args)) => {
                    for (key, value) in args {
                        if let Some(value) = number(value) {
                            self.counters.entry((text("name").to_owned(), key.clone())).or_default().push((ts, value));
                        }
                    }
                }
                _ => self.skipped += 1,
            },
            _ => self.skipped += 1,
        }
    }

    fn span(&mut self, event: &Value, start: f64, duration: f64) {
        let row = self.row(event);
        let name = event.get("name").and_then(Value::as_str).unwrap_or("");
        let name = match self.names.get(name) {
            Some(&i) => i,
            None => {
                let i = self.name_list.len() as u32;
                self.name_list.push(name.to_owned());
                self.names.insert(name.to_owned(), i);
                i
            }
        };
        let args = event.get("args");
        let arg = |key: &str| args.and_then(|a| a.get(key));
        let category = event.get("cat").and_then(Value::as_str).unwrap_or("");
        let mut layer = 0;
        let (mut run, mut is_run, mut quality) = (None, false, Quality::Cpu);
        if self.meta.is_some() {
            layer = arg("layer").and_then(Value::as_u64).map_or(0, |number| self.our_layer(number, name, args));
            run = arg("run").and_then(Value::as_u64).and_then(|r| u32::try_from(r).ok());
            is_run = category == "run" && layer == 0;
            quality = arg("quality").and_then(|q| serde_json::from_value(q.clone()).ok()).unwrap_or_default();
            if let Some(run) = run {
                self.runs.insert(run, arg("warmup").and_then(Value::as_bool).unwrap_or(false));
            }
        } else if !self.ops.contains_key(&name) {
            let op = arg("op_name").or_else(|| arg("op")).and_then(Value::as_str).unwrap_or(category);
            self.ops.insert(name, op.to_owned());
        }
        self.complete.push(Complete { row, name, start, end: start + duration, layer, run, is_run, quality });
    }

    /// Remembers a layer of our own export; its place in the order of appearance, plus 1.
    fn our_layer(&mut self, number: u64, name: u32, args: Option<&Value>) -> u32 {
        if let Some((place, _)) = self.ours.get(&number) {
            return *place;
        }
        let place = self.ours.len() as u32 + 1;
        let mut args = args.cloned().unwrap_or_default();
        if let Some(map) = args.as_object_mut() {
            // What a layer's args have beside its fields.
            for key in ["layer", "run", "warmup", "quality"] {
                map.remove(key);
            }
        }
        let mut layer: Layer = serde_json::from_value(args).unwrap_or_default();
        layer.name.clone_from(&self.name_list[name as usize]);
        self.ours.insert(number, (place, layer));
        place
    }

    fn row(&mut self, event: &Value) -> u32 {
        let id = |key: &str| match event.get(key) {
            Some(Value::String(s)) => s.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let next = self.rows.len() as u32;
        *self.rows.entry((id("pid"), id("tid"))).or_insert(next)
    }

    fn metadata(&mut self, what: &str, event: &Value) {
        let arg = |key: &str| event.get("args").and_then(|a| a.get(key));
        let name = arg("name").and_then(Value::as_str).map(str::to_owned);
        match (what, name) {
            ("process_name", Some(name)) => {
                let pid = event.get("pid").map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned));
                self.processes.insert(pid.unwrap_or_default(), name);
            }
            ("thread_name", Some(name)) => {
                let track = arg("track").and_then(Value::as_str).map(str::to_owned);
                let kind = arg("kind").and_then(|k| serde_json::from_value(k.clone()).ok());
                let row = self.row(event);
                let entry = self.row_names.entry(row).or_default();
                (entry.name, entry.track, entry.kind) = (name, track, kind);
            }
            ("thread_sort_index", _) => {
                let sort = arg("sort_index").and_then(Value::as_i64).unwrap_or(0);
                let row = self.row(event);
                self.row_names.entry(row).or_default().sort = sort;
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Trace, Problem> {
        if self.complete.is_empty() && self.counters.is_empty() && self.meta.is_none() {
            return Err(damaged("no complete (X), begin (B) or counter (C) event in it"));
        }
        let latest = self.complete.iter().map(|c| c.end).fold(0.0, f64::max);
        for i in std::mem::take(&mut self.open).into_values().flatten() {
            self.complete[i].end = latest.max(self.complete[i].start);
        }
        let ours = self.meta.is_some();
        let times = self.complete.iter().map(|c| c.start).chain(self.counters.values().flatten().map(|c| c.0));
        let origin = if ours { 0.0 } else { times.fold(f64::INFINITY, f64::min) };
        // A float too large for a u64 becomes the largest.
        let ns = |micros: f64| ((micros - origin) * 1000.0).round() as u64;

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
                samples.sort_by(|a, b| a.0.total_cmp(&b.0));
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

    /// The track of each row, in the file's sort order. Rows of our own export that are lanes of one track join again.
    fn tracks(&self, b: &mut Builder) -> Vec<TrackId> {
        let mut rows: Vec<(&Row, u32)> = self.rows.iter().map(|(row, &i)| (row, i)).collect();
        rows.sort_by_key(|&(_, i)| (self.row_names.get(&i).map_or(0, |n| n.sort), i));
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

/// A number, or a string that holds one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Part of a file as a tree, unless it is too long or nested too deep.
fn small(json: &RawValue) -> Option<Value> {
    (json.get().len() <= MAX_EVENT_BYTES).then(|| serde_json::from_str(json.get()).ok())?
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
            match small(event) {
                Some(event) => self.0.add(&event),
                None => self.0.skipped += 1,
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<str>>()? {
            match &*key {
                "traceEvents" => map.next_value_seed(File(self.0))?,
                "otherData" => {
                    let value = small(map.next_value()?).unwrap_or_default();
                    let ours = value.get("producer").and_then(Value::as_str) == Some("stratoscope");
                    self.0.meta =
                        value.get("meta").filter(|_| ours).and_then(|m| serde_json::from_value(m.clone()).ok());
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
