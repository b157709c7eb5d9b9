//! GroupQueryAttention: fewer heads of keys than of queries, caches whose sequences differ in length, rotary positions.

use cpu_kernels::attention::{AttentionShape, Mask, Strides, attention};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::{rotary, util};
use crate::tensor::Input;

/// Inputs are queries (or all three packed), keys, values, past keys, past values, lengths - 1, the longest length, cosines,
/// sines, positions, a bias of the scores, and scores of the heads' sinks.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: super::DOMAIN, name: "GroupQueryAttention", opsets: (1, 1), read }];

#[derive(Debug)]
struct Grouped {
    heads: usize,
    kv_heads: usize,
    scale: Option<f32>,
    softcap: f32,
    /// How many keys a query sees, its own among them.
    window: Option<usize>,
    /// A score of 0 takes part in each softmax.
    smooth: bool,
    /// Whether positions are turned in, and whether pairs are neighbours.
    rotary: Option<bool>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let count = |name: &str| {
        let n = a.need_int(name)?;
        usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| OpError::invalid(format!("{name} = {n}")))
    };
    let (heads, kv_heads) = (count("num_heads")?, count("kv_num_heads")?);
    if heads % kv_heads != 0 {
        return Err(OpError::invalid(format!("{heads} heads over {kv_heads} heads of keys")));
    }
    let quantized = ["k_quant_type", "v_quant_type"].iter().any(|n| a.string_or(n, "NONE").is_ok_and(|v| v != "NONE"));
    a.ignore("kv_cache_bit_width");
    if quantized || a.has_input(12) || a.has_output(3) || !matches!(a.int_or("qk_output", 0)?, -1 | 0) {
        return Err(OpError::unsupported("a quantized cache, or the scores as an output"));
    }
    let interleaved = a.flag("rotary_interleaved", false)?;
    Ok(Box::new(Grouped {
        heads,
        kv_heads,
        scale: a.float("scale")?.filter(|&s| s != 0.0),
        softcap: a.float_or("softcap", 0.0)?,
        window: usize::try_from(a.int_or("local_window_size", -1)?).ok().filter(|&w| w > 0),
        smooth: a.int_or("smooth_softmax", 0)? > 0,
        rotary: a.flag("do_rotary", false)?.then_some(interleaved),
    }))
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    len: usize,
    head: usize,
    packed: bool,
    /// Positions that the past has room for.
    room: usize,
}

impl Grouped {
    fn sizes(
        &self,
        q: &[usize],
        k: Option<&[usize]>,
        v: Option<&[usize]>,
        past: [Option<&[usize]>; 2],
    ) -> Result<Sizes, OpError> {
        let fail = || OpError::invalid(format!("grouped attention on q {q:?}, k {k:?}, v {v:?}, past {past:?}"));
        let &[batch, len, width] = q else { return Err(fail()) };
        let all = if k.is_some() { self.heads } else { self.heads.saturating_add(self.kv_heads.saturating_mul(2)) };
        let head = width / all;
        let own = [batch, len, self.kv_heads.saturating_mul(head)];
        let room = match past {
            [None, None] => 0,
            [Some(&[b, h, room, d]), Some(v)] if [b, h, d] == [batch, self.kv_heads, head] && *v == [b, h, room, d] => {
                room
            }
            _ => return Err(fail()),
        };
        let fits = head * all == width
            && head > 0
            && k.is_some() == v.is_some()
            && [k, v].iter().flatten().all(|s| **s == own);
        if fits { Ok(Sizes { batch, len, head, packed: k.is_none(), room }) } else { Err(fail()) }
    }
}

/// How many positions of each sequence's past are used.
fn pasts(lens: &[i64], total: usize, z: &Sizes) -> Result<Vec<usize>, OpError> {
    if lens.len() != z.batch || total < z.len {
        return Err(OpError::invalid(format!("lengths {lens:?} up to {total} with {} new positions", z.len)));
    }
    // Where nothing but the new positions is there, shorter sequences are padded at their ends.
    let past = |&l: &i64| match total == z.len {
        true => Some(0),
        false => {
            usize::try_from(l).ok()?.checked_add(1)?.checked_sub(z.len).filter(|&p| p <= z.room && p + z.len <= total)
        }
    };
    lens.iter().map(|l| past(l).ok_or_else(|| OpError::invalid(format!("length {l} + 1 of {total}, {z:?}")))).collect()
}

/// What positions are turned by.
struct Tables<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    interleaved: bool,
    ids: Option<Vec<i64>>,
}

impl<'a> Tables<'a> {
    fn new(
        interleaved: bool,
        cos: Input<'a>,
        sin: Input<'a>,
        ids: Option<Vec<i64>>,
        z: &Sizes,
    ) -> Result<Self, OpError> {
        match *cos.shape {
            [_, half] if half > 0 && half <= z.head / 2 && cos.shape == sin.shape => {
                if ids.as_ref().is_some_and(|i| i.len() != z.batch * z.len) {
                    return Err(OpError::invalid("as many positions as queries are needed"));
                }
                Ok(Tables { cos: cos.f32()?, sin: sin.f32()?, half, interleaved, ids })
            }
            _ => {
                Err(OpError::invalid(format!("cosines {:?}, sines {:?} for heads of {}", cos.shape, sin.shape, z.head)))
            }
        }
    }

    /// Turns a head of row `row`, which stands at `position` unless the file says another.
    fn turn(&self, head: &mut [f32], row: usize, position: usize) -> Result<(), OpError> {
        let at = self.ids.as_ref().map_or(Some(position), |ids| usize::try_from(ids[row]).ok());
        let at = at
            .filter(|&p| p < self.cos.len() / self.half)
            .ok_or_else(|| OpError::invalid("a position outside the tables"))?;
        let part = at * self.half..(at + 1) * self.half;
        rotary::turn(head, &self.cos[part.clone()], &self.sin[part], self.interleaved);
        Ok(())
    }
}

/// What is added to the scores.
struct Bias<'a> {
    data: &'a [f32],
    steps: [usize; 4],
}

impl<'a> Bias<'a> {
    fn new(t: Input<'a>, [batch, heads, len, keys]: [usize; 4]) -> Result<Self, OpError> {
        let fail = || OpError::invalid(format!("a bias of {:?} for {:?}", t.shape, [batch, heads, len, keys]));
        let &[b, h, s, k] = t.shape else { return Err(fail()) };
        if (b != 1 && b != batch) || (h != 1 && h != heads) || s != len || k < keys {
            return Err(fail());
        }
        let own = util::strides(t.shape);
        let steps = [if b == 1 { 0 } else { own[0] }, if h == 1 { 0 } else { own[1] }, own[2], 1];
        Ok(Bias { data: t.f32()?, steps })
    }

    fn at(&self, [b, h, i, j]: [usize; 4]) -> f32 {
        let [sb, sh, si, sj] = self.steps;
        self.data[b * sb + h * sh + i * si + j * sj]
    }
}

impl Grouped {
    /// The new rows of queries, keys and values: where each is, and the elements between two rows.
    fn rows<'a>(&self, cx: &RunCx<'a>, z: &Sizes) -> Result<[(&'a [f32], usize); 3], OpError> {
        let q = cx.input(0)?.f32()?;
        let (wq, wk) = (self.heads * z.head, self.kv_heads * z.head);
        if !z.packed {
            return Ok([(q, wq), (cx.input(1)?.f32()?, wk), (cx.input(2)?.f32()?, wk)]);
        }
        let all = wq + 2 * wk;
        let from = |at: usize| (q.get(at..).unwrap_or(&[]), all);
        Ok([from(0), from(wq), from(wq + wk)])
    }

    /// The first key that a query at `position` sees.
    fn first(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }

    /// By its definition, for what the kernel has not: capped scores, sinks.
    fn open(
        &self,
        s: &AttentionShape,
        [q, k, v]: [&[f32]; 3],
        pasts: &[usize],
        bias: Option<&Bias<'_>>,
        sinks: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let at = |t: &Strides, b: usize, h: usize, r: usize| b * t.batch + h * t.head + r * t.row;
        let mut row = Vec::with_capacity(s.kv_len);
        for n in 0..s.batch * s.heads * s.q_len {
            let (i, h, b) = (n % s.q_len, n / s.q_len % s.heads, n / s.q_len / s.heads);
            let (kv, query) = (h / (s.heads / s.kv_heads), &q[at(&s.q, b, h, i)..][..s.head_dim]);
            let position = pasts[b] + i;
            let sink = sinks.map(|v| v[h]).or(self.smooth.then_some(0.0));
            row.clear();
            row.extend((self.first(position)..=position).map(|j| {
                let key = &k[at(&s.k, b, kv, j)..][..s.head_dim];
                let score = query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * s.scale;
                let capped = if self.softcap > 0.0 { (score / self.softcap).tanh() * self.softcap } else { score };
                capped + bias.map_or(0.0, |bias| bias.at([b, h, i, j]))
            }));
            let max = row.iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum = row.iter().sum::<f32>() + sink.map_or(0.0, |x| (x - max).exp());
            let out = &mut y[at(&s.out, b, h, i)..][..s.v_dim];
            out.fill(0.0);
            for (j, p) in (self.first(position)..).zip(&row) {
                let value = &v[at(&s.v, b, kv, j)..][..s.v_dim];
                out.iter_mut().zip(value).for_each(|(o, v)| *o += p / sum * v);
            }
        }
    }
}

impl Operator for Grouped {
    fn class(&self) -> OpClass {
        OpClass::Attention
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let of = |i: usize| inputs.get(i).and_then(|f| f.shape.as_deref());
        let z = self.sizes(inputs.shape(0)?.unwrap_or(&[]), of(1), of(2), [of(3), of(4)])?;
        let dtype = inputs.need(0)?.dtype;
        let present = match inputs.ints(6)? {
            Some(total) => {
                let total = total.first().and_then(|&t| usize::try_from(t).ok());
                let total = total.ok_or_else(|| OpError::invalid("total_sequence_length must be a length"))?;
                Fact::new(dtype, vec![z.batch, self.kv_heads, total.max(z.room), z.head])
            }
            None => Fact::dynamic(dtype),
        };
        let y = Fact::new(dtype, vec![z.batch, z.len, self.heads * z.head]);
        Ok(vec![y, present.clone(), present])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype; 3])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let queries = outputs[0].numel().unwrap_or(0) as u64;
        let past = inputs.get(3).and_then(|f| f.shape.as_ref()?.get(2).copied()).unwrap_or(0);
        let len = inputs.get(0).and_then(|f| f.shape.as_ref()?.get(1).copied()).unwrap_or(0);
        Cost { flops: queries.saturating_mul(4 * (past.saturating_add(len)) as u64) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let of = |i: usize| cx.get(i).map(|t| t.shape);
        let z = self.sizes(cx.input(0)?.shape, of(1), of(2), [of(3), of(4)])?;
        let total = cx.ints(6)?.and_then(|t| usize::try_from(*t.first()?).ok());
        let total = total.ok_or_else(|| OpError::invalid("total_sequence_length must be a length"))?;
        let pasts = pasts(&cx.ints(5)?.unwrap_or_default(), total, &z)?;
        let room = total.max(z.room);
        let cache = [z.batch, self.kv_heads, room, z.head];
        cx.check_bytes(checked_numel(&cache).and_then(|n| n.checked_mul(8)))?;
        let tables = match self.rotary {
            Some(interleaved) => Some(Tables::new(interleaved, cx.input(7)?, cx.input(8)?, cx.ints(9)?, &z)?),
            None => None,
        };
        let [q, k, v] = self.rows(cx, &z)?;
        let own = Strides::bhsd(self.kv_heads, room, z.head);
        let joined = |(x, step): (&[f32], usize), past: usize, tables: Option<&Tables<'_>>| {
            let mut out = vec![0f32; cache.iter().product()];
            let old = cx.get(past).map(|t| t.f32()).transpose()?;
            for (b, h) in (0..z.batch).flat_map(|b| (0..self.kv_heads).map(move |h| (b, h))) {
                let (start, used) = (b * own.batch + h * own.head, pasts[b] * z.head);
                if let Some(old) = old {
                    out[start..][..used].copy_from_slice(&old[(b * self.kv_heads + h) * z.room * z.head..][..used]);
                }
                for i in 0..z.len {
                    let row = &mut out[start + used + i * z.head..][..z.head];
                    row.copy_from_slice(&x[(b * z.len + i) * step + h * z.head..][..z.head]);
                    if let Some(t) = tables {
                        t.turn(row, b * z.len + i, pasts[b] + i)?;
                    }
                }
            }
            Ok::<_, OpError>(out)
        };
        let (keys, values) = (joined(k, 3, tables.as_ref())?, joined(v, 4, None)?);
        let width = self.heads * z.head;
        let mut turned = Vec::new();
        if let Some(t) = &tables {
            for row in 0..z.batch * z.len {
                turned.extend_from_slice(&q.0[row * q.1..][..width]);
                for head in turned[row * width..].chunks_exact_mut(z.head) {
                    t.turn(head, row, pasts[row / z.len] + row % z.len)?;
                }
            }
        }
        let (queries, step) = if tables.is_some() { (turned.as_slice(), width) } else { q };
        let seen = pasts.iter().max().map_or(0, |p| p + z.len);
        let shape = AttentionShape {
            batch: z.batch,
            heads: self.heads,
            kv_heads: self.kv_heads,
            q_len: z.len,
            kv_len: seen,
            head_dim: z.head,
            v_dim: z.head,
            q: Strides { batch: z.len * step, head: z.head, row: step },
            k: own,
            v: own,
            out: Strides::bshd(self.heads, z.len, z.head),
            scale: self.scale.unwrap_or_else(|| 1.0 / (z.head as f32).sqrt()),
        };
        let full = [z.batch, self.heads, z.len, seen];
        let bias = cx.get(10).map(|t| Bias::new(t, full)).transpose()?;
        let sinks = cx.get(11).map(|t| t.f32()).transpose()?;
        if sinks.is_some_and(|s| s.len() != self.heads) {
            return Err(OpError::invalid(format!("as many sinks as heads are needed: {}", self.heads)));
        }
        for (i, made) in [(1, &keys), (2, &values)] {
            if cx.wants(i) {
                cx.out::<f32>(i)?.copy_from_slice(made);
            }
        }
        if !cx.wants(0) || z.len == 0 {
            return Ok(());
        }
        let operands = [queries, &keys, &values];
        if self.softcap > 0.0 || self.smooth || sinks.is_some() {
            self.open(&shape, operands, &pasts, bias.as_ref(), sinks, cx.out::<f32>(0)?);
            return Ok(());
        }
        let pool = cx.pool();
        if bias.is_none() && self.window.is_none() && pasts.windows(2).all(|p| p[0] == p[1]) {
            let past = pasts.first().copied();
            attention(pool, &shape, queries, &keys, &values, None, past, cx.out::<f32>(0)?);
            return Ok(());
        }
        let heads = if bias.is_some() { self.heads } else { 1 };
        let size = [z.batch, heads, z.len, seen];
        cx.check_bytes(checked_numel(&size).and_then(|n| n.checked_mul(4)))?;
        let data: Vec<f32> = (0..size.iter().product())
            .map(|n: usize| {
                let (j, i, h, b) = (n % seen, n / seen % z.len, n / seen / z.len % heads, n / seen / z.len / heads);
                let position = pasts[b] + i;
                match j < self.first(position) || j > position {
                    true => f32::NEG_INFINITY,
                    false => bias.as_ref().map_or(0.0, |bias| bias.at([b, h, i, j])),
                }
            })
            .collect();
        let by = util::strides(&size);
        let mask = Mask { data: &data, batch: by[0], head: if heads == 1 { 0 } else { by[1] }, q: by[2], k: 1 };
        attention(pool, &shape, queries, &keys, &values, Some(mask), None, cx.out::<f32>(0)?);
        Ok(())
    }

    fn kernel(&self) -> String {
        "grouped attention f32".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let z = Sizes { batch: 2, len: 1, head: 4, packed: false, room: 5 };
        assert_eq!(pasts(&[5, 3], 6, &z).unwrap(), [5, 3]);
        assert_eq!(pasts(&[0, 0], 1, &z).unwrap(), [0, 0]);
        for (lens, total) in [(&[6i64, 3][..], 6), (&[-2, 3], 6), (&[i64::MAX, 3], 6), (&[5], 6), (&[5, 3], 0)] {
            assert!(pasts(lens, total, &z).is_err(), "{lens:?} {total}");
        }
    }

    #[test]
    fn a_window_counts_its_own_position() {
        let g =
            Grouped { heads: 1, kv_heads: 1, scale: None, softcap: 0.0, window: Some(3), smooth: false, rotary: None };
        assert_eq!([0, 2, 3, 9].map(|p| g.first(p)), [0, 0, 1, 7]);
    }
}
