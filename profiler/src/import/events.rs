//! A file of Chrome trace events: read one by one into columns. What a span means is for a [`Dialect`] to say: the formats of
//! ONNX Runtime, PyTorch and our own export are all made of such events.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::event::Event;
use super::json::{Json, Next};
use super::overlap;
use super::source::Source;
use super::{Problem, damaged};
use crate::nest::nest_within;
use crate::{Counter, LayerId, Quality, RunId, Span, Trace, Track, TrackId, TrackKind};

/// More would take more memory than a machine has to spare.
const MAX_EVENTS: u64 = 50_000_000;
/// The longest event, in bytes of JSON.
const MAX_EVENT_BYTES: usize = 1 << 22;
/// The longest other member of the file's object.
const MAX_MEMBER_BYTES: usize = 1 << 26;
/// Names, together.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// Spans whose ends are whole microseconds may seem to stick out of their parent by this.
const QUANTUM: u64 = 1000;

/// What a span is.
#[derive(Clone, Copy, Default)]
pub(super) struct What {
    /// An index into the dialect's own table; the span is a candidate for a layer.
    pub layer: Option<u32>,
    pub run: Option<u32>,
    pub quality: Quality,
    /// True if it belongs on the track for what comes before the runs.
    pub setup: bool,
}

/// What a dialect is told, and may change, beside the event.
pub(super) struct Around<'a> {
    /// The index that the span's name has.
    pub name: u32,
    /// The span's own index.
    pub index: u32,
    pub row: &'a mut Row,
    pub counters: &'a mut Counters,
}

/// What the spans of a file mean.
pub(super) trait Dialect {
    /// Says what a span is.
    fn span(&mut self, event: &Event, around: Around) -> What;

    /// Takes an event that lasts no time, if it means something here.
    fn instant(&mut self, _event: &Event, _at: i64, _counters: &mut Counters) {}

    /// Takes another member of the file's object.
    fn member(&mut self, _key: &str, _value: &[u8]) {}

    /// Makes layers and runs.
    fn finish(self, read: Read) -> Result<Trace, Problem>;
}

/// What was read: spans in order and nested, their layers still the dialect's indices.
pub(super) struct Read {
    pub trace: Trace,
    /// Processes by name.
    pub processes: Vec<String>,
    /// Where each span was in the file, counted over spans.
    pub order: Vec<u32>,
    /// The file's time that is 0 in the trace.
    pub origin: i64,
}

/// A thread of the file.
#[derive(Default)]
pub(super) struct Row {
    process: u32,
    thread: u32,
    name: String,
    /// Rows of one track join; of our own export.
    track: Option<String>,
    pub kind: Option<TrackKind>,
    sort: Option<i64>,
    used: bool,
}

/// Sampled quantities: by process, name and series.
#[derive(Default)]
pub(super) struct Counters(BTreeMap<(String, String, String), Vec<(i64, f64)>>);

impl Counters {
    /// Adds a sample.
    pub fn add(&mut self, process: &str, name: &str, series: &str, at: i64, value: f64) {
        if value.is_finite() {
            let key = (process.to_owned(), name.to_owned(), series.to_owned());
            self.0.entry(key).or_default().push((at, value));
        }
    }
}

#[derive(Default)]
struct Table {
    trace: Trace,
    names: HashMap<String, u32>,
    /// Texts of process and thread numbers.
    texts: HashMap<String, u32>,
    text_list: Vec<String>,
    text_bytes: usize,
    rows: Vec<Row>,
    row_of: HashMap<(u32, u32), u32>,
    processes: BTreeMap<u32, String>,
    /// Per row, spans begun and not ended.
    open: HashMap<u32, Vec<u32>>,
    asynchronous: overlap::Pairs,
    counters: Counters,
    count: u64,
    skipped: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
}

/// Reads a file of events.
pub(super) fn read<D: Dialect>(source: &mut Source, mut dialect: D, exact: bool) -> Result<Trace, Problem> {
    let mut table = Table::default();
    let mut json = Json::new(&mut *source);
    // A mark of the byte order.
    let _ = json.take(0xef)? && json.take(0xbb)? && json.take(0xbf)?;
    let whole = if json.take(b'[')? {
        table.events(&mut json, &mut dialect)?
    } else if json.take(b'{')? {
        table.members(&mut json, &mut dialect)?
    } else {
        return Err(json.wrong("an array or an object"));
    };
    if !whole {
        // Writers that are killed leave the closing brackets out.
        if table.trace.spans.is_empty() && table.counters.0.is_empty() {
            return Err(damaged(format!("the file ends at byte {}, before its first event", json.position())));
        }
        table.warnings.push("the file ends early: later events are missing".into());
    } else if json.peek()?.is_some() {
        return Err(json.wrong("the end of the file"));
    }
    drop(json);
    source.step("Sorting")?;
    let mut warnings = std::mem::take(&mut table.warnings);
    warnings.extend(table.left_out());
    let read = table.finish(exact)?;
    source.step("Naming")?;
    let mut trace = dialect.finish(read)?;
    trace.meta.warnings.append(&mut warnings);
    Ok(trace)
}

impl Table {
    /// Reads the file's object; false if it ends early.
    fn members(&mut self, json: &mut Json<impl std::io::Read>, dialect: &mut impl Dialect) -> Result<bool, Problem> {
        let mut first = true;
        loop {
            match json.next(first, b'}')? {
                Next::Close => return Ok(true),
                Next::Cut => return Ok(false),
                Next::Value => {}
            }
            first = false;
            let Some(key) = json.key()? else { return Ok(false) };
            if key == "traceEvents" && json.take(b'[')? {
                if !self.events(json, dialect)? {
                    return Ok(false);
                }
            } else {
                match json.value(MAX_MEMBER_BYTES)? {
                    None => return Ok(false),
                    Some(Some(value)) => dialect.member(&key, value),
                    Some(None) => {}
                }
            }
        }
    }

    /// Reads an array of events; false if it ends early.
    fn events(&mut self, json: &mut Json<impl std::io::Read>, dialect: &mut impl Dialect) -> Result<bool, Problem> {
        let mut first = true;
        loop {
            match json.next(first, b']')? {
                Next::Close => return Ok(true),
                Next::Cut => return Ok(false),
                Next::Value => {}
            }
            first = false;
            self.count += 1;
            if self.count > MAX_EVENTS {
                return Err(damaged(format!("more than {MAX_EVENTS} events")));
            }
            let Some(text) = json.value(MAX_EVENT_BYTES)? else { return Ok(false) };
            match text.and_then(|t| serde_json::from_slice::<Event>(t).ok()) {
                Some(event) => self.event(&event, dialect)?,
                None => *self.skipped.entry("unreadable event").or_default() += 1,
            }
        }
    }

    fn event(&mut self, event: &Event, dialect: &mut impl Dialect) -> Result<(), Problem> {
        let skipped = match (&*event.ph, event.time()) {
            ("X", Some(start)) => {
                self.span(event, start, start.saturating_add(event.duration()), dialect)?;
                return Ok(());
            }
            ("B", Some(start)) => {
                let (row, i) = self.span(event, start, start, dialect)?;
                self.open.entry(row).or_default().push(i);
                return Ok(());
            }
            ("E", Some(end)) => {
                let row = self.row(event)?;
                if let Some(i) = self.open.get_mut(&row).and_then(Vec::pop) {
                    self.end(i, end);
                    return Ok(());
                }
                "unmatched end"
            }
            ("b" | "S", Some(start)) => {
                let name = self.name(&event.name)?;
                let i = self.push(0, name, start, start, What::default())?;
                self.asynchronous.begin(event.process(), &event.cat, event.id(), i);
                return Ok(());
            }
            ("e" | "F", Some(end)) => {
                if let Some(i) = self.asynchronous.end(&event.cat, event.id()) {
                    self.end(i, end);
                    return Ok(());
                }
                "unmatched end"
            }
            ("n", Some(at)) => {
                let name = self.name(&event.name)?;
                let i = self.push(0, name, at, at, What::default())?;
                self.asynchronous.instant(event.process(), &event.cat, event.id(), i);
                return Ok(());
            }
            ("i" | "I" | "R", Some(at)) => {
                dialect.instant(event, at, &mut self.counters);
                let row = self.row(event)?;
                let name = self.name(&event.name)?;
                self.push(row, name, at, at, What::default())?;
                return Ok(());
            }
            ("C", Some(at)) => {
                for (key, value) in event.args().as_object().into_iter().flatten() {
                    if let Some(value) = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()) {
                        self.counters.add(event.process(), &event.name, key, at, value);
                    }
                }
                return Ok(());
            }
            ("M", _) => return self.metadata(event),
            ("s" | "t" | "f", _) => "flow arrow",
            ("X" | "B" | "E" | "b" | "e" | "n" | "S" | "F" | "i" | "I" | "R" | "C", None) => "untimed event",
            _ => "unknown event",
        };
        *self.skipped.entry(skipped).or_default() += 1;
        Ok(())
    }

    /// Adds a span; its row and its index.
    fn span(&mut self, event: &Event, start: i64, end: i64, dialect: &mut impl Dialect) -> Result<(u32, u32), Problem> {
        let mut row = self.row(event)?;
        let name = self.name(&event.name)?;
        let index = self.trace.spans.len() as u32;
        let around = Around { name, index, row: &mut self.rows[row as usize], counters: &mut self.counters };
        let what = dialect.span(event, around);
        if what.setup {
            let (process, thread) = (self.text(event.process())?, self.text("Setup")?);
            row = self.row_by(process, thread);
            let setup = &mut self.rows[row as usize];
            (setup.kind, setup.sort) = (Some(TrackKind::Setup), Some(i64::MIN));
            "Setup".clone_into(&mut setup.name);
        }
        Ok((row, self.push(row, name, start, end, what)?))
    }

    /// Until the origin is known, times count from the middle of what a column holds.
    fn push(&mut self, row: u32, name: u32, start: i64, end: i64, what: What) -> Result<u32, Problem> {
        let i = self.trace.spans.push(Span {
            track: TrackId(row),
            layer: what.layer.map(LayerId),
            name,
            start_ns: shifted(start),
            end_ns: shifted(end),
            parent: None,
            run: what.run.map(RunId),
            quality: what.quality,
        });
        Ok(i.0)
    }

    fn end(&mut self, i: u32, end: i64) {
        let i = i as usize;
        self.trace.spans.end_ns[i] = shifted(end).max(self.trace.spans.start_ns[i]);
    }

    fn name(&mut self, name: &str) -> Result<u32, Problem> {
        if let Some(&i) = self.names.get(name) {
            return Ok(i);
        }
        self.spend(name)?;
        let i = self.trace.spans.names.len() as u32;
        self.trace.spans.names.push(name.to_owned());
        self.names.insert(name.to_owned(), i);
        Ok(i)
    }

    fn spend(&mut self, text: &str) -> Result<(), Problem> {
        self.text_bytes += text.len() + 64;
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(Problem::TooLarge { what: "all names together", limit: MAX_TEXT_BYTES as u64 });
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<u32, Problem> {
        if let Some(&i) = self.texts.get(text) {
            return Ok(i);
        }
        self.spend(text)?;
        let i = self.text_list.len() as u32;
        self.text_list.push(text.to_owned());
        self.texts.insert(text.to_owned(), i);
        Ok(i)
    }

    fn row(&mut self, event: &Event) -> Result<u32, Problem> {
        let (process, thread) = (self.text(event.process())?, self.text(event.thread())?);
        Ok(self.row_by(process, thread))
    }

    fn row_by(&mut self, process: u32, thread: u32) -> u32 {
        *self.row_of.entry((process, thread)).or_insert_with(|| {
            self.rows.push(Row { process, thread, ..Row::default() });
            (self.rows.len() - 1) as u32
        })
    }

    fn metadata(&mut self, event: &Event) -> Result<(), Problem> {
        let args = event.args();
        let name = args.get("name").and_then(Value::as_str);
        match (&*event.name, name) {
            ("process_name", Some(name)) => {
                self.spend(name)?;
                let process = self.text(event.process())?;
                self.processes.insert(process, name.to_owned());
            }
            ("thread_name", Some(name)) => {
                self.spend(name)?;
                let row = self.row(event)?;
                let row = &mut self.rows[row as usize];
                name.clone_into(&mut row.name);
                row.track = args.get("track").and_then(Value::as_str).map(str::to_owned);
                row.kind = args.get("kind").and_then(|k| serde_json::from_value(k.clone()).ok()).or(row.kind);
            }
            ("thread_sort_index", _) => {
                let row = self.row(event)?;
                self.rows[row as usize].sort = args.get("sort_index").and_then(Value::as_i64);
            }
            _ => {}
        }
        Ok(())
    }

    /// Warnings about what was not taken.
    fn left_out(&self) -> Vec<String> {
        self.skipped.iter().map(|(what, n)| format!("left out: {n} {what}{}", if *n == 1 { "" } else { "s" })).collect()
    }

    /// Everything in its place, if `exact` to the nanosecond as it stands.
    fn finish(mut self, exact: bool) -> Result<Read, Problem> {
        let spans = &mut self.trace.spans;
        if spans.is_empty() && self.counters.0.is_empty() && !exact {
            return Err(damaged("no complete (X), begin (B) or counter (C) event in it"));
        }
        let latest = spans.end_ns.iter().copied().max().unwrap_or(0);
        let never_ended = self.open.into_values().flatten().chain(self.asynchronous.never_ended());
        for i in never_ended {
            spans.end_ns[i as usize] = latest.max(spans.start_ns[i as usize]);
        }
        let times = spans.start_ns.iter().copied().chain(self.counters.0.values().flatten().map(|s| shifted(s.0)));
        let origin = if exact { shifted(0) } else { times.min().unwrap_or(0) };
        let ns = |t: u64| t.saturating_sub(origin);
        for t in spans.start_ns.iter_mut().chain(&mut spans.end_ns) {
            *t = ns(*t);
        }
        let whole = |t: &u64| t % QUANTUM == 0;
        let rough = !exact && spans.start_ns.iter().chain(&spans.end_ns).all(whole);

        // The spans of asynchronous events are still on row 0.
        for lane in self.asynchronous.lanes(spans) {
            let row = self.rows.len() as u32;
            let process = self.texts.get(&*lane.process).copied().unwrap_or(0);
            let sort = self.rows.iter().filter(|r| r.process == process).filter_map(|r| r.sort).max();
            self.rows.push(Row { process, thread: u32::MAX, name: lane.name, sort, ..Row::default() });
            for i in lane.spans {
                spans.track[i as usize] = TrackId(row);
            }
        }
        for &track in &spans.track {
            self.rows[track.index()].used = true;
        }
        let (tracks, of_row) = tracks(&self.rows, &self.processes, &self.text_list);
        for track in &mut spans.track {
            *track = of_row[track.index()];
        }
        self.trace.tracks = tracks;
        let order = nest_within(spans, if rough { QUANTUM } else { 0 }, |_, _| 0);
        self.trace.counters = counters(self.counters, &self.processes, &self.texts, ns);
        let processes = self.processes.into_values().collect();
        Ok(Read { trace: self.trace, processes, order, origin: unshifted(origin) })
    }
}

fn shifted(t: i64) -> u64 {
    (t as u64) ^ (1 << 63)
}

fn unshifted(t: u64) -> i64 {
    (t ^ (1 << 63)) as i64
}

/// Tracks in the file's sort order, unsorted ones last; and which track each row is on.
fn tracks(rows: &[Row], processes: &BTreeMap<u32, String>, texts: &[String]) -> (Vec<Track>, Vec<TrackId>) {
    let mut order: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].used).collect();
    order.sort_by_key(|&i| (rows[i].sort.unwrap_or(i64::MAX), i));
    let mut tracks: Vec<Track> = Vec::new();
    let mut known: HashMap<String, TrackId> = HashMap::new();
    let mut of_row = vec![TrackId(0); rows.len()];
    let several = rows.iter().filter(|r| r.used).any(|r| r.process != rows[order[0]].process);
    for i in order {
        let row = &rows[i];
        let text = |i: u32| texts.get(i as usize).map_or("", String::as_str);
        let process = processes.get(&row.process).map_or(text(row.process), String::as_str);
        let name = match (&row.track, row.name.as_str()) {
            (Some(track), _) => track.clone(),
            (None, "") => format!("{process} / {}", text(row.thread)),
            // Threads of two processes may have the same name.
            (None, name) if several && !process.is_empty() => format!("{process} / {name}"),
            (None, name) => name.to_owned(),
        };
        of_row[i] = *known.entry(name).or_insert_with_key(|name| {
            tracks.push(Track { name: name.clone(), kind: row.kind.unwrap_or(TrackKind::Other) });
            TrackId((tracks.len() - 1) as u32)
        });
    }
    (tracks, of_row)
}

fn counters(
    all: Counters,
    processes: &BTreeMap<u32, String>,
    texts: &HashMap<String, u32>,
    ns: impl Fn(u64) -> u64,
) -> Vec<Counter> {
    let first = all.0.keys().next().map(|k| k.0.clone());
    let several = all.0.keys().any(|k| Some(&k.0) != first.as_ref());
    let name = |process: String, name: String| match texts.get(&process).and_then(|p| processes.get(p)) {
        Some(process) if several => format!("{process} / {name}"),
        None if several => format!("{process} / {name}"),
        _ => name,
    };
    all.0
        .into_iter()
        .map(|((process, of, unit), mut samples)| {
            samples.sort_by_key(|s| s.0);
            let (time_ns, value) = samples.into_iter().map(|(t, v)| (ns(shifted(t)), v)).unzip();
            Counter { name: name(process, of), unit, time_ns, value }
        })
        .collect()
}
