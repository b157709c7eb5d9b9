//! FlexAttention: attention whose scores and probabilities go through graphs of the model's own.

use cpu_kernels::attention::{AttentionShape, Strides, attention};
use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::body::{Body, own_inputs};
use crate::exec::convert;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::floats;

/// FlexAttention.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "ai.onnx.preview", name: "FlexAttention", opsets: (1, 1), read }];

#[derive(Debug)]
struct Flex {
    scale: Option<f32>,
    /// The type of the scores and probabilities that the bodies see; `None`: f32, or f64 for f64.
    precision: Option<DType>,
    scores: Option<Body>,
    probabilities: Option<Body>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    if own_inputs(a) != 3 {
        return Err(OpError::invalid(format!("{} inputs where queries, keys and values are needed", own_inputs(a))));
    }
    let precision = match a.int("softmax_precision")? {
        None => None,
        Some(1) => Some(DType::F32),
        Some(10) => Some(DType::F16),
        Some(11) => Some(DType::F64),
        Some(16) => Some(DType::BF16),
        Some(other) => return Err(OpError::unsupported(format!("softmax_precision = {other}"))),
    };
    let body = |name: &str| match a.graph(name)? {
        Some(_) => Body::read(a, name, 1, 1).map(Some),
        None => Ok(None),
    };
    let (scores, probabilities) = (body("score_mod")?, body("prob_mod")?);
    Ok(Box::new(Flex { scale: a.float("scale")?, precision, scores, probabilities }))
}

impl Flex {
    fn sizes(&self, q: &[usize], k: &[usize], v: &[usize]) -> Result<AttentionShape, OpError> {
        let fail = || OpError::invalid(format!("attention on q {q:?}, k {k:?}, v {v:?}"));
        let (&[batch, heads, q_len, head_dim], &[_, kv_heads, kv_len, _], &[.., v_dim]) = (q, k, v) else {
            return Err(fail());
        };
        let fits = k == [batch, kv_heads, kv_len, head_dim] && v == [batch, kv_heads, kv_len, v_dim];
        if !fits || kv_heads == 0 || heads % kv_heads != 0 || head_dim == 0 {
            return Err(fail());
        }
        Ok(AttentionShape {
            batch,
            heads,
            kv_heads,
            q_len,
            kv_len,
            head_dim,
            v_dim,
            q: Strides::bhsd(heads, q_len, head_dim),
            k: Strides::bhsd(kv_heads, kv_len, head_dim),
            v: Strides::bhsd(kv_heads, kv_len, v_dim),
            out: Strides::bhsd(heads, q_len, v_dim),
            scale: self.scale.unwrap_or_else(|| 1.0 / (head_dim as f32).sqrt()),
        })
    }

    fn precision(&self, x: DType) -> DType {
        self.precision.unwrap_or(if x == DType::F64 { DType::F64 } else { DType::F32 })
    }

    /// The numbers as a body makes of them, rounded to its type on the way in.
    fn modified(
        &self,
        cx: &RunCx<'_>,
        body: Option<&Body>,
        values: Vec<f64>,
        shape: [usize; 4],
    ) -> Result<Vec<f64>, OpError> {
        let dtype = self.precision(cx.input(0)?.dtype);
        let bad = |e: graph::TensorError| OpError::invalid(e.to_string());
        let mut bytes = vec![0u8; dtype.bytes_for(values.len()).unwrap_or(0)];
        convert(cx.pool(), DType::F64, dtype, values.len(), bytemuck::cast_slice(&values), &mut bytes)?;
        let mut t = Tensor::new(dtype, shape.to_vec(), bytes.into()).map_err(bad)?;
        if let Some(body) = body {
            let made = body.start(cx.env)?.run(vec![t], cx.tensors)?;
            t = made.into_iter().next().ok_or_else(|| OpError::invalid("its body makes nothing"))?;
            if t.dtype() != dtype || t.shape() != shape {
                return Err(OpError::invalid(format!(
                    "its body makes {}{:?} of {dtype}{shape:?}",
                    t.dtype(),
                    t.shape()
                )));
            }
        }
        let mut out = vec![0f64; t.len()];
        convert(cx.pool(), dtype, DType::F64, t.len(), t.bytes(), bytemuck::cast_slice_mut(&mut out))?;
        Ok(out)
    }
}

impl Operator for Flex {
    fn class(&self) -> OpClass {
        OpClass::Attention
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        for i in 0..3 {
            floats::expect_float(inputs, i)?;
            if inputs.need(i)?.dtype != dtype {
                return Err(OpError::invalid("queries, keys and values are of different types"));
            }
        }
        // Bodies see their captures in steps of unknown shapes alone.
        if inputs.len() > 3 {
            return Ok(vec![Fact::dynamic(dtype)]);
        }
        let shape = |i: usize| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        let s = self.sizes(shape(0)?, shape(1)?, shape(2)?)?;
        Ok(vec![Fact::new(dtype, vec![s.batch, s.heads, s.q_len, s.v_dim])])
    }

    fn is_pure(&self) -> bool {
        [&self.scores, &self.probabilities].into_iter().flatten().all(Body::is_pure)
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shape = |i: usize| inputs.get(i).and_then(|f| f.shape.as_deref()).unwrap_or(&[]);
        let Ok(s) = self.sizes(shape(0), shape(1), shape(2)) else { return Cost::default() };
        let scores = [s.heads, s.q_len, s.kv_len].iter().fold(s.batch as u64, |n, &d| n.saturating_mul(d as u64));
        Cost { flops: scores.saturating_mul(2 * (s.head_dim + s.v_dim) as u64 + 5) }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let s = self.sizes(q.shape, k.shape, v.shape)?;
        let plain = self.scores.is_none() && self.probabilities.is_none();
        if plain && q.dtype == DType::F32 && self.precision(q.dtype) == DType::F32 {
            let p = cx.split::<f32>()?;
            attention(p.pool, &s, q.f32()?, k.f32()?, v.f32()?, None, None, p.out);
            return Ok(());
        }
        let shape = [s.batch, s.heads, s.q_len, s.kv_len];
        cx.check_bytes(checked_numel(&shape).and_then(|n| n.checked_mul(size_of::<f64>())))?;
        let (q, k, v) = (floats::read(cx, 0)?, floats::read(cx, 1)?, floats::read(cx, 2)?);
        let kv_head = |row: usize| {
            let (batch, head) = (row / s.q_len / s.heads, row / s.q_len % s.heads);
            batch * s.kv_heads + head / (s.heads / s.kv_heads)
        };
        let rows = s.batch * s.heads * s.q_len;
        let mut scores = Vec::with_capacity(rows * s.kv_len);
        for row in 0..rows {
            let query = &q[row * s.head_dim..][..s.head_dim];
            for j in 0..s.kv_len {
                let key = &k[(kv_head(row) * s.kv_len + j) * s.head_dim..][..s.head_dim];
                scores.push(query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * f64::from(s.scale));
            }
        }
        let mut p = self.modified(cx, self.scores.as_ref(), scores, shape)?;
        for row in p.chunks_exact_mut(s.kv_len.max(1)) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        let p = self.modified(cx, self.probabilities.as_ref(), p, shape)?;
        let mut out = vec![0f64; rows * s.v_dim];
        for row in 0..rows {
            let y = &mut out[row * s.v_dim..][..s.v_dim];
            for (j, p) in p[row * s.kv_len..][..s.kv_len].iter().enumerate() {
                let value = &v[(kv_head(row) * s.kv_len + j) * s.v_dim..][..s.v_dim];
                y.iter_mut().zip(value).for_each(|(y, v)| *y += p * v);
            }
        }
        let dims = vec![s.batch, s.heads, s.q_len, s.v_dim];
        if self.is_dynamic(cx) {
            let dtype = cx.out_dtype(0);
            let mut bytes = vec![0u8; dtype.bytes_for(out.len()).unwrap_or(0)];
            convert(cx.pool(), DType::F64, dtype, out.len(), bytemuck::cast_slice(&out), &mut bytes)?;
            let made = Tensor::new(dtype, dims, bytes.into()).map_err(|e| OpError::invalid(e.to_string()))?;
            return cx.set(0, made);
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "attention with bodies".into()
    }
}

impl Flex {
    /// True if the output has no place: see `infer`.
    fn is_dynamic(&self, cx: &RunCx<'_>) -> bool {
        cx.input_count() > 3
    }
}
