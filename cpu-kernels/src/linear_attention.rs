//! Linear attention as a recurrence over a state of one matrix per head, and the causal convolution that goes before it.

use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::split::SharedMut;

/// Multiply-adds of one thread's share, at least.
const GRAIN: usize = 1 << 12;

/// Sizes of [`linear_attention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearSizes {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Heads of the queries; a multiple of `kv_heads`.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Size of a key.
    pub key: usize,
    /// Size of a value.
    pub value: usize,
}

/// A factor given per token: none, one per head, or one per head and key dimension.
#[derive(Clone, Copy, Debug)]
pub struct PerToken<'a> {
    /// [batch, tokens, width].
    pub data: &'a [f32],
    /// Numbers per token: 1 (for all heads), `kv_heads`, or `kv_heads * key`.
    pub width: usize,
}

impl<'a> PerToken<'a> {
    /// The numbers of one head at one token: one, or one per key dimension.
    fn of(&self, token: usize, head: usize, heads: usize) -> &'a [f32] {
        let row = &self.data[token * self.width..][..self.width];
        match self.width {
            1 => row,
            w => &row[head * (w / heads)..][..w / heads],
        }
    }
}

/// S = exp(decay) S; v' = beta (v - S^T k) if there is a beta, else v; S = S + k v'^T; out = scale q^T S: token by token, head by head.
///
/// `q` is [batch, tokens, q_heads * key], `k` [batch, tokens, kv_heads * key], `v` [batch, tokens, kv_heads * value], `out` [batch, tokens,
/// q_heads * value]; `state` is [batch, kv_heads, key, value], read and left as it is after the last token. (Yang et al. 2024, arXiv
/// 2406.06484; ONNX LinearAttention-27.)
pub fn linear_attention(
    pool: &Pool,
    n: LinearSizes,
    scale: f32,
    [q, k, v]: [&[f32]; 3],
    decay: Option<PerToken<'_>>,
    beta: Option<PerToken<'_>>,
    state: &mut [f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let rows = n.batch * n.tokens;
    expect_len("the queries", q.len(), rows * n.q_heads * n.key)?;
    expect_len("the keys", k.len(), rows * n.kv_heads * n.key)?;
    expect_len("the values", v.len(), rows * n.kv_heads * n.value)?;
    expect_len("the state", state.len(), n.batch * n.kv_heads * n.key * n.value)?;
    expect_len("the output", out.len(), rows * n.q_heads * n.value)?;
    for factor in [decay, beta].into_iter().flatten() {
        expect_len("a factor per token", factor.data.len(), rows * factor.width)?;
    }
    let (matrix, group) = (n.key * n.value, n.q_heads.checked_div(n.kv_heads).unwrap_or(0));
    if matrix == 0 || group == 0 {
        return Ok(());
    }
    let out = SharedMut::new(out);
    pool.for_chunks_mut(state, matrix, |task, state| {
        let (image, head) = (task / n.kv_heads, task % n.kv_heads);
        let mut written = vec![0f32; n.value];
        for t in image * n.tokens..(image + 1) * n.tokens {
            if let Some(decay) = decay {
                let g = decay.of(t, head, n.kv_heads);
                for (d, row) in state.chunks_exact_mut(n.value).enumerate() {
                    let factor = g[if g.len() == 1 { 0 } else { d }].exp();
                    row.iter_mut().for_each(|s| *s *= factor);
                }
            }
            let key = &k[(t * n.kv_heads + head) * n.key..][..n.key];
            written.copy_from_slice(&v[(t * n.kv_heads + head) * n.value..][..n.value]);
            if let Some(beta) = beta {
                let beta = beta.of(t, head, n.kv_heads)[0];
                for (row, &k) in state.chunks_exact(n.value).zip(key) {
                    written.iter_mut().zip(row).for_each(|(w, s)| *w -= k * s);
                }
                written.iter_mut().for_each(|w| *w *= beta);
            }
            for (row, &k) in state.chunks_exact_mut(n.value).zip(key) {
                row.iter_mut().zip(&written).for_each(|(s, w)| *s += k * w);
            }
            for h in head * group..(head + 1) * group {
                let query = &q[(t * n.q_heads + h) * n.key..][..n.key];
                let at = (t * n.q_heads + h) * n.value;
                // SAFETY: a task writes the rows of its own sequence and heads, which no other task does.
                let y = unsafe { out.slice(at..at + n.value) };
                y.fill(0.0);
                for (row, &q) in state.chunks_exact(n.value).zip(query) {
                    y.iter_mut().zip(row).for_each(|(y, s)| *y += q * scale * s);
                }
            }
        }
    });
    Ok(())
}

/// A depthwise convolution over [rows, length] that sees the present and `width - 1` past positions, then SiLU if `silu`.
///
/// `rows` are batch times channels; `past` is [rows, width - 1], zeros if left out; `weights` are [channels, width]; `present` is given the last
/// `width - 1` positions. (ONNX CausalConvWithState-27.)
pub fn causal_conv(
    pool: &Pool,
    (channels, length, width): (usize, usize, usize),
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    past: Option<&[f32]>,
    silu: bool,
    out: &mut [f32],
    present: &mut [f32],
) -> Result<(), KernelError> {
    let Some(before) = width.checked_sub(1) else {
        return Err(KernelError::Shape("a causal convolution needs a window of one position at least".into()));
    };
    let rows = x.len().checked_div(length).or_else(|| present.len().checked_div(before)).unwrap_or(0);
    expect_len("the input", x.len(), rows * length)?;
    expect_len("the weights", weights.len(), channels * width)?;
    expect_len("the output", out.len(), x.len())?;
    expect_len("the present state", present.len(), rows * before)?;
    if let Some(bias) = bias {
        expect_len("the bias", bias.len(), channels)?;
    }
    if let Some(past) = past {
        expect_len("the past state", past.len(), rows * before)?;
    }
    if rows == 0 {
        return Ok(());
    }
    let (out, present) = (SharedMut::new(out), SharedMut::new(present));
    pool.for_ranges(rows, GRAIN / (length * width).max(1) + 1, &|range| {
        let mut line = vec![0f32; before + length];
        for row in range {
            match past {
                Some(past) => line[..before].copy_from_slice(&past[row * before..][..before]),
                None => line[..before].fill(0.0),
            }
            line[before..].copy_from_slice(&x[row * length..][..length]);
            let channel = row % channels;
            let weights = &weights[channel * width..][..width];
            // SAFETY: each row is one task's.
            let (y, last) = unsafe {
                (out.slice(row * length..(row + 1) * length), present.slice(row * before..(row + 1) * before))
            };
            y.fill(bias.map_or(0.0, |b| b[channel]));
            for (j, &w) in weights.iter().enumerate() {
                y.iter_mut().zip(&line[j..]).for_each(|(y, x)| *y += w * x);
            }
            if silu {
                y.iter_mut().for_each(|y| *y /= 1.0 + (-*y).exp());
            }
            last.copy_from_slice(&line[length..]);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&v| f64::from(v)).collect()
    }

    #[test]
    fn the_recurrence_is_that_of_the_definition() {
        let mut rng = Rng::fresh();
        for pool in [Pool::new(1), Pool::new(3)] {
            for case in 0..40 {
                let group = rng.range(1, 3);
                let kv_heads = rng.range(1, 3);
                let n = LinearSizes {
                    batch: rng.range(1, 3),
                    tokens: rng.range(0, 5),
                    q_heads: kv_heads * group,
                    kv_heads,
                    key: rng.range(1, 9),
                    value: rng.range(1, 9),
                };
                let rows = n.batch * n.tokens;
                let (q, k, v) = (
                    rng.floats(rows * n.q_heads * n.key),
                    rng.floats(rows * kv_heads * n.key),
                    rng.floats(rows * kv_heads * n.value),
                );
                let widths = [0, kv_heads, kv_heads * n.key];
                let (dw, bw) = (widths[case % 3], [0, 1, kv_heads][case / 3 % 3]);
                let (decay, beta) = (rng.floats(rows * dw), rng.floats(rows * bw));
                let past = rng.floats(n.batch * kv_heads * n.key * n.value);
                let (mut state, mut out) = (past.clone(), vec![f32::NAN; rows * n.q_heads * n.value]);
                let given = |data, width| (width > 0).then_some(PerToken { data, width });
                linear_attention(
                    &pool,
                    n,
                    0.7,
                    [&q, &k, &v],
                    given(&decay, dw),
                    given(&beta, bw),
                    &mut state,
                    &mut out,
                )
                .unwrap();

                // By the definition, head by head of the queries, each with a state of its own.
                let mut want = vec![0f64; out.len()];
                let mut last = vec![0f64; past.len()];
                for (b, h) in (0..n.batch).flat_map(|b| (0..n.q_heads).map(move |h| (b, h))) {
                    let kh = h / group;
                    let at = (b * kv_heads + kh) * n.key * n.value;
                    let mut s = wide(&past[at..at + n.key * n.value]);
                    for t in b * n.tokens..(b + 1) * n.tokens {
                        let g = |d: usize| match dw {
                            0 => 0.0,
                            w if w == kv_heads => f64::from(decay[t * w + kh]),
                            w => f64::from(decay[t * w + kh * n.key + d]),
                        };
                        let key = |d: usize| f64::from(k[(t * kv_heads + kh) * n.key + d]);
                        for i in 0..s.len() {
                            s[i] *= g(i / n.value).exp();
                        }
                        let new: Vec<f64> = (0..n.value)
                            .map(|m| {
                                let v = f64::from(v[(t * kv_heads + kh) * n.value + m]);
                                let seen: f64 = (0..n.key).map(|d| s[d * n.value + m] * key(d)).sum();
                                match bw {
                                    0 => v,
                                    1 => f64::from(beta[t]) * (v - seen),
                                    w => f64::from(beta[t * w + kh]) * (v - seen),
                                }
                            })
                            .collect();
                        for i in 0..s.len() {
                            s[i] += key(i / n.value) * new[i % n.value];
                        }
                        for m in 0..n.value {
                            let dot: f64 = (0..n.key)
                                .map(|d| f64::from(q[(t * n.q_heads + h) * n.key + d]) * s[d * n.value + m])
                                .sum();
                            want[(t * n.q_heads + h) * n.value + m] = 0.7f32 as f64 * dot;
                        }
                    }
                    last[at..at + s.len()].copy_from_slice(&s);
                }
                assert!(rel_err(&out, &want) < 1e-5, "{n:?} decay {dw} beta {bw}: {}", rel_err(&out, &want));
                assert!(rel_err(&state, &last) < 1e-5, "{n:?} decay {dw} beta {bw}");
            }
        }
    }

    #[test]
    fn the_causal_convolution_sees_the_past_and_hands_it_on() {
        let mut rng = Rng::fresh();
        let pool = Pool::new(2);
        for _ in 0..40 {
            let (batch, channels, length, width) = (rng.range(1, 3), rng.range(1, 5), rng.range(1, 7), rng.range(1, 5));
            let (rows, before) = (batch * channels, width - 1);
            let (x, w, b, past) = (
                rng.floats(rows * length),
                rng.floats(channels * width),
                rng.floats(channels),
                rng.floats(rows * before),
            );
            let (mut out, mut present) = (vec![f32::NAN; x.len()], vec![f32::NAN; past.len()]);
            let sizes = (channels, length, width);
            let silu = length % 2 == 0;
            causal_conv(&pool, sizes, &x, &w, Some(&b), Some(&past), silu, &mut out, &mut present).unwrap();
            let line = |row: usize, i: usize| {
                f64::from(if i < before { past[row * before + i] } else { x[row * length + i - before] })
            };
            let want: Vec<f64> = (0..rows * length)
                .map(|i| {
                    let (row, at, c) = (i / length, i % length, i / length % channels);
                    let sum: f64 = (0..width).map(|j| f64::from(w[c * width + j]) * line(row, at + j)).sum();
                    let y = sum + f64::from(b[c]);
                    if silu { y / (1.0 + (-y).exp()) } else { y }
                })
                .collect();
            assert!(rel_err(&out, &want) < 1e-5, "{sizes:?}: {}", rel_err(&out, &want));
            let kept: Vec<f64> = (0..rows * before).map(|i| line(i / before, length + i % before)).collect();
            assert_eq!(wide(&present), kept);
        }
        let none = causal_conv(&pool, (1, 2, 0), &[0.0; 2], &[], None, None, false, &mut [0.0; 2], &mut []);
        assert!(none.is_err());
    }
}
