use super::*;
use crate::oracle::{Rng, rel_err};

/// The definition, in f64.
fn reference(
    s: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<Mask>,
    causal: Option<usize>,
    len: usize,
) -> Vec<f64> {
    let mut out = vec![0.0; len];
    for b in 0..s.batch {
        for h in 0..s.heads {
            let g = h * s.kv_heads / s.heads;
            for i in 0..s.q_len {
                let scores: Vec<f64> = (0..s.kv_len)
                    .map(|j| {
                        let dot: f64 = (0..s.head_dim)
                            .map(|d| f64::from(q[s.q.at(b, h, i) + d]) * f64::from(k[s.k.at(b, g, j) + d]))
                            .sum();
                        let m = mask.map_or(0.0, |m| f64::from(m.data[b * m.batch + h * m.head + i * m.q + j * m.k]));
                        let hidden = causal.is_some_and(|past| j > i + past);
                        if hidden { f64::NEG_INFINITY } else { dot * f64::from(s.scale) + m }
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if max == f64::NEG_INFINITY {
                    continue;
                }
                let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
                for d in 0..s.v_dim {
                    out[s.out.at(b, h, i) + d] =
                        (0..s.kv_len).map(|j| (scores[j] - max).exp() / sum * f64::from(v[s.v.at(b, g, j) + d])).sum();
                }
            }
        }
    }
    out
}

#[test]
fn every_form_matches_f64() {
    let mut rng = Rng::fresh();
    let sizes = [
        // batch, heads, kv_heads, q_len, kv_len, head_dim, v_dim
        (1, 12, 12, 128, 128, 32, 32),
        (2, 4, 2, 5, 37, 16, 16),
        (1, 3, 1, 1, 130, 64, 64),
        (2, 2, 2, 50, 49, 33, 17),
        (1, 2, 1, 60, 1100, 20, 40),
        (1, 1, 1, 7, 513, 8, 5),
        (1, 2, 2, 9, 1, 1, 1),
        (1, 2, 2, 4, 0, 8, 8),
        (1, 2, 2, 9, 0, 8, 8),
        (0, 2, 2, 9, 3, 8, 8),
        (2, 2, 2, 0, 3, 8, 8),
    ];
    for (batch, heads, kv_heads, q_len, kv_len, head_dim, v_dim) in sizes {
        for by_position in [false, true] {
            let layout = |h, l, d| if by_position { Strides::bshd(h, l, d) } else { Strides::bhsd(h, l, d) };
            let s = AttentionShape {
                batch,
                heads,
                kv_heads,
                q_len,
                kv_len,
                head_dim,
                v_dim,
                q: layout(heads, q_len, head_dim),
                k: layout(kv_heads, kv_len, head_dim),
                v: layout(kv_heads, kv_len, v_dim),
                out: layout(heads, q_len, v_dim),
                scale: 0.7,
            };
            let q: Vec<f32> = rng.floats(batch * heads * q_len * head_dim).iter().map(|x| x * 3.0).collect();
            let k = rng.floats(batch * kv_heads * kv_len * head_dim);
            let v = rng.floats(batch * kv_heads * kv_len * v_dim);
            let full: Vec<f32> = (0..batch * heads * q_len * kv_len)
                .map(|_| if rng.below(4) == 0 { f32::NEG_INFINITY } else { rng.float() })
                .collect();
            let padding: Vec<f32> =
                (0..batch * kv_len).map(|_| if rng.below(3) == 0 { f32::MIN } else { 0.0 }).collect();
            let column = rng.floats(q_len);
            // One full mask, one per key, one per query, one stored with the queries innermost.
            let masks = [
                None,
                Some(Mask { data: &full, batch: heads * q_len * kv_len, head: q_len * kv_len, q: kv_len, k: 1 }),
                Some(Mask { data: &padding, batch: kv_len, head: 0, q: 0, k: 1 }),
                Some(Mask { data: &column, batch: 0, head: 0, q: 1, k: 0 }),
                Some(Mask { data: &full, batch: heads * q_len * kv_len, head: q_len * kv_len, q: 1, k: q_len }),
            ];
            for (n, mask) in masks.into_iter().enumerate() {
                for causal in [None, Some(0), Some(kv_len.saturating_sub(q_len)), Some(3)] {
                    let len = batch * heads * q_len * v_dim;
                    let expected = reference(&s, &q, &k, &v, mask, causal, len);
                    for threads in [1, 2, 3] {
                        let mut out = vec![f32::NAN; len];
                        attention(&Pool::new(threads), &s, &q, &k, &v, mask, causal, &mut out);
                        let err = rel_err(&out, &expected);
                        assert!(err < 3e-6, "{s:?}, mask {n}, causal {causal:?}, {threads} threads: {err}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let layout = Strides::bhsd(1, 8, 4);
    let s = AttentionShape {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        q_len: 8,
        kv_len: 8,
        head_dim: 4,
        v_dim: 4,
        q: layout,
        k: layout,
        v: layout,
        out: layout,
        scale: 1.0,
    };
    let x = [0.5; 32];
    let mut k = x;
    k[9] = f32::NAN;
    let mut out = [0.0; 32];
    attention(&Pool::new(1), &s, &x, &k, &x, None, None, &mut out);
    assert!(out.iter().all(|v| v.is_nan()), "{out:?}");
}

#[test]
fn wrong_shapes_are_refused() {
    let layout = Strides::bhsd(2, 3, 4);
    let good = AttentionShape {
        batch: 1,
        heads: 2,
        kv_heads: 2,
        q_len: 3,
        kv_len: 3,
        head_dim: 4,
        v_dim: 4,
        q: layout,
        k: layout,
        v: layout,
        out: layout,
        scale: 1.0,
    };
    let x = [0.0; 24];
    let refused = |s: AttentionShape| {
        std::panic::catch_unwind(|| attention(&Pool::new(1), &s, &x, &x, &x, None, None, &mut [0.0; 24])).is_err()
    };
    assert!(!refused(good));
    assert!(refused(AttentionShape { batch: 2, ..good }));
    assert!(refused(AttentionShape { kv_len: 4, ..good }));
    assert!(refused(AttentionShape { out: Strides { row: 1, ..layout }, ..good }));
    assert!(refused(AttentionShape { heads: 2, kv_heads: 0, ..good }));
}
