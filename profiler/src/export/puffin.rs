//! Traces as puffin frames: a `.puffin` file, and a live feed for `puffin_http`.
//!
//! Each run is a frame, each track a thread (overlapping spans get threads of their own), each operator a scope whose data
//! is the layer's name. A private profiler is used: the global one is for the program's own scopes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use puffin::{
    FrameData, FrameSink, FrameSinkId, GlobalProfiler, ScopeDetails, ScopeId, Stream, StreamInfo, ThreadInfo,
};

use super::lanes;
use crate::{LayerId, Run, Span, Spans, Trace, TrackId, TrackKind};

/// How a `.puffin` file begins.
pub(crate) const MAGIC: &[u8; 4] = b"PUF0";
/// The "source file" of every scope that is written here: how an import knows that scope data are layer names.
pub(crate) const SOURCE: &str = "stratoscope";
/// The data of the root scope of a warm-up run.
pub(crate) const WARMUP: &str = "warm-up";
/// puffin cuts a scope's data after this many bytes.
const MAX_DATA: usize = 127;

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let frames: Arc<Mutex<Vec<Arc<FrameData>>>> = Arc::default();
    let sink = Arc::clone(&frames);
    let mut profiler = GlobalProfiler::default();
    profiler.add_sink(Box::new(move |frame| lock(&sink).push(frame)));
    let mut feed = Feed::default();
    out.write_all(MAGIC)?;
    for group in frame_groups(trace) {
        feed.frame(&mut profiler, trace, &trace.spans, group);
        for frame in lock(&frames).drain(..) {
            frame.write_into(None, &mut &mut *out).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// The spans of each frame: one per run, and between them those that belong to no run, in order of time.
fn frame_groups(trace: &Trace) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..trace.runs.len()).collect();
    order.sort_by_key(|&r| trace.runs[r].start_ns);
    let starts: Vec<u64> = order.iter().map(|&r| trace.runs[r].start_ns).collect();
    let mut groups = vec![Vec::new(); 2 * order.len() + 1];
    let mut slot = vec![0; order.len()];
    for (place, &r) in order.iter().enumerate() {
        slot[r] = 2 * place + 1;
    }
    let s = &trace.spans;
    for i in 0..s.len() {
        let group = match s.run[i].and_then(|r| slot.get(r.index())) {
            Some(&slot) => slot,
            None => 2 * starts.partition_point(|&start| start <= s.start_ns[i]),
        };
        groups[group].push(i);
    }
    groups.retain(|g| !g.is_empty());
    groups
}

/// Turns spans into frames; remembers the scopes that it registered.
#[derive(Default)]
struct Feed {
    scopes: HashMap<String, ScopeId>,
}

impl Feed {
    fn frame(&mut self, profiler: &mut GlobalProfiler, trace: &Trace, spans: &Spans, indices: Vec<usize>) {
        for (place, lane) in lanes::split(spans, indices).iter().enumerate() {
            let track = trace.tracks.get(lane.track.index()).map_or("?", |t| &t.name);
            let info = ThreadInfo {
                // The viewer sorts threads by this.
                start_time_ns: Some(i64::from(lane.track.0) * 4096 + place as i64),
                name: lanes::name(track, lane.number),
            };
            let stream = self.stream(profiler, trace, spans, &lane.spans);
            profiler.report_user_scopes(info, &stream.as_stream_into_ref());
        }
        profiler.new_frame();
    }

    /// The spans of a lane, which nest, as a puffin stream.
    fn stream(&mut self, profiler: &mut GlobalProfiler, trace: &Trace, spans: &Spans, lane: &[usize]) -> StreamInfo {
        let mut info = StreamInfo { num_scopes: lane.len(), ..StreamInfo::default() };
        let mut stream = Stream::default();
        let mut open: Vec<(usize, u64)> = Vec::new();
        for &i in lane {
            let s = spans.get(i);
            while let Some((offset, end)) = open.pop_if(|o| o.1 <= s.start_ns) {
                stream.end_scope(offset, signed(end));
            }
            let (id, data) = self.scope(profiler, trace, spans, &s);
            let (offset, _) = stream.begin_scope(|| signed(s.start_ns), id, &data);
            open.push((offset, s.end_ns));
            info.depth = info.depth.max(open.len());
            info.range_ns.0 = info.range_ns.0.min(signed(s.start_ns));
            info.range_ns.1 = info.range_ns.1.max(signed(s.end_ns));
        }
        while let Some((offset, end)) = open.pop() {
            stream.end_scope(offset, signed(end));
        }
        info.stream = stream;
        info
    }

    /// The scope of a span, and its data: a layer's name, nothing for other spans.
    fn scope(&mut self, profiler: &mut GlobalProfiler, trace: &Trace, spans: &Spans, s: &Span) -> (ScopeId, String) {
        match s.layer.and_then(|l| Some((l, trace.layers.get(l.index())?))) {
            Some((id, layer)) => {
                let op = if layer.op.is_empty() { "layer" } else { &layer.op };
                (self.register(profiler, op, layer.class.label()), layer_data(id, &layer.name))
            }
            None => {
                let name = spans.names.get(s.name as usize).filter(|n| !n.is_empty()).map_or("span", String::as_str);
                let warmup =
                    name == "run" && s.run.is_some_and(|r| trace.runs.get(r.index()).is_some_and(|r| r.warmup));
                (self.register(profiler, name, ""), if warmup { WARMUP.to_owned() } else { String::new() })
            }
        }
    }

    fn register(&mut self, profiler: &mut GlobalProfiler, name: &str, class: &'static str) -> ScopeId {
        if let Some(&id) = self.scopes.get(name) {
            return id;
        }
        let details = ScopeDetails::from_scope_name(name.to_owned()).with_function_name(class).with_file(SOURCE);
        let id = profiler.register_user_scopes(&[details])[0];
        self.scopes.insert(name.to_owned(), id);
        id
    }
}

/// A layer's name within puffin's limit; cut ones end in the layer's number, so that they stay apart.
fn layer_data(id: LayerId, name: &str) -> String {
    if name.is_empty() {
        format!("#{}", id.0)
    } else if name.len() <= MAX_DATA {
        name.to_owned()
    } else {
        let number = format!("…#{}", id.0);
        format!("{}{number}", &name[..name.floor_char_boundary(MAX_DATA - number.len())])
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The profiler behind every [`Live`] feed. `puffin_http` takes plain functions, so it has to be one for the process.
static LIVE: LazyLock<Mutex<GlobalProfiler>> = LazyLock::new(Mutex::default);

/// A live feed: runs become puffin frames as they finish.
///
/// Serve it with `puffin_http::Server::new_custom("127.0.0.1:8585", Live::add_sink, Live::remove_sink)`.
#[derive(Default)]
pub struct Live {
    feed: Feed,
    /// Spans and runs that were sent.
    spans: usize,
    runs: usize,
}

impl Live {
    /// A feed that has sent nothing yet.
    pub fn new() -> Live {
        Live::default()
    }

    /// Sends frames to a sink from now on: the function to install a `puffin_http` server with.
    pub fn add_sink(sink: FrameSink) -> FrameSinkId {
        let mut profiler = lock(&LIVE);
        // A new sink has seen no names.
        profiler.emit_scope_snapshot();
        profiler.add_sink(sink)
    }

    /// Stops sending to a sink: the function to remove a `puffin_http` server with.
    pub fn remove_sink(id: FrameSinkId) {
        lock(&LIVE).remove_sink(id);
    }

    /// Sends what was added to the trace since the last call, as one frame: call it after each run with
    /// [`Recorder::so_far`](crate::Recorder::so_far). A trace that has shrunk is taken for a new one.
    pub fn update(&mut self, trace: &Trace) {
        if trace.spans.len() < self.spans || trace.runs.len() < self.runs {
            (self.spans, self.runs) = (0, 0);
        }
        let mut spans = Spans { names: trace.spans.names.clone(), ..Spans::default() };
        for i in self.spans..trace.spans.len() {
            spans.push(trace.spans.get(i));
        }
        for r in self.runs..trace.runs.len() {
            push_root(&mut spans, trace, &trace.runs[r], r);
        }
        (self.spans, self.runs) = (trace.spans.len(), trace.runs.len());
        if !spans.is_empty() {
            let all = (0..spans.len()).collect();
            self.feed.frame(&mut lock(&LIVE), trace, &spans, all);
        }
    }

    /// Sends a whole trace, frame by frame, as the file would hold it.
    pub fn replay(&mut self, trace: &Trace) {
        for group in frame_groups(trace) {
            self.feed.frame(&mut lock(&LIVE), trace, &trace.spans, group);
        }
    }
}

/// The span around a run, which a recorder adds only at the end.
fn push_root(spans: &mut Spans, trace: &Trace, run: &Run, index: usize) {
    let main = trace.tracks.iter().position(|t| t.kind == TrackKind::Cpu).unwrap_or(0);
    let name = spans.intern("run");
    spans.push(Span {
        track: TrackId(main as u32),
        layer: None,
        name,
        start_ns: run.start_ns,
        end_ns: run.end_ns,
        parent: None,
        run: Some(crate::RunId(index as u32)),
        quality: crate::Quality::Cpu,
    });
}
