//! Packs the windows of some output positions as columns for the product, straight into the kernel's panels.

use std::ops::Range;

use super::shape::{Axis, ConvShape, gather};

/// A run of output positions in one row of the output.
struct Run {
    /// Where the run starts in its panel.
    at: usize,
    od: usize,
    oh: usize,
    ow: usize,
    count: usize,
}

/// Where one tap finds the positions of a run.
enum Source {
    /// Nothing inside the input.
    Padding,
    /// `before` zeros, then `count` elements from `start` on, `stride` apart, then zeros.
    Row { before: usize, start: usize, count: usize },
}

/// Packs the windows of the output positions `columns` of one group's image `x` ([channels, depth, height, width]) into panels of
/// `width` columns. The rows of a panel go through the taps and, for each, through the channels.
pub(crate) fn pack_windows(
    shape: &ConvShape,
    x: &[f32],
    channels: usize,
    columns: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let [depth, height, across] = shape.axes;
    let plane = shape.in_plane();
    let [_, _, out_w] = shape.output();
    let depth_k = shape.taps() * channels;
    if depth_k == 0 {
        return;
    }
    let mut runs = Vec::new();
    for (panel, start) in out.chunks_exact_mut(depth_k * width).zip(columns.clone().step_by(width)) {
        let count = width.min(columns.end - start);
        runs_of(shape, start, count, &mut runs);
        let mut rows = panel.chunks_exact_mut(channels * width);
        for kd in 0..depth.kernel {
            for kh in 0..height.kernel {
                for kw in 0..across.kernel {
                    let Some(rows) = rows.next() else { return };
                    for run in &runs {
                        let line = depth.at(run.od, kd).zip(height.at(run.oh, kh)).map(|(d, h)| d * height.input + h);
                        let source = source(&across, run, kw, line, out_w);
                        copy(&source, x, plane, across.stride, width, run, rows);
                    }
                    if count < width {
                        rows.chunks_exact_mut(width).for_each(|row| row[count..].fill(0.0));
                    }
                }
            }
        }
    }
}

/// Cuts output positions into runs that stay in one row.
fn runs_of(shape: &ConvShape, start: usize, count: usize, runs: &mut Vec<Run>) {
    let [_, out_h, out_w] = shape.output();
    runs.clear();
    let mut at = 0;
    while at < count {
        let position = start + at;
        let ow = position % out_w;
        let take = (out_w - ow).min(count - at);
        let line = position / out_w;
        runs.push(Run { at, od: line / out_h, oh: line % out_h, ow, count: take });
        at += take;
    }
}

fn source(axis: &Axis, run: &Run, kw: usize, line: Option<usize>, out_w: usize) -> Source {
    let Some(line) = line else { return Source::Padding };
    let inside = axis.inside(kw, out_w);
    let (first, end) = (inside.start.max(run.ow), inside.end.min(run.ow + run.count));
    if first >= end {
        return Source::Padding;
    }
    let start = first * axis.stride + kw * axis.dilation - axis.pad_begin;
    Source::Row { before: first - run.ow, start: line * axis.input + start, count: end - first }
}

/// Copies one run of one tap, for every channel.
fn copy(source: &Source, x: &[f32], plane: usize, stride: usize, width: usize, run: &Run, rows: &mut [f32]) {
    let rows = rows.chunks_exact_mut(width);
    match *source {
        Source::Padding => {
            for row in rows {
                row[run.at..run.at + run.count].fill(0.0);
            }
        }
        Source::Row { start, count: 16, .. } if stride == 1 && width == 16 => {
            // The whole panel in one: a copy of known length.
            for (c, row) in rows.enumerate() {
                row.copy_from_slice(&x[c * plane + start..][..16]);
            }
        }
        Source::Row { before, start, count } => {
            for (c, row) in rows.enumerate() {
                let row = &mut row[run.at..run.at + run.count];
                row[..before].fill(0.0);
                row[before + count..].fill(0.0);
                gather(&mut row[before..before + count], &x[c * plane + start..], stride);
            }
        }
    }
}
