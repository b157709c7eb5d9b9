//! From channels first to blocks of channels, and back.

use super::{block, blocked_len, blocks};
use crate::pool::Pool;

/// Pixels of a task.
const PIXELS: usize = 2048;

/// `x`, [batch, channels, plane], in blocks of channels.
pub fn to_blocked(pool: &Pool, channels: usize, plane: usize, x: &[f32], out: &mut [f32]) {
    let c = block();
    let images = x.len().checked_div(channels * plane).unwrap_or(0);
    assert!(
        x.len() == images * channels * plane && out.len() == blocked_len(channels, images * plane),
        "the blocked tensor has another size"
    );
    let per_image = blocks(channels);
    let chunk = plane * c;
    if chunk == 0 {
        return;
    }
    let task = |i: usize, out: &mut [f32]| {
        let (image, first) = (i / per_image, i % per_image * c);
        let here = c.min(channels - first);
        let x = &x[(image * channels + first) * plane..][..here * plane];
        if here < c {
            out.fill(0.0);
        }
        // Some pixels at a time, so that the lines of the output stay in the cache while the channels fill them.
        for (p, out) in out.chunks_mut(64 * c).enumerate() {
            for lane in 0..here {
                let row = &x[lane * plane + p * 64..(lane + 1) * plane];
                for (to, &x) in out[lane..].iter_mut().step_by(c).zip(row) {
                    *to = x;
                }
            }
        }
    };
    if out.len() < PIXELS * c {
        out.chunks_exact_mut(chunk).enumerate().for_each(|(i, out)| task(i, out));
    } else {
        pool.for_chunks_mut(out, chunk, task);
    }
}

/// `x` in blocks of channels, as [batch, channels, plane].
pub fn from_blocked(pool: &Pool, channels: usize, plane: usize, x: &[f32], out: &mut [f32]) {
    let c = block();
    let images = out.len().checked_div(channels * plane).unwrap_or(0);
    assert!(
        out.len() == images * channels * plane && x.len() == blocked_len(channels, images * plane),
        "the blocked tensor has another size"
    );
    if plane == 0 {
        return;
    }
    let per_image = blocks(channels);
    let task = |i: usize, out: &mut [f32]| {
        for (j, out) in out.chunks_exact_mut(plane).enumerate() {
            let (image, channel) = ((i * c + j) / channels, (i * c + j) % channels);
            let from = &x[(image * per_image + channel / c) * plane * c + channel % c..];
            for (to, &x) in out.iter_mut().zip(from.iter().step_by(c)) {
                *to = x;
            }
        }
    };
    if out.len() < PIXELS * c {
        out.chunks_mut(plane * c).enumerate().for_each(|(i, out)| task(i, out));
    } else {
        pool.for_chunks_mut(out, plane * c, task);
    }
}
