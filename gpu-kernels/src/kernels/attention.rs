//! Scaled dot-product attention that never stores the matrix of scores.

use crate::kernels::{Kernel, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("attention");

/// The largest head of v.
pub const MAX_V_DIM: u32 = 256;

/// Elements from one batch, head and row to the next; the elements of a head lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadStrides {
    /// From batch to batch.
    pub batch: u32,
    /// From head to head.
    pub head: u32,
    /// From row to row.
    pub row: u32,
}

impl HeadStrides {
    /// \[batch, heads, rows, dim\]
    pub fn heads_first(heads: u32, rows: u32, dim: u32) -> Self {
        HeadStrides { batch: heads.wrapping_mul(rows).wrapping_mul(dim), head: rows.wrapping_mul(dim), row: dim }
    }

    /// \[batch, rows, heads * dim\]
    pub fn rows_first(heads: u32, rows: u32, dim: u32) -> Self {
        HeadStrides { batch: heads.wrapping_mul(rows).wrapping_mul(dim), head: dim, row: heads.wrapping_mul(dim) }
    }
}

/// Which keys a query may see, besides causality.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// The mask's elements.
    pub values: &'a Binding,
    /// False: f32, added to the scores. True: bool, where 0 hides the key.
    pub is_bool: bool,
    /// Elements per step of batch, head, query and key; 0 broadcasts.
    pub strides: [u32; 4],
}

/// y = softmax(scale * q k^T + mask) v
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// \[batch, heads, queries, dim\] by its strides.
    pub q: (&'a Binding, HeadStrides),
    /// \[batch, kv_heads, keys, dim\] by its strides.
    pub k: (&'a Binding, HeadStrides),
    /// \[batch, kv_heads, keys, v_dim\] by its strides.
    pub v: (&'a Binding, HeadStrides),
    /// \[batch, heads, queries, v_dim\] by its strides.
    pub y: (&'a Binding, HeadStrides),
    /// Batches.
    pub batch: u32,
    /// Heads of q and y.
    pub heads: u32,
    /// Heads of k and v; `heads` is a multiple of it, and neighbours share one.
    pub kv_heads: u32,
    /// Rows of q.
    pub queries: u32,
    /// Rows of k and v.
    pub keys: u32,
    /// Elements of a head of q and k.
    pub dim: u32,
    /// Elements of a head of v: at most [`MAX_V_DIM`].
    pub v_dim: u32,
    /// Usually 1 / sqrt(dim).
    pub scale: f32,
    /// A mask.
    pub mask: Option<Mask<'a>>,
    /// Query i sees keys up to i + this (the number of past keys), where attention is causal.
    pub causal: Option<i32>,
}

impl Attention<'_> {
    /// True if q, k and v can be read four elements at a time.
    fn is_aligned(&self) -> bool {
        let heads = [self.q.1, self.k.1, self.v.1].into_iter().flat_map(|s| [s.batch, s.head, s.row]);
        heads.chain([self.dim, self.v_dim]).all(|n| n.is_multiple_of(4))
    }

    fn check(&self) -> Result<bool, GpuError> {
        let fail = |why: String| GpuError::argument("attention", why);
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(fail(format!("{} heads do not share {} key heads", self.heads, self.kv_heads)));
        }
        if self.v_dim > MAX_V_DIM {
            return Err(fail(format!("a head of {} elements; at most {MAX_V_DIM}", self.v_dim)));
        }
        if [self.batch, self.heads, self.queries, self.v_dim].contains(&0) {
            return Ok(false);
        }
        let reach = |steps: &[(u32, u32)], last: u32| {
            steps.iter().try_fold(last, |sum, &(n, s)| sum.checked_add(n.saturating_sub(1).checked_mul(s)?))
        };
        let rows = [
            ("q", self.q, self.heads, self.queries, self.dim),
            ("k", self.k, self.kv_heads, self.keys, self.dim),
            ("v", self.v, self.kv_heads, self.keys, self.v_dim),
            ("y", self.y, self.heads, self.queries, self.v_dim),
        ];
        for (name, (binding, s), heads, rows, dim) in rows {
            let end = reach(&[(self.batch, s.batch), (heads, s.head), (rows, s.row)], dim);
            need("attention", name, binding, end.ok_or_else(|| fail(format!("the strides of {name} overflow")))?)?;
        }
        if let Some(mask) = &self.mask {
            let [b, h, q, k] = mask.strides;
            let end = reach(&[(self.batch, b), (self.heads, h), (self.queries, q), (self.keys, k)], 1);
            need(
                "attention",
                "mask",
                mask.values,
                end.ok_or_else(|| fail("the strides of the mask overflow".to_owned()))?,
            )?;
        }
        Ok(true)
    }
}

/// Attention as a command. A query that sees no key gets zeros.
pub fn attention(gpu: &Gpu, op: &Attention<'_>) -> Result<Command, GpuError> {
    if !op.check()? {
        return Ok(Command::nothing("attention"));
    }
    let mask = op.mask.as_ref();
    let strides = mask.map_or([0; 4], |m| m.strides);
    let kind = mask.map_or(0u8, |m| 1 + u8::from(m.is_bool));
    let call = gpu
        .call(&KERNEL)
        .constant("MASK", kind)
        .constant("CAUSAL", u8::from(op.causal.is_some()))
        .constant("ALIGNED", u8::from(op.is_aligned()))
        .constant("V_BLOCKS", op.v_dim.div_ceil(32))
        .bind("q", op.q.0)
        .bind("k", op.k.0)
        .bind("v", op.v.0)
        .bind("q4", op.q.0)
        .bind("k4", op.k.0)
        .bind("v4", op.v.0)
        .bind_or_absent("mask", mask.map(|m| m.values))
        .bind("y", op.y.0)
        .param("heads", op.heads)
        .param("shared_heads", op.heads / op.kv_heads)
        .param("queries", op.queries)
        .param("keys", op.keys)
        .param("dim", op.dim)
        .param("v_dim", op.v_dim);
    let names = [
        (op.q.1, ["q_batch", "q_head", "q_row"]),
        (op.k.1, ["k_batch", "k_head", "k_row"]),
        (op.v.1, ["v_batch", "v_head", "v_row"]),
        (op.y.1, ["y_batch", "y_head", "y_row"]),
    ];
    names
        .into_iter()
        .fold(call, |call, (s, [b, h, r])| call.param(b, s.batch).param(h, s.head).param(r, s.row))
        .param("m_batch", strides[0])
        .param("m_head", strides[1])
        .param("m_row", strides[2])
        .param("m_col", strides[3])
        .param("offset", op.causal.unwrap_or(0))
        .param("scale", op.scale)
        .run(Groups::Grid([op.queries.div_ceil(16).into(), op.heads.into(), op.batch.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    struct Spec {
        batch: usize,
        heads: [usize; 2],
        rows: [usize; 2],
        dims: [usize; 2],
        rows_first: bool,
        /// 0 none, 1 added, 2 bool
        mask: u8,
        causal: Option<i32>,
    }

    fn case(bench: &mut Bench, s: &Spec) -> Result<(), GpuError> {
        let [heads, kv_heads] = s.heads;
        let [queries, keys] = s.rows;
        let [dim, v_dim] = s.dims;
        let (q, qb) = bench.floats(s.batch * heads * queries * dim);
        let (k, kb) = bench.floats(s.batch * kv_heads * keys * dim);
        let (v, vb) = bench.floats(s.batch * kv_heads * keys * v_dim);
        let yb = bench.out(s.batch * heads * queries * v_dim);
        let strides = |heads: usize, rows: usize, dim: usize| {
            let make = if s.rows_first { HeadStrides::rows_first } else { HeadStrides::heads_first };
            make(heads as u32, rows as u32, dim as u32)
        };
        // One mask per batch and query, the same for all heads.
        let n = s.batch * queries * keys;
        let (mask, mb): (Vec<f64>, Binding) = if s.mask == 2 {
            let (m, b) = bench.ints(n, 0, 1);
            (m.into_iter().map(f64::from).collect(), b)
        } else {
            let m: Vec<f32> = (0..n)
                .map(|_| if bench.rng.int(0, 4) == 0 { f32::NEG_INFINITY } else { bench.rng.float(-1.0, 1.0) })
                .collect();
            let b = bench.words(bytemuck::cast_slice(&m));
            (m.into_iter().map(f64::from).collect(), b)
        };
        let scale = 1.0 / (dim as f32).sqrt();
        let (qs, ks) = (strides(heads, queries, dim), strides(kv_heads, keys, dim));
        let (vs, ys) = (strides(kv_heads, keys, v_dim), strides(heads, queries, v_dim));
        let op = Attention {
            q: (&qb, qs),
            k: (&kb, ks),
            v: (&vb, vs),
            y: (&yb, ys),
            batch: s.batch as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            queries: queries as u32,
            keys: keys as u32,
            dim: dim as u32,
            v_dim: v_dim as u32,
            scale,
            mask: (s.mask > 0).then_some(Mask {
                values: &mb,
                is_bool: s.mask == 2,
                strides: [(queries * keys) as u32, 0, keys as u32, 1],
            }),
            causal: s.causal,
        };
        let command = attention(bench.gpu, &op)?;
        let mut want = vec![0.0; s.batch * heads * queries * v_dim];
        let at = |s: HeadStrides, b: usize, h: usize, r: usize| {
            b * s.batch as usize + h * s.head as usize + r * s.row as usize
        };
        for b in 0..s.batch {
            for h in 0..heads {
                let kv = h / (heads / kv_heads);
                for i in 0..queries {
                    let scores: Vec<f64> = (0..keys)
                        .map(|j| {
                            let (qi, kj) = (at(qs, b, h, i), at(ks, b, kv, j));
                            let dot: f64 = (0..dim).map(|d| q[qi + d] * k[kj + d]).sum();
                            let m = mask[(b * queries + i) * keys + j];
                            let hidden = s.causal.is_some_and(|o| j as i32 > i as i32 + o) || (s.mask == 2 && m == 0.0);
                            if hidden {
                                f64::NEG_INFINITY
                            } else {
                                dot * f64::from(scale) + if s.mask == 1 { m } else { 0.0 }
                            }
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|v| (v - top).exp()).sum();
                    if top.is_finite() {
                        for d in 0..v_dim {
                            want[at(ys, b, h, i) + d] =
                                (0..keys).map(|j| (scores[j] - top).exp() / sum * v[at(vs, b, kv, j) + d]).sum();
                        }
                    }
                }
            }
        }
        bench.check(
            format!("{:?} heads {:?} rows, {:?} wide, mask {}, causal {:?}", s.heads, s.rows, s.dims, s.mask, s.causal),
            command,
            &yb,
            Elem::F32,
            want,
            1e-5,
        );
        Ok(())
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let plain =
            Spec { batch: 2, heads: [3, 3], rows: [19, 37], dims: [32, 32], rows_first: false, mask: 0, causal: None };
        case(bench, &plain)?;
        case(bench, &Spec { rows_first: true, mask: 1, dims: [33, 30], ..plain })?;
        case(bench, &Spec { rows: [45, 45], causal: Some(0), dims: [64, 64], ..plain })?;
        // One query after 70 past keys, heads that share keys.
        case(bench, &Spec { rows: [1, 71], heads: [4, 2], causal: Some(70), rows_first: true, ..plain })?;
        // Queries that see nothing.
        case(bench, &Spec { rows: [9, 9], causal: Some(-3), dims: [5, 7], ..plain })?;
        case(bench, &Spec { batch: 1, heads: [1, 1], rows: [17, 40], dims: [200, 256], mask: 2, ..plain })
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 4096).unwrap().whole();
        let s = HeadStrides::heads_first(2, 8, 16);
        let op = Attention {
            q: (&b, s),
            k: (&b, s),
            v: (&b, s),
            y: (&b, s),
            batch: 1,
            heads: 2,
            kv_heads: 2,
            queries: 8,
            keys: 8,
            dim: 16,
            v_dim: 16,
            scale: 0.25,
            mask: None,
            causal: None,
        };
        assert!(attention(gpu, &op).is_ok());
        assert!(attention(gpu, &Attention { kv_heads: 0, ..op }).is_err());
        assert!(attention(gpu, &Attention { v_dim: 257, ..op }).is_err());
        assert!(attention(gpu, &Attention { keys: 1000, ..op }).is_err());
        let mask = Mask { values: &b.buffer.part(0, 16), is_bool: true, strides: [0, 0, 8, 1] };
        assert!(attention(gpu, &Attention { mask: Some(mask), ..op }).is_err());
        assert_eq!(attention(gpu, &Attention { queries: 0, ..op }).unwrap().dispatches(), 0);
    }
}
