//! What must hold in every trace, so that nothing that reads one has to check again.

use super::{Problem, damaged};
use crate::Trace;

/// Checks a trace: columns of equal length, ids within their tables, no end before its start, parents before their children
/// and on the same track. A trace from a [`Recorder`](crate::Recorder) or from [`open`](super::open) is valid.
pub fn check(trace: &Trace) -> Result<(), Problem> {
    let s = &trace.spans;
    let rows = s.track.len();
    let columns = [
        ("layer", s.layer.len()),
        ("name", s.name.len()),
        ("start_ns", s.start_ns.len()),
        ("end_ns", s.end_ns.len()),
        ("parent", s.parent.len()),
        ("run", s.run.len()),
        ("quality", s.quality.len()),
    ];
    for (name, length) in columns {
        if length != rows {
            return Err(damaged(format!("column spans.{name} has {length} rows where spans.track has {rows}")));
        }
    }
    let bad = |i: usize, what: String| Err(damaged(format!("span {i}: {what}")));
    for i in 0..rows {
        if s.track[i].index() >= trace.tracks.len() {
            return bad(i, format!("track {} of {}", s.track[i].0, trace.tracks.len()));
        }
        match s.layer[i] {
            Some(l) if l.index() >= trace.layers.len() => {
                return bad(i, format!("layer {} of {}", l.0, trace.layers.len()));
            }
            None if s.name[i] as usize >= s.names.len() => {
                return bad(i, format!("name {} of {}", s.name[i], s.names.len()));
            }
            _ => {}
        }
        if s.end_ns[i] < s.start_ns[i] {
            return bad(i, format!("ends at {} before it starts at {}", s.end_ns[i], s.start_ns[i]));
        }
        if let Some(run) = s.run[i].filter(|r| r.index() >= trace.runs.len()) {
            return bad(i, format!("run {} of {}", run.0, trace.runs.len()));
        }
        if let Some(parent) = s.parent[i] {
            if parent.index() >= i {
                return bad(i, format!("its parent {} does not come before it", parent.0));
            }
            if s.track[parent.index()] != s.track[i] {
                return bad(i, format!("its parent {} is on another track", parent.0));
            }
        }
    }
    if let Some(i) = trace.runs.iter().position(|r| r.end_ns < r.start_ns) {
        return Err(damaged(format!("run {i} ends before it starts")));
    }
    if let Some(c) = trace.counters.iter().find(|c| c.time_ns.len() != c.value.len()) {
        return Err(damaged(format!(
            "counter {:?} has {} times and {} values",
            c.name,
            c.time_ns.len(),
            c.value.len()
        )));
    }
    for (i, node) in trace.nodes.iter().enumerate() {
        if let Some(from) = node.inputs.iter().find(|&&from| from as usize >= trace.nodes.len()) {
            return Err(damaged(format!("node {i} takes from node {from} of {}", trace.nodes.len())));
        }
    }
    for t in &trace.memory.tensors {
        let beyond =
            [Some(t.first), Some(t.last), t.producer].into_iter().flatten().any(|l| l.index() >= trace.layers.len());
        if beyond || t.last < t.first {
            return Err(damaged(format!("tensor {:?} lives from layer {} to {}", t.name, t.first.0, t.last.0)));
        }
    }
    Ok(())
}
