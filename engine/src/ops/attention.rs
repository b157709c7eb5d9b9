//! Fused scaled dot-product attention, as the attention pass makes it.

use cpu_kernels::attention::{AttentionShape, Mask, Strides, attention};
use graph::DType;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::attention_gpu;
use crate::ops::util;
use crate::registry::INTERNAL;

/// Inputs q, k, v of four dimensions and an additive mask (optional).
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: INTERNAL, name: "Attention", opsets: (1, 1), read }];

#[derive(Debug)]
struct Attention {
    scale: f32,
    q_sequence_first: bool,
    k_sequence_first: bool,
    v_sequence_first: bool,
    out_sequence_first: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Attention {
        scale: a.float_or("scale", 1.0)?,
        q_sequence_first: a.flag("q_sequence_first", false)?,
        k_sequence_first: a.flag("k_sequence_first", false)?,
        v_sequence_first: a.flag("v_sequence_first", false)?,
        out_sequence_first: a.flag("out_sequence_first", false)?,
    }))
}

/// Batch, heads, length and width of an operand.
fn dims(shape: &[usize], sequence_first: bool) -> Result<[usize; 4], OpError> {
    match *shape {
        [b, s, h, d] if sequence_first => Ok([b, h, s, d]),
        [b, h, s, d] => Ok([b, h, s, d]),
        _ => Err(OpError::invalid(format!("attention on {shape:?}, which has not four dimensions"))),
    }
}

fn strides([_, h, s, d]: [usize; 4], sequence_first: bool) -> Strides {
    if sequence_first { Strides::bshd(h, s, d) } else { Strides::bhsd(h, s, d) }
}

impl Attention {
    fn shape(&self, q: &[usize], k: &[usize], v: &[usize]) -> Result<AttentionShape, OpError> {
        let qd = dims(q, self.q_sequence_first)?;
        let kd = dims(k, self.k_sequence_first)?;
        let vd = dims(v, self.v_sequence_first)?;
        let [batch, heads, q_len, head_dim] = qd;
        let fits = kd[0] == batch
            && vd[0] == batch
            && kd[1] == vd[1]
            && kd[1] != 0
            && heads % kd[1] == 0
            && kd[2] == vd[2]
            && kd[3] == head_dim;
        if !fits {
            return Err(OpError::invalid(format!("attention on q {q:?}, k {k:?}, v {v:?}")));
        }
        let out = [batch, heads, q_len, vd[3]];
        Ok(AttentionShape {
            batch,
            heads,
            kv_heads: kd[1],
            q_len,
            kv_len: kd[2],
            head_dim,
            v_dim: vd[3],
            q: strides(qd, self.q_sequence_first),
            k: strides(kd, self.k_sequence_first),
            v: strides(vd, self.v_sequence_first),
            out: strides(out, self.out_sequence_first),
            scale: self.scale,
        })
    }

    fn shape_of(&self, inputs: &Inputs<'_>) -> Result<AttentionShape, OpError> {
        let shape = |i| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        self.shape(shape(0)?, shape(1)?, shape(2)?)
    }
}

/// Strides of a mask that broadcasts to [batch, heads, queries, keys].
pub(crate) fn mask_strides(mask: &[usize], s: &AttentionShape) -> Result<[usize; 4], OpError> {
    let full = [s.batch, s.heads, s.q_len, s.kv_len];
    if mask.len() > 4 || util::broadcast(&[mask, &full])? != full {
        return Err(OpError::invalid(format!("a mask of {mask:?} does not broadcast to {full:?}")));
    }
    let own = util::strides(mask);
    let skip = 4 - mask.len();
    Ok(std::array::from_fn(|d| if d < skip || mask[d - skip] == 1 { 0 } else { own[d - skip] }))
}

impl Operator for Attention {
    fn class(&self) -> OpClass {
        OpClass::Attention
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let s = self.shape_of(inputs)?;
        if inputs.get(3).is_some() {
            mask_strides(inputs.shape(3)?.unwrap_or(&[]), &s)?;
        }
        let dtype = inputs.need(0)?.dtype;
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(OpError::unsupported(format!("fused attention on {dtype}")));
        }
        let shape = if self.out_sequence_first {
            vec![s.batch, s.q_len, s.heads, s.v_dim]
        } else {
            vec![s.batch, s.heads, s.q_len, s.v_dim]
        };
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let Ok(s) = self.shape_of(inputs) else { return Cost::default() };
        let scores = (s.batch * s.heads * s.q_len * s.kv_len) as u64;
        // Two products, the scale, the mask, and a softmax of about five operations per score.
        Cost { flops: scores * (2 * (s.head_dim + s.v_dim) as u64 + 6 + u64::from(inputs.get(3).is_some())) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let s = self.shape(q.shape, k.shape, v.shape)?;
        let mask = match cx.get(3) {
            None => None,
            Some(m) => {
                let [batch, head, q, k] = mask_strides(m.shape, &s)?;
                Some(Mask { data: m.f32()?, batch, head, q, k })
            }
        };
        let (q, k, v) = (q.f32()?, k.f32()?, v.f32()?);
        let p = cx.split::<f32>()?;
        attention(p.pool, &s, q, k, v, mask, None, p.out);
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (q, k, v) = (b.input(0)?, b.input(1)?, b.input(2)?);
        let s = self.shape(&q.shape, &k.shape, &v.shape)?;
        let mask = if b.has(3) { Some(b.input(3)?) } else { None };
        let mask = mask.map(|m| Ok::<_, OpError>((mask_strides(&m.shape, &s)?, m))).transpose()?;
        let operands = [&q.binding, &k.binding, &v.binding];
        attention_gpu::encode(b, &s, operands, mask.as_ref().map(|(strides, m)| (m, *strides)), None)
    }

    fn kernel(&self) -> String {
        "attention f32, blocked".into()
    }
}
