//! Chrome trace events: a bare array, or an object with `traceEvents`. Spans from our own export become layers again with all
//! that their `args` say; in other files every innermost span counts as a layer.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::event::Event;
use super::events::{self, Around, Dialect, Read, What};
use super::source::Source;
use super::spans::leaves_to_layers;
use super::{Problem, has, json_start};
use crate::recorder::seal;
use crate::{Layer, LayerId, Meta, Run, RunId, Trace};

/// What our own export says of itself before its events.
const OURS: &[u8] = b"{\"producer\":\"stratoscope\"";

pub(super) fn matches(head: &[u8]) -> bool {
    match json_start(head) {
        Some(b'{') => has(head, "\"traceEvents\"") || has(head, "\"displayTimeUnit\""),
        Some(b'[') => has(head, "\"ph\""),
        _ => false,
    }
}

pub(super) fn read(source: &mut Source) -> Result<Trace, Problem> {
    let ours = source.head().windows(OURS.len()).any(|w| w == OURS);
    if ours { events::read(source, Ours::default(), true) } else { events::read(source, Foreign::default(), false) }
}

/// Files of programs that we know nothing of.
#[derive(Default)]
struct Foreign {
    /// What is known of each name that was seen: its operator, where the arguments say it, else its category.
    ops: HashMap<u32, String>,
}

impl Dialect for Foreign {
    fn span(&mut self, event: &Event, around: Around) -> What {
        self.ops.entry(around.name).or_insert_with(|| {
            #[derive(Deserialize)]
            struct Args<'a> {
                #[serde(borrow)]
                op_name: Option<Cow<'a, str>>,
                #[serde(borrow)]
                op: Option<Cow<'a, str>>,
            }
            let known = event.args_as().and_then(|a: Args| a.op_name.or(a.op));
            known.unwrap_or_else(|| event.cat.clone()).into_owned()
        });
        What { layer: Some(0), ..What::default() }
    }

    fn finish(self, read: Read) -> Result<Trace, Problem> {
        let mut trace = read.trace;
        leaves_to_layers(&mut trace, |name| self.ops.get(&name).cloned().unwrap_or_default());
        trace.meta.model = read.processes.into_iter().min().unwrap_or_default();
        "as recorded in the Chrome trace".clone_into(&mut trace.meta.clock.strategy);
        Ok(trace)
    }
}

/// Files that this program wrote.
#[derive(Default)]
struct Ours {
    meta: Option<Meta>,
    /// Layers by their number in the trace that was written, with their place in the order of appearance.
    layers: BTreeMap<u64, (u32, Layer)>,
    /// Runs by their number there: is it a warm-up, and the span that is all of it.
    runs: BTreeMap<u32, (bool, Option<u32>)>,
}

impl Dialect for Ours {
    fn span(&mut self, event: &Event, around: Around) -> What {
        let args = event.args();
        let run = args.get("run").and_then(Value::as_u64).and_then(|r| u32::try_from(r).ok());
        let quality = args.get("quality").and_then(|q| serde_json::from_value(q.clone()).ok()).unwrap_or_default();
        let number = args.get("layer").and_then(Value::as_u64);
        if let Some(run) = run {
            let known = self.runs.entry(run).or_default();
            known.0 = args.get("warmup").and_then(Value::as_bool).unwrap_or(false);
            if event.cat == "run" && number.is_none() {
                known.1 = Some(around.index);
            }
        }
        let layer = number.map(|number| {
            let place = self.layers.len() as u32;
            let new = || (place, Layer { name: event.name.clone().into_owned(), ..known_layer(args) });
            self.layers.entry(number).or_insert_with(new).0
        });
        What { layer, run, quality, setup: false }
    }

    fn member(&mut self, key: &str, value: &[u8]) {
        #[derive(Deserialize)]
        struct OtherData {
            meta: Meta,
        }
        if key == "otherData" {
            self.meta = serde_json::from_slice(value).ok().map(|o: OtherData| o.meta);
        }
    }

    fn finish(self, read: Read) -> Result<Trace, Problem> {
        let mut trace = read.trace;
        trace.meta = self.meta.unwrap_or_default();
        let mut ids = vec![LayerId(0); self.layers.len()];
        for (place, layer) in self.layers.into_values() {
            ids[place as usize] = LayerId(trace.layers.len() as u32);
            trace.layers.push(layer);
        }
        let run_ids: HashMap<u32, RunId> = self.runs.keys().enumerate().map(|(i, &r)| (r, RunId(i as u32))).collect();
        trace.runs = self.runs.values().map(|&(warmup, _)| Run { warmup, ..Run::default() }).collect();
        let whole: HashMap<u32, usize> =
            self.runs.values().enumerate().filter_map(|(run, &(_, span))| Some((span?, run))).collect();
        let s = &mut trace.spans;
        for (i, was) in read.order.iter().enumerate() {
            s.layer[i] = s.layer[i].map(|l| ids[l.index()]);
            s.run[i] = s.run[i].and_then(|r| run_ids.get(&r.0).copied());
            if let Some(&run) = whole.get(was) {
                (trace.runs[run].start_ns, trace.runs[run].end_ns) = (s.start_ns[i], s.end_ns[i]);
            }
        }
        seal(&mut trace);
        Ok(trace)
    }
}

fn known_layer(args: Value) -> Layer {
    serde_json::from_value(args).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn whole_microseconds_stay_nested() {
        // 0.9 to 3.8, with a child from 1.2 to 3.8: written as 0 + 2 and 1 + 2.
        let file = br#"[{"ph":"X","name":"outer","ts":0,"dur":2},{"ph":"X","name":"inner","ts":1,"dur":2}]"#;
        let trace = read(file).unwrap();
        assert_eq!(trace.spans.parent, [None, Some(crate::SpanId(0))]);
        assert_eq!(trace.spans.end_ns, [2_000, 2_000]);
    }

    #[test]
    fn asynchronous_events_have_tracks_of_their_own() {
        let file = br#"[
            {"ph":"b","cat":"request","id":1,"name":"a","ts":0,"pid":1,"tid":1},
            {"ph":"b","cat":"request","id":"0x2","name":"b","ts":5,"pid":1,"tid":1},
            {"ph":"b","cat":"request","id":1,"name":"part","ts":6,"pid":1,"tid":1},
            {"ph":"n","cat":"request","id":1,"name":"mark","ts":7,"pid":1,"tid":1},
            {"ph":"e","cat":"request","id":1,"name":"part","ts":8,"pid":1,"tid":1},
            {"ph":"e","cat":"request","id":1,"name":"a","ts":10,"pid":1,"tid":1},
            {"ph":"b","cat":"request","id":3,"name":"c","ts":12,"pid":1,"tid":1},
            {"ph":"e","cat":"request","id":"0x2","name":"b","ts":20,"pid":1,"tid":1},
            {"ph":"e","cat":"request","id":9,"name":"never began","ts":20,"pid":1,"tid":1},
            {"ph":"X","name":"work","ts":0,"dur":30,"pid":1,"tid":1},
            {"ph":"i","name":"tick","ts":3,"pid":1,"tid":1},
            {"ph":"s","id":4,"name":"arrow","ts":1,"pid":1,"tid":1}
        ]"#;
        let trace = read(file).unwrap();
        let rows: Vec<_> = trace
            .spans
            .iter()
            .map(|s| {
                let parent = s.parent.map(|p| trace.span_name(&trace.spans.get(p.index())).to_owned());
                let track = trace.tracks[s.track.index()].name.as_str();
                (track, trace.span_name(&s).to_owned(), s.start_ns / 1000, s.end_ns / 1000, parent)
            })
            .collect();
        let row = |t, n: &str, a, b, p: Option<&str>| (t, n.to_owned(), a, b, p.map(str::to_owned));
        assert_eq!(
            rows,
            [
                row("1 / 1", "work", 0, 30, None),
                row("1 / 1", "tick", 3, 3, Some("work")),
                row("request", "a", 0, 10, None),
                row("request", "part", 6, 8, Some("a")),
                row("request", "mark", 7, 7, Some("part")),
                row("request", "c", 12, 30, None),
                row("request (2)", "b", 5, 20, None),
            ]
        );
        assert_eq!(trace.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["work"]);
        let w = &trace.meta.warnings;
        assert!(w.iter().any(|w| w == "left out: 1 flow arrow"), "{w:?}");
    }
}
