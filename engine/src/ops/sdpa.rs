//! ONNX's Attention: grouped heads, masks, causality, sliding windows, key and value caches.

use cpu_kernels::attention::{AttentionShape, Mask, Strides, attention};
use gpu_kernels::Binding;
use graph::DType;

use crate::attrs::Attrs;
use crate::gpu::{GpuBuilder, GpuTensor};
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::attention::mask_strides;
use crate::ops::attention_gpu;
use crate::ops::movement_gpu::place;
use crate::ops::typed::{placed, placed_or};
use crate::ops::util;
use crate::registry::INTERNAL;
use crate::tensor::Input;

/// Attention; and the same for other domains' attentions that are rewritten to it.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Attention", opsets: (23, NEWEST), read },
    OpDef { domain: INTERNAL, name: "CachedAttention", opsets: (1, 1), read },
];

#[derive(Debug)]
struct Attention {
    causal: bool,
    scale: Option<f32>,
    softcap: f32,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    /// What the fourth output shows: scores, capped scores, with bias, probabilities.
    shown: i64,
    /// How many keys before and after its own position a query sees.
    window: [Option<usize>; 2],
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("softmax_precision");
    let count = |name: &str| -> Result<Option<usize>, OpError> {
        a.int(name)?
            .map(|v| usize::try_from(v).map_err(|_| OpError::invalid(format!("{name} = {v}"))))
            .transpose()
            .map(|v| v.filter(|&v| v > 0))
    };
    let window = |name: &str| -> Result<Option<usize>, OpError> {
        match a.int_or(name, -1)? {
            -1 => Ok(None),
            v => usize::try_from(v).map(Some).map_err(|_| OpError::invalid(format!("{name} = {v}"))),
        }
    };
    Ok(Box::new(Attention {
        causal: a.flag("is_causal", false)?,
        scale: a.float("scale")?,
        softcap: a.float_or("softcap", 0.0)?,
        heads: count("q_num_heads")?,
        kv_heads: count("kv_num_heads")?,
        shown: a.int_or("qk_matmul_output_mode", 0)?,
        window: [window("left_window_size")?, window("right_window_size")?],
    }))
}

/// An operand's [batch, heads, length, width], and whether the heads are in the last dimension.
fn dims(shape: &[usize], heads: Option<usize>) -> Result<([usize; 4], bool), OpError> {
    match (*shape).try_into() {
        Ok(four) => Ok((four, false)),
        Err(_) => match (shape, heads) {
            (&[b, s, width], Some(h)) if h > 0 && width % h == 0 => Ok(([b, h, s, width / h], true)),
            _ => Err(OpError::invalid(format!("attention on {shape:?} with {heads:?} heads"))),
        },
    }
}

fn strides([_, h, s, d]: [usize; 4], flat: bool) -> Strides {
    if flat { Strides::bshd(h, s, d) } else { Strides::bhsd(h, s, d) }
}

/// Values to add to the scores, and their shape.
type Bias = (Vec<f32>, [usize; 4]);

/// The sizes of a run.
struct Sizes {
    shape: AttentionShape,
    past: usize,
    /// The queries have their heads in the last dimension, and so has the output.
    flat: bool,
    /// The same of the keys and of the values.
    kv_flat: [bool; 2],
    k: [usize; 4],
    v: [usize; 4],
}

impl Attention {
    fn sizes(&self, q: &[usize], k: &[usize], v: &[usize], past: Option<&[usize]>) -> Result<Sizes, OpError> {
        let fail = || OpError::invalid(format!("attention on q {q:?}, k {k:?}, v {v:?}, past {past:?}"));
        let (qd, flat) = dims(q, self.heads)?;
        let (kd, kf) = dims(k, self.kv_heads)?;
        let (vd, vf) = dims(v, self.kv_heads)?;
        let past = match past {
            None => 0,
            Some(&[b, h, s, d]) if [b, h, d] == [kd[0], kd[1], kd[3]] => s,
            Some(_) => return Err(fail()),
        };
        let fits = [kd[0], vd[0]] == [qd[0]; 2]
            && kd[1] == vd[1]
            && kd[1] != 0
            && qd[1] % kd[1] == 0
            && kd[2] == vd[2]
            && kd[3] == qd[3];
        let kv_len = kd[2].checked_add(past).filter(|_| fits).ok_or_else(fail)?;
        // With a past, keys and values are joined with it, head by head.
        let kv_flat = [kf, vf];
        let joined = |d: [usize; 4], flat| if past > 0 { ([d[0], d[1], kv_len, d[3]], false) } else { (d, flat) };
        let ((kj, kf), (vj, vf)) = (joined(kd, kf), joined(vd, vf));
        let shape = AttentionShape {
            batch: qd[0],
            heads: qd[1],
            kv_heads: kd[1],
            q_len: qd[2],
            kv_len,
            head_dim: qd[3],
            v_dim: vd[3],
            q: strides(qd, flat),
            k: strides(kj, kf),
            v: strides(vj, vf),
            out: strides([qd[0], qd[1], qd[2], vd[3]], flat),
            scale: self.scale.unwrap_or_else(|| 1.0 / (qd[3] as f32).sqrt()),
        };
        Ok(Sizes { shape, past, flat, kv_flat, k: kd, v: vd })
    }

    /// The sum of mask, causality, window and padding as [batch or 1, heads or 1, queries, keys]; `None` if there is nothing.
    fn bias(&self, z: &Sizes, mask: Option<Input<'_>>, lens: Option<Vec<i64>>) -> Result<Option<Bias>, OpError> {
        let s = &z.shape;
        let windowed = self.window.iter().any(Option::is_some);
        if mask.is_none() && lens.is_none() && !windowed && !self.causal {
            return Ok(None);
        }
        if lens.as_ref().is_some_and(|l| l.len() != s.batch) {
            return Err(OpError::invalid("nonpad_kv_seqlen must have one length for each sequence"));
        }
        let mut full = [1, 1, s.q_len, s.kv_len];
        let mut own = [1; 4];
        if let Some(m) = &mask {
            let rank = m.shape.len();
            if rank > 4 || rank == 0 {
                return Err(OpError::invalid(format!("a mask of {:?}", m.shape)));
            }
            own[4 - rank..].copy_from_slice(m.shape);
            let fits =
                [s.batch, s.heads, s.q_len].iter().zip(&own).all(|(&n, &d)| d == 1 || d == n) && (own[3] <= s.kv_len);
            if !fits {
                return Err(OpError::invalid(format!(
                    "a mask of {:?} for {:?}",
                    m.shape,
                    [s.batch, s.heads, s.q_len, s.kv_len]
                )));
            }
            (full[0], full[1]) = (own[0], own[1]);
        }
        if lens.is_some() {
            full[0] = s.batch;
        }
        let steps = util::strides(&own);
        let steps: Vec<usize> = (0..4).map(|d| if own[d] == 1 { 0 } else { steps[d] }).collect();
        let values: Option<Vec<f32>> = match &mask {
            Some(m) if m.dtype == DType::Bool => {
                Some(m.data.iter().map(|&b| if b != 0 { 0.0 } else { f32::NEG_INFINITY }).collect())
            }
            Some(m) => Some(m.f32()?.to_vec()),
            None => None,
        };
        let mut out = Vec::with_capacity(full.iter().product());
        for b in 0..full[0] {
            let len = lens.as_ref().map(|l| l[b]);
            // The position of query 0 among the keys.
            let offset = len.map_or(z.past as i64, |l| l.saturating_sub(s.q_len as i64));
            for h in 0..full[1] {
                for i in 0..s.q_len {
                    let at = (i as i64).saturating_add(offset);
                    for j in 0..s.kv_len {
                        let key = j as i64;
                        let hidden = (self.causal && key > at)
                            || len.is_some_and(|l| key >= l)
                            || self.window[0].is_some_and(|w| at.saturating_sub(key) > w as i64)
                            || self.window[1].is_some_and(|w| key.saturating_sub(at) > w as i64);
                        let value = match &values {
                            _ if hidden => f32::NEG_INFINITY,
                            None => 0.0,
                            // A mask that is too short hides the rest; one of a single column goes for all.
                            Some(_) if j >= own[3] && own[3] != 1 => f32::NEG_INFINITY,
                            Some(v) => v[b * steps[0] + h * steps[1] + i * steps[2] + j * steps[3]],
                        };
                        out.push(value);
                    }
                }
            }
        }
        Ok(Some((out, full)))
    }

    /// By its definition, for what the fused kernel does not show: capped scores and the fourth output.
    fn run_open(
        &self,
        z: &Sizes,
        [q, k, v]: [&[f32]; 3],
        mask: Option<Mask<'_>>,
        y: &mut [f32],
        mut shown: Option<&mut [f32]>,
    ) {
        let s = &z.shape;
        let at = |t: &Strides, b: usize, h: usize, r: usize| b * t.batch + h * t.head + r * t.row;
        let mut row = vec![0f32; s.kv_len];
        for (b, h, i) in (0..s.batch).flat_map(|b| (0..s.heads).flat_map(move |h| (0..s.q_len).map(move |i| (b, h, i))))
        {
            let kv = h / (s.heads / s.kv_heads);
            let query = &q[at(&s.q, b, h, i)..][..s.head_dim];
            let place = ((b * s.heads + h) * s.q_len + i) * s.kv_len;
            let mut show = |mode: i64, row: &[f32]| {
                if let Some(out) = shown.as_deref_mut().filter(|_| self.shown == mode) {
                    out[place..][..row.len()].copy_from_slice(row);
                }
            };
            for (j, x) in row.iter_mut().enumerate() {
                let key = &k[at(&s.k, b, kv, j)..][..s.head_dim];
                *x = query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * s.scale;
            }
            show(0, &row);
            if self.softcap > 0.0 {
                row.iter_mut().for_each(|x| *x = (*x / self.softcap).tanh() * self.softcap);
            }
            show(1, &row);
            let mut blind = false;
            if let Some(m) = &mask {
                let bias = |j: usize| m.data[b * m.batch + h * m.head + i * m.q + j * m.k];
                row.iter_mut().enumerate().for_each(|(j, x)| *x += bias(j));
                blind = (0..s.kv_len).all(|j| bias(j) == f32::NEG_INFINITY);
            }
            show(2, &row);
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|x| *x = if blind { 0.0 } else { (*x - max).exp() });
            let sum: f32 = row.iter().sum();
            if !blind {
                row.iter_mut().for_each(|x| *x /= sum);
            }
            show(3, &row);
            let out = &mut y[at(&s.out, b, h, i)..][..s.v_dim];
            out.fill(0.0);
            for (j, p) in row.iter().enumerate() {
                let value = &v[at(&s.v, b, kv, j)..][..s.v_dim];
                out.iter_mut().zip(value).for_each(|(o, v)| *o += p * v);
            }
        }
    }
}

/// Keys or values [batch, heads, length, width] after those of the past, head by head.
fn join(x: &[f32], d: [usize; 4], flat: bool, past: Option<&[f32]>, past_len: usize) -> Vec<f32> {
    let [b, h, s, w] = d;
    let own = strides(d, flat);
    let mut out = Vec::with_capacity(b * h * (s + past_len) * w);
    for (i, head) in (0..b).flat_map(|i| (0..h).map(move |head| (i, head))) {
        if let Some(p) = past {
            out.extend_from_slice(&p[(i * h + head) * past_len * w..][..past_len * w]);
        }
        for r in 0..s {
            out.extend_from_slice(&x[i * own.batch + head * own.head + r * own.row..][..w]);
        }
    }
    out
}

/// Keys (or values) after those of the past, which are input `past`, head by head; in the output that shows them, if somebody
/// wants it. `None` if there is no past and nobody does.
fn join_gpu(
    b: &mut GpuBuilder<'_>,
    z: &Sizes,
    x: &GpuTensor,
    [batch, heads, len, width]: [usize; 4],
    past: usize,
) -> Result<Option<Binding>, OpError> {
    let (shown, all) = (past - 3, z.past + len);
    if z.past == 0 && !b.wants(shown) {
        return Ok(None);
    }
    let y = match b.wants(shown) {
        true => b.output(shown)?.binding,
        false => b.temporary("keys or values", batch * heads * all * width)?,
    };
    let to = util::strides(&[batch, heads, all, width]);
    if z.past > 0 {
        let old = b.input(past)?;
        place(b, &old.shape, (&old.binding, &util::strides(&old.shape)), (&y, 0, &to))?;
    }
    let own = strides([batch, heads, len, width], z.kv_flat[past - 4]);
    let from = [own.batch, own.head, own.row, 1];
    place(b, &[batch, heads, len, width], (&x.binding, &from), (&y, z.past * width, &to))?;
    Ok(Some(y))
}

impl Operator for Attention {
    fn class(&self) -> OpClass {
        OpClass::Attention
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = |i: usize| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        let past = |i: usize| inputs.get(i).and_then(|f| f.shape.as_deref());
        let z = self.sizes(shape(0)?, shape(1)?, shape(2)?, past(4))?;
        if past(5).is_some_and(|p| p != [z.v[0], z.v[1], z.past, z.v[3]]) || past(4).is_some() != past(5).is_some() {
            return Err(OpError::invalid("past keys and past values don't fit together"));
        }
        let (s, dtype) = (&z.shape, inputs.need(0)?.dtype);
        let y = if z.flat {
            vec![s.batch, s.q_len, s.heads.saturating_mul(s.v_dim)]
        } else {
            vec![s.batch, s.heads, s.q_len, s.v_dim]
        };
        let present = |d: [usize; 4]| vec![d[0], d[1], s.kv_len, d[3]];
        Ok(vec![
            Fact::new(dtype, y),
            Fact::new(inputs.need(1)?.dtype, present(z.k)),
            Fact::new(inputs.need(2)?.dtype, present(z.v)),
            Fact::new(dtype, vec![s.batch, s.heads, s.q_len, s.kv_len]),
        ])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        Ok(vec![dtype, inputs.need(1)?.dtype, inputs.need(2)?.dtype, dtype])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shape = |i: usize| inputs.get(i).and_then(|f| f.shape.as_deref());
        let of = |i: usize| shape(i).unwrap_or(&[]);
        let Ok(z) = self.sizes(of(0), of(1), of(2), shape(4)) else { return Cost::default() };
        let s = &z.shape;
        let scores = (s.batch * s.heads) as u64 * s.q_len as u64 * s.kv_len as u64;
        Cost { flops: scores.saturating_mul(2 * (s.head_dim + s.v_dim) as u64 + 5) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (q, k, v, pool) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.pool());
        let past = |i: usize| cx.get(i).map(|t| t.f32()).transpose();
        let z = self.sizes(q.shape, k.shape, v.shape, cx.get(4).map(|t| t.shape))?;
        let bias = self.bias(&z, cx.get(3), cx.ints(6)?)?;
        let s = &z.shape;
        let mask = bias.as_ref().map(|(data, dims)| {
            let own = util::strides(dims);
            let stride = |d: usize| if dims[d] == 1 { 0 } else { own[d] };
            Mask { data, batch: stride(0), head: stride(1), q: stride(2), k: stride(3) }
        });
        let (mut kd, mut vd) = (k.f32()?, v.f32()?);
        let (joined_k, joined_v);
        if z.past > 0 || cx.wants(1) || cx.wants(2) {
            joined_k = join(kd, z.k, z.kv_flat[0], past(4)?, z.past);
            joined_v = join(vd, z.v, z.kv_flat[1], past(5)?, z.past);
            let mut outs = cx.outputs.iter_mut().skip(1);
            for present in [&joined_k, &joined_v] {
                if let Some(out) = placed::<f32>(outs.next())? {
                    out.copy_from_slice(present);
                }
            }
            if z.past > 0 {
                (kd, vd) = (&joined_k, &joined_v);
            }
        }
        let mut spare = Vec::new();
        let mut outs = cx.outputs.iter_mut();
        let y = placed_or::<f32>(outs.next(), &mut spare, s.batch * s.heads * s.q_len * s.v_dim)?;
        let shown = placed::<f32>(outs.nth(2))?;
        if self.softcap > 0.0 || shown.is_some() {
            self.run_open(&z, [q.f32()?, kd, vd], mask, y, shown);
        } else {
            attention(pool, s, q.f32()?, kd, vd, mask, None, y);
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (q, k, v) = (b.input(0)?, b.input(1)?, b.input(2)?);
        let past = b.fact(4).and_then(|f| f.shape.as_deref());
        let z = self.sizes(&q.shape, &k.shape, &v.shape, past)?;
        let s = &z.shape;
        let windowed = self.window.iter().any(Option::is_some);
        if self.softcap > 0.0 || b.wants(3) || windowed || b.has(6) || !q.is_float() {
            return Ok(false);
        }
        let mask = if b.has(3) { Some(b.input(3)?) } else { None };
        if mask.as_ref().is_some_and(|m| m.shape.last().is_none_or(|&d| d != 1 && d != s.kv_len)) {
            return Ok(false);
        }
        let mask = mask.map(|m| Ok::<_, OpError>((mask_strides(&m.shape, s)?, m))).transpose()?;
        let joined = [join_gpu(b, &z, &k, z.k, 4)?, join_gpu(b, &z, &v, z.v, 5)?];
        let used = |own: &Binding, joined: &Option<Binding>| match joined {
            Some(j) if z.past > 0 => j.clone(),
            _ => own.clone(),
        };
        let (k, v) = (used(&k.binding, &joined[0]), used(&v.binding, &joined[1]));
        let causal = self.causal.then(|| i32::try_from(z.past)).transpose();
        let causal = causal.map_err(|_| OpError::unsupported(format!("{} past keys on the GPU", z.past)))?;
        let mask = mask.as_ref().map(|(strides, m)| (m, *strides));
        attention_gpu::encode(b, s, [&q.binding, &k, &v], mask, causal)
    }

    fn kernel(&self) -> String {
        "attention f32".into()
    }
}
