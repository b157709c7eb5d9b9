//! Perfetto's own format: smaller than Chrome's JSON, and read faster. Tracks are nested slices; overlapping spans get rows of
//! their own. An instant at the start carries everything else of the trace as an annotation, so that opening the file
//! here again gives the whole trace.

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message;

use super::lanes;
use crate::perfetto::{
    Annotation, Counter, Interned, InternedData, NEEDS_STATE, OURS, Packet, Process, STATE_CLEARED, Trace as File,
    TrackDescriptor, TrackEvent, UNIT_BYTES, event_type,
};
use crate::{OpClass, Quality, Spans, Trace};

const SEQUENCE: u32 = 1;
const PROCESS: u64 = 1;

/// What annotations are called; their place in this list is their interned number.
const KEYS: [&str; 6] = ["layer", "op", "scope", "run", "warmup", "quality"];
const LAYER: u64 = 1;
const OP: u64 = 2;
const SCOPE: u64 = 3;
const RUN: u64 = 4;
const WARMUP: u64 = 5;
const QUALITY: u64 = 6;

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Packets { out, buffer: Vec::new() };
    let mut texts = Texts::default();
    let names: Vec<u64> = trace.spans.names.iter().map(|n| texts.event(n)).collect();
    let run_name = texts.event("run");
    let layers: Vec<[u64; 3]> =
        trace.layers.iter().map(|l| [texts.event(&l.name), texts.string(&l.op), texts.string(&l.scope)]).collect();
    let qualities = [Quality::Cpu, Quality::GpuTimestamp, Quality::Wall, Quality::Rejected];
    let quality_texts = qualities.map(|q| texts.string(quality_word(q)));
    let categories = OpClass::ALL.iter().map(|c| c.label()).chain(["run", "span"]);
    let categories = categories.enumerate().map(|(i, text)| interned(i as u64 + 1, text)).collect();
    let annotation_names = KEYS.iter().enumerate().map(|(i, text)| interned(i as u64 + 1, text)).collect();
    let interned_data =
        InternedData { categories, annotation_names, event_names: texts.events.list, strings: texts.strings.list };
    out.packet(Packet {
        sequence_flags: Some(STATE_CLEARED),
        interned_data: Some(interned_data),
        ..Packet::default()
    })?;
    let process = Process { pid: Some(1), process_name: Some(model_name(trace).to_owned()) };
    out.describe(TrackDescriptor { uuid: Some(PROCESS), process: Some(process), ..TrackDescriptor::default() })?;
    out.packet(rest_of(trace)?)?;

    let s = &trace.spans;
    let annotation = |name: u64, uint: Option<u64>, string: Option<u64>| Annotation {
        name_iid: Some(name),
        uint_value: uint,
        string_value_iid: string,
        ..Annotation::default()
    };
    let mut uuid = PROCESS;
    for lane in lanes::split(s, 0..s.len()) {
        uuid += 1;
        let track = trace.tracks.get(lane.track.index()).map_or("?", |t| t.name.as_str());
        out.describe(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(PROCESS),
            name: Some(lanes::name(track, lane.number)),
            ..TrackDescriptor::default()
        })?;
        let mut open: Vec<u64> = Vec::new();
        for &i in &lane.spans {
            close(&mut out, &mut open, uuid, s.start_ns[i])?;
            let layer = s.layer[i].map(|l| l.index()).filter(|&l| l < layers.len());
            let mut annotations = Vec::new();
            if let Some(l) = layer {
                annotations.push(annotation(LAYER, Some(l as u64), None));
                annotations.push(annotation(OP, None, Some(layers[l][1])));
                annotations.push(annotation(SCOPE, None, Some(layers[l][2])));
            }
            if let Some(run) = s.run[i].filter(|r| r.index() < trace.runs.len()) {
                annotations.push(annotation(RUN, Some(u64::from(run.0)), None));
                if trace.runs[run.index()].warmup {
                    annotations.push(annotation(WARMUP, Some(1), None));
                }
            }
            if let Some(q) = qualities.iter().position(|q| *q == s.quality[i]).filter(|&q| q > 0) {
                annotations.push(annotation(QUALITY, None, Some(quality_texts[q])));
            }
            let (name, category) = match layer {
                Some(l) => (layers[l][0], trace.layers[l].class as u64 + 1),
                None if trace.is_run_span(i) => (run_name, OpClass::ALL.len() as u64 + 1),
                None => (names.get(s.name[i] as usize).copied().unwrap_or(run_name), OpClass::ALL.len() as u64 + 2),
            };
            out.event(
                s.start_ns[i],
                TrackEvent {
                    kind: Some(event_type::BEGIN),
                    track_uuid: Some(uuid),
                    name_iid: Some(name),
                    category_iids: vec![category],
                    annotations,
                    ..TrackEvent::default()
                },
            )?;
            open.push(s.end_ns[i]);
        }
        close(&mut out, &mut open, uuid, u64::MAX)?;
    }
    for counter in &trace.counters {
        uuid += 1;
        let unit = (counter.unit == "bytes").then_some(UNIT_BYTES);
        let unit_name = unit.is_none().then(|| counter.unit.clone());
        out.describe(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(PROCESS),
            name: Some(counter.name.clone()),
            counter: Some(Counter { unit, unit_name, ..Counter::default() }),
            ..TrackDescriptor::default()
        })?;
        for (&at, &value) in counter.time_ns.iter().zip(&counter.value).filter(|(_, v)| v.is_finite()) {
            let kind = Some(event_type::COUNTER);
            out.event(
                at,
                TrackEvent { kind, track_uuid: Some(uuid), double_counter_value: Some(value), ..TrackEvent::default() },
            )?;
        }
    }
    Ok(())
}

/// The word for how good a span's clock is.
pub(crate) fn quality_word(q: Quality) -> &'static str {
    match q {
        Quality::Cpu => "cpu",
        Quality::GpuTimestamp => "gpu timestamp",
        Quality::Wall => "wall",
        Quality::Rejected => "rejected",
    }
}

fn model_name(trace: &Trace) -> &str {
    if trace.meta.model.is_empty() { "model" } else { &trace.meta.model }
}

/// Ends the spans that are over by `now`, innermost first.
fn close(out: &mut Packets<'_>, open: &mut Vec<u64>, uuid: u64, now: u64) -> io::Result<()> {
    while let Some(end) = open.pop_if(|end| *end <= now) {
        let kind = Some(event_type::END);
        out.event(end, TrackEvent { kind, track_uuid: Some(uuid), ..TrackEvent::default() })?;
    }
    Ok(())
}

/// Everything but spans and counters, on an instant at the start.
fn rest_of(trace: &Trace) -> io::Result<Packet> {
    let rest = Trace {
        meta: trace.meta.clone(),
        layers: trace.layers.clone(),
        nodes: trace.nodes.clone(),
        tracks: trace.tracks.clone(),
        runs: trace.runs.clone(),
        memory: trace.memory.clone(),
        accuracy: trace.accuracy.clone(),
        ceilings: trace.ceilings.clone(),
        spans: Spans::default(),
        counters: Vec::new(),
    };
    let annotation = Annotation {
        name: Some(OURS.to_owned()),
        string_value: Some(serde_json::to_string(&rest)?),
        ..Annotation::default()
    };
    let start = trace.spans.start_ns.iter().min().copied().unwrap_or(0);
    Ok(Packet {
        timestamp: Some(start),
        sequence_flags: Some(NEEDS_STATE),
        track_event: Some(TrackEvent {
            kind: Some(event_type::INSTANT),
            track_uuid: Some(PROCESS),
            name: Some(format!("profile of {}", model_name(trace))),
            annotations: vec![annotation],
            ..TrackEvent::default()
        }),
        ..Packet::default()
    })
}

fn interned(iid: u64, text: &str) -> Interned {
    Interned { iid: Some(iid), text: Some(text.as_bytes().to_vec()) }
}

/// Distinct texts with their numbers, from 1.
#[derive(Default)]
struct Table {
    known: HashMap<String, u64>,
    list: Vec<Interned>,
}

impl Table {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(&n) = self.known.get(text) {
            return n;
        }
        let n = self.list.len() as u64 + 1;
        self.list.push(interned(n, text));
        self.known.insert(text.to_owned(), n);
        n
    }
}

#[derive(Default)]
struct Texts {
    events: Table,
    strings: Table,
}

impl Texts {
    fn event(&mut self, text: &str) -> u64 {
        self.events.number(text)
    }

    fn string(&mut self, text: &str) -> u64 {
        self.strings.number(text)
    }
}

/// Writes packets one by one: a file of them is one message, whose parts may simply follow each other.
struct Packets<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl Packets<'_> {
    fn packet(&mut self, packet: Packet) -> io::Result<()> {
        let file = File { packet: vec![Packet { sequence_id: Some(SEQUENCE), ..packet }] };
        self.buffer.clear();
        file.encode(&mut self.buffer).map_err(io::Error::other)?;
        self.out.write_all(&self.buffer)
    }

    fn describe(&mut self, descriptor: TrackDescriptor) -> io::Result<()> {
        self.packet(Packet { track_descriptor: Some(descriptor), ..Packet::default() })
    }

    fn event(&mut self, at: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(Packet {
            timestamp: Some(at),
            sequence_flags: Some(NEEDS_STATE),
            track_event: Some(event),
            ..Packet::default()
        })
    }
}
