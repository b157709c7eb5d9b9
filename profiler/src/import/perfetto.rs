//! Perfetto's own format: track events (slices, instants, counters) with interned names and sequence clocks. Packets of other
//! kinds (scheduler, system statistics) are counted and left out.

use std::collections::HashMap;

use prost::Message;

use super::spans::{Builder, leaves_to_layers};
use super::{Problem, damaged};
use crate::export::quality_word;
use crate::nest::nest;
use crate::perfetto::{
    BOOTTIME, Clock, FIRST_SEQUENCE_CLOCK, Interned, OURS, Packet, STATE_CLEARED, TrackDescriptor, TrackEvent,
    UNIT_BYTES, event_type,
};
use crate::{Counter, LayerId, Quality, RunId, Spans, Trace, TrackId, TrackKind};

/// Slices open at once on one track beyond this are not followed.
const DEEPEST: usize = 4096;

pub(super) fn matches(head: &[u8]) -> bool {
    // A message of packets: each a length and fields whose tags and lengths fit. Text that begins with a newline does not.
    let mut rest = head;
    let mut whole = 0;
    while let Some((packet, after)) = next_packet(rest) {
        if !fields_fit(packet) {
            return false;
        }
        whole += 1;
        rest = after;
    }
    // What is cut off by the end of the head can't be looked into; at least it begins as a packet does.
    whole > 0 && rest.first().is_none_or(|&b| b == 0x0a)
}

/// The first packet and what follows it; none if it is not there as a whole.
fn next_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[0x0a])?;
    let (length, rest) = varint(rest)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &b) in bytes.iter().take(10).enumerate() {
        value |= u64::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// True if bytes are protobuf fields, and at least one.
fn fields_fit(mut bytes: &[u8]) -> bool {
    let mut fields = 0;
    while !bytes.is_empty() {
        let step = || {
            let (tag, rest) = varint(bytes)?;
            let rest = match (tag >> 3, tag & 7) {
                (0, _) => return None,
                (_, 0) => varint(rest)?.1,
                (_, 1) => rest.get(8..)?,
                (_, 2) => {
                    let (length, rest) = varint(rest)?;
                    rest.get(usize::try_from(length).ok()?..)?
                }
                (_, 5) => rest.get(4..)?,
                _ => return None,
            };
            Some(rest)
        };
        match step() {
            Some(rest) => bytes = rest,
            None => return false,
        }
        fields += 1;
    }
    fields > 0
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let mut reader = Reader::default();
    let mut rest = bytes;
    let mut packets = 0u64;
    while !rest.is_empty() {
        // A recording that was cut short ends in the middle of a packet; what came before is good.
        let Some((packet, after)) = next_packet(rest) else {
            if rest[0] != 0x0a {
                return Err(damaged(format!("packet {packets} does not begin as one")));
            }
            reader.warn("the file ends in the middle of a packet: its last events are missing".to_owned());
            break;
        };
        let packet = Packet::decode(packet).map_err(|e| damaged(format!("packet {packets}: {e}")))?;
        reader.packet(packet)?;
        rest = after;
        packets += 1;
    }
    reader.finish()
}

/// What packets of one writer refer to.
#[derive(Default)]
struct Sequence {
    events: HashMap<u64, String>,
    strings: HashMap<u64, String>,
    keys: HashMap<u64, String>,
    track: Option<u64>,
    clock: Option<u32>,
    clocks: HashMap<u32, SequenceClock>,
}

/// A clock of one writer: ticks, perhaps counted from the tick before, and where the trace's clock stood at its start.
#[derive(Clone, Copy)]
struct SequenceClock {
    unit_ns: u64,
    incremental: bool,
    ticks: u64,
    offset_ns: i128,
}

/// A span that has begun.
struct Open {
    start: u64,
    name: u32,
    layer: Option<LayerId>,
    run: Option<RunId>,
    quality: Quality,
}

#[derive(Default)]
struct Reader {
    builder: Builder,
    sequences: HashMap<u32, Sequence>,
    descriptors: HashMap<u64, TrackDescriptor>,
    /// Open spans by track.
    open: HashMap<u64, Vec<Open>>,
    /// Tracks in order of their first span.
    tracks: HashMap<u64, TrackId>,
    counters: HashMap<u64, (usize, f64)>,
    /// The rest of a trace that was written here.
    rest: Option<Box<Trace>>,
    latest: u64,
    others: u64,
    lost_ends: u64,
    warnings: Vec<String>,
}

impl Reader {
    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn packet(&mut self, packet: Packet) -> Result<(), Problem> {
        let id = packet.sequence_id.unwrap_or(0);
        let sequence = self.sequences.entry(id).or_default();
        if packet.sequence_flags.unwrap_or(0) & STATE_CLEARED != 0 || packet.state_cleared == Some(true) {
            (sequence.track, sequence.clock) = (None, None);
            [&mut sequence.events, &mut sequence.strings, &mut sequence.keys].into_iter().for_each(HashMap::clear);
        }
        if let Some(defaults) = packet.defaults {
            sequence.clock = defaults.clock_id.or(sequence.clock);
            sequence.track = defaults.track_event.and_then(|t| t.track_uuid).or(sequence.track);
        }
        if let Some(data) = packet.interned_data {
            learn(&mut sequence.events, data.event_names);
            learn(&mut sequence.strings, data.strings);
            learn(&mut sequence.keys, data.annotation_names);
        }
        if let Some(snapshot) = packet.clock_snapshot {
            sequence.set_clocks(&snapshot.clocks);
            return Ok(());
        }
        if let Some(descriptor) = packet.track_descriptor {
            self.descriptors.insert(descriptor.uuid.unwrap_or(0), descriptor);
            return Ok(());
        }
        match (packet.track_event, packet.timestamp) {
            (Some(event), Some(stamp)) => {
                let at = sequence.time(packet.clock_id, stamp);
                self.event(id, event, at)
            }
            (Some(_), None) => Err(damaged("an event without a time")),
            (None, _) => {
                self.others += u64::from(packet.timestamp.is_some());
                Ok(())
            }
        }
    }

    fn event(&mut self, sequence: u32, event: TrackEvent, at: u64) -> Result<(), Problem> {
        self.latest = self.latest.max(at);
        let state = self.sequences.entry(sequence).or_default();
        // Without a track of its own, an event belongs to its writer.
        let uuid = event.track_uuid.or(state.track).unwrap_or(u64::MAX - u64::from(sequence));
        match event.kind.unwrap_or(0) {
            event_type::BEGIN => {
                let name = match (&event.name, event.name_iid) {
                    (Some(name), _) => name.as_str(),
                    (None, Some(iid)) => state.events.get(&iid).map_or("?", String::as_str),
                    (None, None) => "?",
                };
                let mut open =
                    Open { start: at, name: self.builder.name(name), layer: None, run: None, quality: Quality::Cpu };
                for a in &event.annotations {
                    let key = a.name.as_deref().or_else(|| state.keys.get(&a.name_iid?).map(String::as_str));
                    let number = a.uint_value.and_then(|v| u32::try_from(v).ok());
                    match (key, number) {
                        (Some("layer"), Some(n)) => open.layer = Some(LayerId(n)),
                        (Some("run"), Some(n)) => open.run = Some(RunId(n)),
                        (Some("quality"), _) => {
                            let word = a.string_value_iid.and_then(|iid| state.strings.get(&iid));
                            let all = [Quality::GpuTimestamp, Quality::Wall, Quality::Rejected];
                            open.quality = all
                                .into_iter()
                                .find(|q| word.is_some_and(|w| w == quality_word(*q)))
                                .unwrap_or_default();
                        }
                        _ => {}
                    }
                }
                let stack = self.open.entry(uuid).or_default();
                if stack.len() == DEEPEST {
                    return Err(Problem::TooLarge { what: "the depth of nested events", limit: DEEPEST as u64 });
                }
                stack.push(open);
            }
            event_type::END => match self.open.get_mut(&uuid).and_then(Vec::pop) {
                Some(open) => self.span(uuid, open, at),
                None => self.lost_ends += 1,
            },
            event_type::COUNTER => {
                let value = event.double_counter_value.or(event.counter_value.map(|v| v as f64));
                if let Some(value) = value.filter(|v| v.is_finite()) {
                    self.count(uuid, at, value);
                }
            }
            _ => {
                let ours = event.annotations.into_iter().find(|a| a.name.as_deref() == Some(OURS));
                if let Some(text) = ours.and_then(|a| a.string_value) {
                    let rest =
                        serde_json::from_str(&text).map_err(|e| damaged(format!("the profile's own data: {e}")))?;
                    self.rest = Some(rest);
                }
            }
        }
        Ok(())
    }

    fn span(&mut self, uuid: u64, open: Open, end: u64) {
        let track = self.track(uuid);
        let what = open.layer.ok_or(open.name);
        self.builder.push(track, what, (open.start, end.max(open.start)), open.run, open.quality);
    }

    /// The track of a descriptor: by its name, or its thread's, below its process.
    fn track(&mut self, uuid: u64) -> TrackId {
        if let Some(&track) = self.tracks.get(&uuid) {
            return track;
        }
        let name = self.name_of(uuid);
        let written_here = self.rest.is_some();
        let name = match name.rsplit_once(" (").filter(|(_, n)| written_here && n.ends_with(')')) {
            Some((track, n)) if n.trim_end_matches(')').parse::<u32>().is_ok() => track.to_owned(),
            _ => name,
        };
        let lower = name.to_lowercase();
        let kind = match () {
            () if lower.contains("gpu") || lower.contains("stream") => TrackKind::Gpu,
            () if lower.starts_with("cpu") || self.tracks.is_empty() => TrackKind::Cpu,
            () => TrackKind::Other,
        };
        let track = self.builder.track(&name, kind);
        self.tracks.insert(uuid, track);
        track
    }

    fn name_of(&self, uuid: u64) -> String {
        let Some(d) = self.descriptors.get(&uuid) else { return format!("track {}", self.tracks.len() + 1) };
        let thread = d.thread.as_ref();
        let own = d.name.clone().or_else(|| {
            let t = thread?;
            t.thread_name.clone().or_else(|| Some(format!("thread {}", t.tid?)))
        });
        own.or_else(|| d.process.as_ref()?.process_name.clone()).unwrap_or_else(|| format!("track {uuid:x}"))
    }

    fn count(&mut self, uuid: u64, at: u64, value: f64) {
        let d = self.descriptors.get(&uuid);
        let c = d.and_then(|d| d.counter.as_ref());
        let counters = &mut self.builder.trace.counters;
        let (index, sum) = self.counters.entry(uuid).or_insert_with(|| {
            let unit = match c {
                Some(c) if c.unit == Some(UNIT_BYTES) => "bytes".to_owned(),
                Some(c) => c.unit_name.clone().unwrap_or_default(),
                None => String::new(),
            };
            let name = d.and_then(|d| d.name.clone()).unwrap_or_else(|| format!("counter {uuid:x}"));
            counters.push(Counter { name, unit, ..Counter::default() });
            (counters.len() - 1, 0.0)
        });
        let scale = c.and_then(|c| c.unit_multiplier).filter(|m| *m > 0).unwrap_or(1) as f64;
        *sum = if c.is_some_and(|c| c.is_incremental == Some(true)) { *sum + value } else { value };
        if let Some(counter) = counters.get_mut(*index) {
            counter.time_ns.push(at);
            counter.value.push(*sum * scale);
        }
    }

    fn finish(mut self) -> Result<Trace, Problem> {
        let mut unended = 0u64;
        for (uuid, stack) in std::mem::take(&mut self.open).into_iter().collect::<std::collections::BTreeMap<_, _>>() {
            for open in stack.into_iter().rev() {
                unended += 1;
                let latest = self.latest;
                self.span(uuid, open, latest);
            }
        }
        if unended > 0 {
            self.warn(format!("{unended} spans had no end: they last to the end of the recording"));
        }
        if self.lost_ends > 0 {
            self.warn(format!("{} ends had no beginning and were left out", self.lost_ends));
        }
        if self.others > 0 {
            self.warn(format!("{} packets of other kinds than track events were left out", self.others));
        }
        let mut trace = self.builder.trace;
        if trace.spans.is_empty() && trace.counters.is_empty() && self.rest.is_none() {
            return Err(damaged("no track events: a recording of the system alone holds nothing to show here"));
        }
        match self.rest {
            Some(rest) => restore(&mut trace, *rest)?,
            None => {
                let first =
                    trace.spans.start_ns.iter().chain(trace.counters.iter().filter_map(|c| c.time_ns.first())).min();
                let origin = first.copied().unwrap_or(0);
                shift(&mut trace.spans, origin);
                trace.counters.iter_mut().flat_map(|c| &mut c.time_ns).for_each(|t| *t = t.saturating_sub(origin));
                // Layers and runs are words of this program; another's annotations of the same name mean other things.
                trace.spans.run.fill(None);
                trace.spans.layer.fill(Some(LayerId(0)));
                nest(&mut trace.spans, |_, _| 0);
                leaves_to_layers(&mut trace, |_| String::new());
                trace.meta.producer = "perfetto".into();
                trace.meta.clock.strategy = "as recorded by Perfetto's writer".into();
            }
        }
        trace.meta.warnings.extend(self.warnings);
        Ok(trace)
    }
}

fn shift(spans: &mut Spans, origin: u64) {
    spans.start_ns.iter_mut().chain(&mut spans.end_ns).for_each(|t| *t = t.saturating_sub(origin));
}

/// Joins the spans and counters that were read with the rest of a trace that was written here.
fn restore(trace: &mut Trace, mut rest: Trace) -> Result<(), Problem> {
    let tracks: Vec<TrackId> = trace
        .tracks
        .iter()
        .map(|t| match rest.tracks.iter().position(|r| r.name == t.name) {
            Some(i) => TrackId(i as u32),
            None => {
                rest.tracks.push(t.clone());
                TrackId((rest.tracks.len() - 1) as u32)
            }
        })
        .collect();
    let s = &mut trace.spans;
    s.track.iter_mut().for_each(|t| *t = tracks[t.index()]);
    if let Some(l) = s.layer.iter().flatten().find(|l| l.index() >= rest.layers.len()) {
        return Err(damaged(format!("a span of layer {} of {}", l.0, rest.layers.len())));
    }
    if let Some(r) = s.run.iter().flatten().find(|r| r.index() >= rest.runs.len()) {
        return Err(damaged(format!("a span of run {} of {}", r.0, rest.runs.len())));
    }
    nest(s, |s, i| u8::from(s.layer[i].is_some()));
    rest.spans = std::mem::take(s);
    rest.counters = std::mem::take(&mut trace.counters);
    *trace = rest;
    Ok(())
}

fn learn(table: &mut HashMap<u64, String>, entries: Vec<Interned>) {
    table.extend(
        entries
            .into_iter()
            .filter_map(|e| Some((e.iid?, String::from_utf8_lossy(&e.text.unwrap_or_default()).into_owned()))),
    );
}

impl Sequence {
    fn set_clocks(&mut self, clocks: &[Clock]) {
        // Where the trace's own clock stood at this moment; a writer's clock alone is taken as it is.
        let reference = clocks
            .iter()
            .find(|c| c.id == Some(BOOTTIME))
            .or_else(|| clocks.iter().find(|c| c.id.is_some_and(|id| id < FIRST_SEQUENCE_CLOCK)));
        let now = reference.and_then(|c| c.timestamp);
        for c in clocks {
            let (Some(id), ticks) = (c.id.filter(|&id| id >= FIRST_SEQUENCE_CLOCK), c.timestamp.unwrap_or(0)) else {
                continue;
            };
            let unit_ns = c.unit_multiplier_ns.unwrap_or(1).max(1);
            let offset_ns = now.map_or(0, |now| i128::from(now) - i128::from(ticks) * i128::from(unit_ns));
            self.clocks
                .insert(id, SequenceClock { unit_ns, incremental: c.is_incremental == Some(true), ticks, offset_ns });
        }
    }

    /// A time stamp on the trace's clock, in nanoseconds.
    fn time(&mut self, clock: Option<u32>, stamp: u64) -> u64 {
        let id = clock.or(self.clock).unwrap_or(BOOTTIME);
        let Some(clock) = self.clocks.get_mut(&id) else { return stamp };
        clock.ticks = if clock.incremental { clock.ticks.saturating_add(stamp) } else { stamp };
        let ns = i128::from(clock.ticks) * i128::from(clock.unit_ns) + clock.offset_ns;
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export;
    use crate::fixtures::{self, Random};
    use crate::perfetto::{ClockSnapshot, Defaults, Thread, Trace as File};

    fn written(trace: &Trace) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.pftrace");
        export::write(trace, &path).unwrap();
        std::fs::read(path).unwrap()
    }

    /// Spans in an order that does not depend on how they were stored.
    fn spans(t: &Trace) -> Vec<String> {
        let mut all: Vec<String> = t
            .spans
            .iter()
            .map(|s| {
                let track = &t.tracks[s.track.index()].name;
                format!(
                    "{track} {} {:?} {}-{} {:?} {:?}",
                    t.span_name(&s),
                    s.layer,
                    s.start_ns,
                    s.end_ns,
                    s.run,
                    s.quality
                )
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_was_written_here_comes_back_whole() {
        let mut random = Random::fresh();
        let seed = random.seed;
        let made = (0..40).map(|_| fixtures::random(&mut random));
        for trace in made.chain([fixtures::transformer(2, 3, 1), fixtures::one_layer(), fixtures::many_spans(3000)]) {
            let bytes = written(&trace);
            assert!(matches(&bytes[..bytes.len().min(1 << 16)]));
            let back = crate::import::read(&bytes).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!((&back.meta, &back.layers, &back.runs), (&trace.meta, &trace.layers, &trace.runs));
            assert_eq!((&back.memory, &back.accuracy, &back.nodes), (&trace.memory, &trace.accuracy, &trace.nodes));
            assert_eq!(spans(&back), spans(&trace), "seed {seed}");
            let counted = |t: &Trace| t.counters.iter().filter(|c| !c.time_ns.is_empty()).cloned().collect::<Vec<_>>();
            assert_eq!(counted(&back), counted(&trace), "seed {seed}");
        }
    }

    #[test]
    fn broken_files_are_refused_or_read_in_part_and_nothing_worse() {
        let bytes = written(&fixtures::transformer(1, 2, 1));
        for end in (0..bytes.len()).step_by(7) {
            let _ = crate::import::read(&bytes[..end]);
        }
        let cut = crate::import::read(&bytes[..bytes.len() - 3]).unwrap();
        assert!(cut.meta.warnings.iter().any(|w| w.contains("middle of a packet")), "{:?}", cut.meta.warnings);
        let mut random = Random::fresh();
        println!("seed {}", random.seed);
        for _ in 0..2000 {
            let mut broken = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(broken.len() as u64) as usize;
                broken[at] = random.below(256) as u8;
            }
            let _ = crate::import::read(&broken);
        }
    }

    #[test]
    fn text_and_models_are_not_taken_for_it() {
        for other in [
            &b"\n{\"traceEvents\": []}                                                                 \n"[..],
            b"\n\n\n\n",
            b"",
            b"\x08\x07\x12\x04abcd",
        ] {
            assert!(!matches(other), "{other:?}");
        }
    }

    /// As Perfetto's own SDK writes: a thread per sequence, a clock that counts from tick to tick in microseconds.
    #[test]
    fn sequence_clocks_and_default_tracks_are_followed() {
        let event = |kind, stamp, name: Option<u64>| Packet {
            sequence_id: Some(7),
            timestamp: Some(stamp),
            track_event: Some(TrackEvent { kind: Some(kind), name_iid: name, ..TrackEvent::default() }),
            ..Packet::default()
        };
        let clock = |id, timestamp, incremental, unit| Clock {
            id: Some(id),
            timestamp: Some(timestamp),
            is_incremental: incremental,
            unit_multiplier_ns: unit,
        };
        let names = [(1, "outer"), (2, "inner")];
        let setup = Packet {
            sequence_id: Some(7),
            sequence_flags: Some(STATE_CLEARED),
            defaults: Some(Defaults {
                clock_id: Some(64),
                track_event: Some(crate::perfetto::TrackEventDefaults { track_uuid: Some(99) }),
            }),
            interned_data: Some(crate::perfetto::InternedData {
                event_names: names.map(|(iid, n)| Interned { iid: Some(iid), text: Some(n.into()) }).into(),
                ..Default::default()
            }),
            ..Packet::default()
        };
        let clocks = vec![clock(6, 5_000_000, None, None), clock(64, 100, Some(true), Some(1000))];
        let thread = Thread { tid: Some(4), thread_name: Some("main".into()), ..Thread::default() };
        let packets = vec![
            Packet { clock_snapshot: Some(ClockSnapshot { clocks }), sequence_id: Some(7), ..Packet::default() },
            setup,
            Packet {
                track_descriptor: Some(TrackDescriptor { uuid: Some(99), thread: Some(thread), ..Default::default() }),
                ..Packet::default()
            },
            event(event_type::BEGIN, 10, Some(1)),
            event(event_type::BEGIN, 5, Some(2)),
            event(event_type::END, 20, None),
            event(event_type::END, 1, None),
            event(event_type::END, 1, None),
            event(event_type::BEGIN, 3, Some(2)),
        ];
        let trace = crate::import::read(&File { packet: packets }.encode_to_vec()).unwrap();
        assert_eq!(trace.tracks[0].name, "main");
        let rows: Vec<(&str, u64, u64)> = trace
            .spans
            .iter()
            .map(|s| (trace.span_name(&s), s.start_ns, s.end_ns))
            .map(|(n, a, b)| (if n == "outer" { "outer" } else { "inner" }, a, b))
            .collect();
        assert_eq!(rows, [("outer", 0, 26_000), ("inner", 5_000, 25_000), ("inner", 30_000, 30_000)]);
        let warnings = trace.meta.warnings.join("\n");
        assert!(warnings.contains("1 spans had no end") && warnings.contains("1 ends had no beginning"), "{warnings}");
    }
}
