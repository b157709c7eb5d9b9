//! MatMulInteger and QLinearMatMul: products of 8-bit integers, exact in 32 bits.

use std::sync::Arc;

use cpu_kernels::quant::{Bytes, PackedIntegerB, matmul_integer, matmul_integer_packed};
use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, Prepared, RunCx};
use crate::ops::matmul::{MatMul, Sizes};
use crate::ops::quantize::floats;
use crate::ops::util;
use crate::tensor::Input;

/// Integer products.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "MatMulInteger", opsets: (10, NEWEST), read },
    OpDef { domain: "", name: "QLinearMatMul", opsets: (10, NEWEST), read },
];

#[derive(Clone, Debug)]
struct IntegerMatMul {
    /// QLinearMatMul: inputs and output have scales.
    linear: bool,
    packed: Option<(Arc<PackedIntegerB>, Vec<usize>)>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(IntegerMatMul { linear: a.op_type() == "QLinearMatMul", packed: None }))
}

/// 8-bit elements for the kernels; nothing counts as no elements.
pub(crate) fn bytes<'a>(t: Option<Input<'a>>) -> Result<Bytes<'a>, OpError> {
    Ok(match t {
        None => Bytes::U8(&[]),
        Some(t) if t.dtype == DType::I8 => Bytes::I8(t.slice()?),
        Some(t) if t.dtype == DType::U8 => Bytes::U8(t.slice()?),
        Some(t) => return Err(OpError::unsupported(format!("an integer product of {}", t.dtype))),
    })
}

/// A constant as the kernels' callers see it.
pub(crate) fn view(t: &Tensor) -> Input<'_> {
    Input { dtype: t.dtype(), shape: t.shape(), data: t.bytes() }
}

/// Rounds sums to the output's type: `saturate(round(sum * scale / out_scale) + zero)`.
pub(crate) fn requantize(
    sums: &[i32],
    scale: impl Fn(usize) -> f32,
    out_scale: f32,
    zero: i32,
    dtype: DType,
    out: &mut [u8],
) -> Result<(), OpError> {
    let (lo, hi) = match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        other => return Err(OpError::unsupported(format!("a quantized output of {other}"))),
    };
    for (i, (y, &sum)) in out.iter_mut().zip(sums).enumerate() {
        let v = (sum as f32 * scale(i) / out_scale).round_ties_even() + zero as f32;
        *y = v.max(lo).min(hi) as i32 as u8;
    }
    Ok(())
}

/// The part of zero points that belongs to product `i` of a batch: none, one, `n` shared by all, or `n` for each.
fn zeros_of<'a>(z: Bytes<'a>, i: usize, n: usize, count: usize) -> Result<Bytes<'a>, OpError> {
    match z.len() {
        0 | 1 => Ok(z),
        len if len == n => Ok(z),
        len if Some(len) == n.checked_mul(count) => Ok(match z {
            Bytes::I8(z) => Bytes::I8(&z[i * n..(i + 1) * n]),
            Bytes::U8(z) => Bytes::U8(&z[i * n..(i + 1) * n]),
        }),
        len => Err(OpError::invalid(format!("{len} zero points for {n} rows or columns"))),
    }
}

fn part<'a>(b: Bytes<'a>, at: usize, len: usize) -> Bytes<'a> {
    match b {
        Bytes::I8(b) => Bytes::I8(&b[at..at + len]),
        Bytes::U8(b) => Bytes::U8(&b[at..at + len]),
    }
}

/// The offset of product `i` of the batch in an operand of matrices of `size`.
fn offset(batch: &[usize], i: usize, shape: &[usize], size: usize) -> usize {
    let lead = &shape[..shape.len().saturating_sub(2)];
    let strides = util::strides(lead);
    let (mut rest, mut at) = (i, 0);
    for d in (0..batch.len()).rev() {
        let index = rest % batch[d];
        rest /= batch[d];
        let skip = batch.len() - lead.len();
        if d >= skip && lead[d - skip] != 1 {
            at += index * strides[d - skip];
        }
    }
    at * size
}

impl IntegerMatMul {
    /// The inputs b and its zero point.
    fn b(&self) -> (usize, usize) {
        if self.linear { (3, 5) } else { (1, 3) }
    }

    fn sizes(&self, a: &[usize], b: &[usize]) -> Result<Sizes, OpError> {
        MatMul::PLAIN.sizes(a, b)
    }

    fn b_shape<'a>(&'a self, inputs: &Inputs<'a>) -> Result<&'a [usize], OpError> {
        match &self.packed {
            Some((_, shape)) => Ok(shape),
            None => Ok(inputs.shape(self.b().0)?.unwrap_or(&[])),
        }
    }

    fn sums(&self, cx: &RunCx<'_>, s: &Sizes, b_shape: &[usize], out: &mut [i32]) -> Result<(), OpError> {
        let a = cx.input(0)?;
        let (az, ax) = (bytes(cx.get(2))?, bytes(Some(a))?);
        if cx.get(2).is_some_and(|z| z.dtype != a.dtype) {
            return Err(OpError::invalid("a and its zero point are of different types"));
        }
        let count: usize = s.batch.iter().product();
        if let Some((packed, _)) = &self.packed {
            let rows = count * s.m;
            matmul_integer_packed(cx.pool(), rows, ax, zeros_of(az, 0, rows, 1)?, packed, out);
            return Ok(());
        }
        let (bi, zi) = self.b();
        let b = cx.input(bi)?;
        if cx.get(zi).is_some_and(|z| z.dtype != b.dtype) {
            return Err(OpError::invalid("b and its zero point are of different types"));
        }
        let (bx, bz) = (bytes(Some(b))?, bytes(cx.get(zi))?);
        for i in 0..count {
            let (oa, ob) = (offset(&s.batch, i, a.shape, s.m * s.k), offset(&s.batch, i, b_shape, s.k * s.n));
            let (a1, b1) = (part(ax, oa, s.m * s.k), part(bx, ob, s.k * s.n));
            let out = &mut out[i * s.m * s.n..(i + 1) * s.m * s.n];
            let (za, zb) = (zeros_of(az, i, s.m, count)?, zeros_of(bz, i, s.n, count)?);
            matmul_integer(cx.pool(), s.m, s.n, s.k, a1, za, b1, zb, out);
        }
        Ok(())
    }
}

impl Operator for IntegerMatMul {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let s = self.sizes(inputs.shape(0)?.unwrap_or(&[]), self.b_shape(inputs)?)?;
        Ok(vec![Fact::new(self.dtypes(inputs)?[0], s.out)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![if self.linear { inputs.need(7)?.dtype } else { DType::I32 }])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let k = inputs.get(0).and_then(|a| a.shape.as_ref()?.last().copied()).unwrap_or(0) as u64;
        Cost { flops: (2 * k).saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let (bi, zi) = self.b();
        let Some(b) = inputs.get(bi).and_then(|f| f.value.as_ref()) else { return Ok(None) };
        if b.shape().len() != 2 || inputs.is_dynamic(zi) || inputs.shape(0)?.is_none_or(|a| a.len() < 2) {
            return Ok(None);
        }
        let zero = inputs.get(zi).and_then(|f| f.value.as_ref());
        let (k, n) = (b.shape()[0], b.shape()[1]);
        if zero.is_some_and(|z| z.dtype() != b.dtype() || (z.len() != 1 && z.len() != n)) {
            return Ok(None);
        }
        let packed = PackedIntegerB::pack(bytes(Some(view(b)))?, k, n, bytes(zero.map(view))?);
        let (bytes, shape) = (packed.bytes(), b.shape().to_vec());
        let op = IntegerMatMul { packed: Some((Arc::new(packed), shape)), ..self.clone() };
        let absorbed = [bi, zi].into_iter().filter(|&i| inputs.get(i).is_some()).collect();
        Ok(Some(Prepared { op: Box::new(op), absorbed, bytes }))
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let a = cx.input(0)?;
        let b_shape = match &self.packed {
            Some((_, shape)) => &shape[..],
            None => cx.input(self.b().0)?.shape,
        };
        let s = self.sizes(a.shape, b_shape)?;
        let len: usize = s.out.iter().product();
        let mut sums = vec![0i32; len];
        self.sums(cx, &s, b_shape, &mut sums)?;
        if !self.linear {
            cx.out::<i32>(0)?.copy_from_slice(&sums);
            return Ok(());
        }
        let (sa, sb, sy) = (floats(&cx.input(1)?)?, floats(&cx.input(4)?)?, floats(&cx.input(6)?)?);
        let zero = cx.input(7)?;
        let (&[zero], &[sy]) = (&zero.to_i64()?[..], &sy[..]) else {
            return Err(OpError::unsupported("an output with several scales"));
        };
        let pick = |v: &[f32], at: usize, n: usize, product: usize| match v.len() {
            1 => Ok(v[0]),
            len if len == n => Ok(v[at]),
            len if len > 0 && len % n.max(1) == 0 => Ok(v[(product * n + at) % len]),
            len => Err(OpError::invalid(format!("{len} scales for {n} rows or columns"))),
        };
        pick(&sa, 0, s.m.max(1), 0)?;
        pick(&sb, 0, s.n.max(1), 0)?;
        let scale = |i: usize| {
            let product = i / (s.m * s.n);
            let (a, b) = (pick(&sa, i / s.n % s.m, s.m, product), pick(&sb, i % s.n, s.n, product));
            a.unwrap_or(f32::NAN) * b.unwrap_or(f32::NAN)
        };
        let dtype = cx.out_dtype(0);
        requantize(&sums, scale, sy, zero as i32, dtype, cx.out_bytes(0)?)
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        if self.linear {
            return Ok(false);
        }
        let shape = |i: usize| b.fact(i).and_then(|f| f.shape.as_deref()).unwrap_or(&[]);
        let s = self.sizes(shape(0), shape(1))?;
        crate::ops::quantize_gpu::product(b, &s)
    }

    fn kernel(&self) -> String {
        if self.packed.is_some() { "gemm int8, packed".into() } else { "gemm int8".into() }
    }
}
