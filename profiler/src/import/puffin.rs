//! puffin's files (`PUF0`, frames `PFD4`): each frame becomes a run, each thread a track. In files that were written here
//! scope data are layer names; in others every innermost scope counts as a layer.
//!
//! This reads the format itself, not through the `puffin` crate: that one allocates what lengths in the file say, and
//! recurses as deep as the file nests.

use std::collections::HashMap;

use super::spans::{Builder, leaves_to_layers};
use super::{MAX_EXPANDED_BYTES, Problem, damaged, read_bounded};
use crate::export::puffin::{MAGIC, SOURCE, WARMUP};
use crate::nest::nest;
use crate::{Layer, LayerId, OpClass, Quality, Run, RunId, Trace, TrackId, TrackKind};

pub(super) fn matches(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let mut file = Bytes(bytes.strip_prefix(MAGIC).ok_or(Problem::Unknown)?);
    let mut scopes: HashMap<u32, Scope> = HashMap::new();
    let mut frames = Vec::new();
    let mut budget = MAX_EXPANDED_BYTES;
    while !file.0.is_empty() {
        let header = file.take(4)?;
        if header == [0; 4] {
            break;
        }
        if header != b"PFD4" {
            return Err(damaged(match header.strip_prefix(b"PFD") {
                Some(v) if v < b"4".as_slice() => {
                    "an old puffin format; open it in puffin_viewer and save it again".to_owned()
                }
                _ => format!("frame {} does not begin with PFD4", frames.len()),
            }));
        }
        let meta = file.sized()?;
        let packed_length = file.u32()? as usize;
        let compression = file.take(1)?[0];
        let packed = file.take(packed_length)?;
        read_scopes(file.sized()?, &mut scopes)?;
        let streams = unpack(compression, packed, budget)?;
        budget -= streams.len() as u64;
        frames.push(Frame { range: read_range(meta)?, threads: read_threads(&streams)? });
    }
    assemble(frames, &scopes)
}

struct Scope {
    name: String,
    /// The class of a layer's operator, where it was written here.
    class: Option<OpClass>,
    ours: bool,
}

struct Frame {
    range: (i64, i64),
    threads: Vec<Thread>,
}

struct Thread {
    order: i64,
    name: String,
    spans: Vec<RawSpan>,
}

/// A scope in a stream.
struct RawSpan {
    scope: u32,
    data: String,
    start: i64,
    end: i64,
}

/// The streams of a frame, decompressed.
fn unpack(compression: u8, packed: &[u8], budget: u64) -> Result<Vec<u8>, Problem> {
    match compression {
        0 => Ok(packed.to_vec()),
        1 => {
            let (size, block) = packed.split_first_chunk::<4>().ok_or_else(cut)?;
            let size = u32::from_le_bytes(*size);
            // LZ4 expands at most 255-fold.
            if u64::from(size) > budget || u64::from(size) > block.len() as u64 * 255 + 64 {
                return Err(Problem::TooLarge { what: "the decompressed data", limit: budget });
            }
            lz4_flex::block::decompress(block, size as usize).map_err(|e| damaged(format!("lz4: {e}")))
        }
        2 => read_bounded(zstd::Decoder::with_buffer(packed)?),
        other => Err(damaged(format!("unknown compression {other}"))),
    }
    .and_then(|bytes| match bytes.len() as u64 <= budget {
        true => Ok(bytes),
        false => Err(Problem::TooLarge { what: "the decompressed data", limit: budget }),
    })
}

/// Frame meta: its index, then the range of its times.
fn read_range(meta: &[u8]) -> Result<(i64, i64), Problem> {
    let mut meta = Bytes(meta);
    meta.varint()?;
    Ok((meta.zigzag()?, meta.zigzag()?))
}

/// Names of scopes that are new in a frame.
fn read_scopes(bytes: &[u8], scopes: &mut HashMap<u32, Scope>) -> Result<(), Problem> {
    let mut b = Bytes(bytes);
    for _ in 0..b.varint()? {
        let id = if b.flag()? { b.varint()? as u32 } else { 0 };
        let name = if b.flag()? { Some(b.text()?) } else { None };
        let function = b.text()?;
        let ours = b.text()? == SOURCE;
        b.varint()?;
        let class = OpClass::ALL.into_iter().find(|c| c.label() == function);
        scopes.insert(id, Scope { name: name.unwrap_or(function), class: class.filter(|_| ours), ours });
    }
    Ok(())
}

fn read_threads(bytes: &[u8]) -> Result<Vec<Thread>, Problem> {
    let mut b = Bytes(bytes);
    let mut threads = Vec::new();
    for _ in 0..b.varint()? {
        let order = if b.flag()? { b.zigzag()? } else { i64::MAX };
        let name = b.text()?;
        let length = b.length()?;
        let spans = read_stream(b.take(length)?)?;
        b.varint()?;
        b.varint()?;
        b.zigzag()?;
        b.zigzag()?;
        threads.push(Thread { order, name, spans });
    }
    threads.sort_by_key(|t| t.order);
    Ok(threads)
}

/// A stream of scopes: `(` id start data size children `)` end.
fn read_stream(bytes: &[u8]) -> Result<Vec<RawSpan>, Problem> {
    let mut b = Bytes(bytes);
    let mut spans: Vec<RawSpan> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    while let Some((&marker, _)) = b.0.split_first() {
        b.take(1)?;
        match marker {
            b'(' => {
                let scope = b.u32()?;
                let start = b.i64()?;
                let length = b.take(1)?[0] as usize;
                let data = String::from_utf8_lossy(b.take(length)?).into_owned();
                b.i64()?;
                open.push(spans.len());
                spans.push(RawSpan { scope, data, start, end: start });
            }
            b')' => {
                let end = b.i64()?;
                let i = open.pop().ok_or_else(|| damaged("a scope ends that never began"))?;
                if end < spans[i].start {
                    return Err(damaged("a scope ends before it starts"));
                }
                spans[i].end = end;
            }
            other => return Err(damaged(format!("byte {other:#04x} in a stream of scopes"))),
        }
    }
    if open.is_empty() { Ok(spans) } else { Err(damaged("a scope never ends")) }
}

fn assemble(frames: Vec<Frame>, scopes: &HashMap<u32, Scope>) -> Result<Trace, Problem> {
    let all = || frames.iter().flat_map(|f| &f.threads).flat_map(|t| &t.spans);
    let ours = !scopes.is_empty() && scopes.values().all(|s| s.ours);
    // Files that were written here count from their own origin already; others from the Unix epoch.
    let origin = if ours { 0 } else { all().map(|s| s.start).min().unwrap_or(0) };
    let ns = |t: i64| u64::try_from(i128::from(t) - i128::from(origin)).unwrap_or(0);
    let mut b = Builder::default();
    for frame in &frames {
        let root = frame.threads.iter().flat_map(|t| &t.spans).find(|s| is_root(s, scopes));
        let run = match root {
            Some(root) => Some(Run { start_ns: ns(root.start), end_ns: ns(root.end), warmup: root.data == WARMUP }),
            None if ours => None,
            None => Some(Run {
                start_ns: ns(frame.range.0),
                end_ns: ns(frame.range.1).max(ns(frame.range.0)),
                warmup: false,
            }),
        };
        let run = run.map(|run| {
            b.trace.runs.push(run);
            RunId((b.trace.runs.len() - 1) as u32)
        });
        for (place, thread) in frame.threads.iter().enumerate() {
            let track = thread_track(&mut b, thread, place, ours);
            for s in &thread.spans {
                let scope = scopes.get(&s.scope);
                let name = scope.map_or("?", |s| s.name.as_str());
                let what = if ours && !s.data.is_empty() && !is_root(s, scopes) {
                    let class = scope.and_then(|s| s.class).unwrap_or_default();
                    let new = || Layer { name: s.data.clone(), op: name.to_owned(), class, ..Layer::default() };
                    Ok(b.layer(&s.data, name, new))
                } else if s.data.is_empty() || ours {
                    Err(b.name(name))
                } else {
                    Err(b.name(&format!("{name} {}", s.data)))
                };
                b.push(track, what, (ns(s.start), ns(s.end)), run, Quality::Cpu);
            }
        }
    }
    let mut trace = b.trace;
    nest(&mut trace.spans, |s, i| u8::from(s.layer[i].is_some()));
    if !ours {
        trace.spans.layer.fill(Some(LayerId(0)));
        leaves_to_layers(&mut trace, |_| "scope".to_owned());
        trace.meta.producer = "puffin".into();
    }
    "as recorded by puffin".clone_into(&mut trace.meta.clock.strategy);
    Ok(trace)
}

/// True for the span around a run in a file that was written here.
fn is_root(span: &RawSpan, scopes: &HashMap<u32, Scope>) -> bool {
    let scope = scopes.get(&span.scope);
    scope.is_some_and(|s| s.ours && s.name == "run") && (span.data.is_empty() || span.data == WARMUP)
}

/// Threads of one name are one track. Where they were written here, a thread of overlapping spans joins its track again.
fn thread_track(b: &mut Builder, thread: &Thread, place: usize, ours: bool) -> TrackId {
    let name = if thread.name.is_empty() { format!("thread {place}") } else { thread.name.clone() };
    let name = match name.rsplit_once(" (").filter(|(_, n)| ours && n.ends_with(')')) {
        Some((track, number)) if number.trim_end_matches(')').parse::<u32>().is_ok() => track.to_owned(),
        _ => name,
    };
    let lower = name.to_lowercase();
    let kind = match () {
        () if lower.starts_with("gpu") => TrackKind::Gpu,
        () if lower.starts_with("setup") => TrackKind::Setup,
        () if lower.starts_with("cpu") || place == 0 => TrackKind::Cpu,
        () => TrackKind::Other,
    };
    b.track(&name, kind)
}

fn cut() -> Problem {
    damaged("the data end too early")
}

/// A reader of little-endian numbers and of bincode's variable-length ones.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(cut)?;
        self.0 = rest;
        Ok(head)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    fn i64(&mut self) -> Result<i64, Problem> {
        Ok(i64::from_le_bytes(self.chunk()?))
    }

    /// Bytes with their length before them.
    fn sized(&mut self) -> Result<&'a [u8], Problem> {
        let n = self.u32()? as usize;
        self.take(n)
    }

    fn flag(&mut self) -> Result<bool, Problem> {
        Ok(self.take(1)?[0] != 0)
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        match self.take(1)?[0] {
            251 => Ok(u16::from_le_bytes(self.chunk()?).into()),
            252 => Ok(u32::from_le_bytes(self.chunk()?).into()),
            253 => Ok(u64::from_le_bytes(self.chunk()?)),
            n @ 0..=250 => Ok(n.into()),
            _ => Err(damaged("a number that is too wide")),
        }
    }

    fn zigzag(&mut self) -> Result<i64, Problem> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn length(&mut self) -> Result<usize, Problem> {
        usize::try_from(self.varint()?).map_err(|_| cut())
    }

    fn text(&mut self) -> Result<String, Problem> {
        let n = self.length()?;
        Ok(String::from_utf8_lossy(self.take(n)?).into_owned())
    }
}
