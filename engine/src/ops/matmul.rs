//! MatMul, Gemm, and their fused forms: activation(alpha a b + bias) + residual.

use std::sync::Arc;

use cpu_kernels::gemm::{Activation, Epilogue, PackedB, batched_gemm, gemm, gemm_packed};
use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::exec;
use crate::exec::is_narrow_float;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, Prepared, RunCx};
use crate::ops::activation;
use crate::ops::matmul_gpu::Storage;
use crate::ops::util;
use crate::precision::Precision;
use crate::registry::INTERNAL;

/// MatMul, Gemm, and the fused form: inputs a, b, bias (optional), residual (optional).
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "MatMul", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "Gemm", opsets: (7, NEWEST), read: read_gemm },
    OpDef { domain: INTERNAL, name: "FusedMatMul", opsets: (1, 1), read },
];

/// The fused attributes; an ONNX MatMul has none of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatMul {
    pub trans_a: bool,
    pub trans_b: bool,
    pub alpha: f32,
    /// Multiplies the bias (Gemm's C).
    pub beta: f32,
    pub activation: Activation,
    /// Gemm: exactly two dimensions, and C broadcasts to the output in any way.
    pub gemm: bool,
    /// How a GPU holds constant weights.
    pub storage: Storage,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MatMul {
        trans_a: a.flag("transA", false)?,
        trans_b: a.flag("transB", false)?,
        alpha: a.float_or("alpha", 1.0)?,
        beta: 1.0,
        activation: activation::read(a)?,
        gemm: false,
        storage: Storage::F32,
    }))
}

fn read_gemm(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MatMul {
        trans_a: a.flag("transA", false)?,
        trans_b: a.flag("transB", false)?,
        alpha: a.float_or("alpha", 1.0)?,
        beta: a.float_or("beta", 1.0)?,
        activation: activation::read(a)?,
        gemm: true,
        storage: Storage::F32,
    }))
}

/// The sizes of one product: a batch of [m, k] x [k, n].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub batch: Vec<usize>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub out: Vec<usize>,
}

impl MatMul {
    /// ONNX's MatMul.
    pub(crate) const PLAIN: MatMul = MatMul {
        trans_a: false,
        trans_b: false,
        alpha: 1.0,
        beta: 1.0,
        activation: Activation::None,
        gemm: false,
        storage: Storage::F32,
    };

    /// Sizes from shapes, by NumPy's rules for one and more dimensions.
    pub(crate) fn sizes(&self, a: &[usize], b: &[usize]) -> Result<Sizes, OpError> {
        let fail = || OpError::invalid(format!("shapes {a:?} and {b:?} can't be multiplied"));
        if a.is_empty() || b.is_empty() || (self.gemm && (a.len() != 2 || b.len() != 2)) {
            return Err(fail());
        }
        let (va, vb) = (a.len() == 1, b.len() == 1);
        let a2: Vec<usize> = if va { vec![1, a[0]] } else { a.to_vec() };
        let b2: Vec<usize> = match (vb, self.trans_b) {
            (true, false) => vec![b[0], 1],
            (true, true) => vec![1, b[0]],
            _ => b.to_vec(),
        };
        let (mut m, mut k) = (a2[a2.len() - 2], a2[a2.len() - 1]);
        if self.trans_a {
            (m, k) = (k, m);
        }
        let (mut kb, mut n) = (b2[b2.len() - 2], b2[b2.len() - 1]);
        if self.trans_b {
            (kb, n) = (n, kb);
        }
        if k != kb {
            return Err(fail());
        }
        let batch = util::broadcast(&[&a2[..a2.len() - 2], &b2[..b2.len() - 2]]).map_err(|_| fail())?;
        let mut out = batch.clone();
        if !va {
            out.push(m);
        }
        if !vb {
            out.push(n);
        }
        Ok(Sizes { batch, m, n, k, out })
    }

    /// For each product of the batch the offsets of its a, b and out.
    fn offsets(s: &Sizes, a: &[usize], b: &[usize]) -> Vec<(usize, usize, usize)> {
        let of = |shape: &[usize], size: usize| -> Vec<usize> {
            let lead = &shape[..shape.len().saturating_sub(2)];
            let strides = util::strides(lead);
            let skip = s.batch.len() - lead.len();
            (0..s.batch.len())
                .map(|i| if i < skip || lead[i - skip] == 1 { 0 } else { strides[i - skip] * size })
                .collect()
        };
        let (sa, sb) = (of(a, s.m * s.k), of(b, s.k * s.n));
        let count: usize = s.batch.iter().product();
        (0..count)
            .map(|i| {
                let (mut rest, mut oa, mut ob) = (i, 0, 0);
                for d in (0..s.batch.len()).rev() {
                    let at = rest % s.batch[d];
                    rest /= s.batch[d];
                    oa += at * sa[d];
                    ob += at * sb[d];
                }
                (oa, ob, i * s.m * s.n)
            })
            .collect()
    }

    /// The bias as one row of n, if it is that.
    pub(crate) fn is_row(bias: &[usize], n: usize) -> bool {
        bias.iter().product::<usize>() == n && bias.last().copied().unwrap_or(1) == n
    }

    fn finish(&self, cx: &mut RunCx<'_>, s: &Sizes, rows: usize) -> Result<(), OpError> {
        // A bias that is no row of n: Gemm's C, which may be a scalar, a column or a matrix.
        let Some(c) = cx.get(2) else { return Ok(()) };
        let c_data = c.f32()?;
        let (n, beta) = (s.n, self.beta);
        let full = util::broadcast(&[c.shape, &[rows, n]])?;
        if full != [rows, n] {
            return Err(OpError::invalid(format!("C of shape {:?} does not broadcast to [{rows}, {n}]", c.shape)));
        }
        let (cr, cn) = match *c.shape {
            [] => (1, 1),
            [x] => (1, x),
            [.., x, y] => (x, y),
        };
        let out = cx.out::<f32>(0)?;
        for r in 0..rows {
            for i in 0..n {
                let v = c_data[(if cr == 1 { 0 } else { r }) * cn + if cn == 1 { 0 } else { i }];
                out[r * n + i] += beta * v;
            }
        }
        Ok(())
    }
}

impl Operator for MatMul {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        // Constant weights may be stored as less than what is computed in.
        let stored_as_less = a.dtype == DType::F32 && is_narrow_float(b.dtype) && b.value.is_some();
        if a.dtype != b.dtype && !stored_as_less {
            return Err(OpError::invalid(format!("inputs are of {} and {}", a.dtype, b.dtype)));
        }
        let s = self.sizes(inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]))?;
        Ok(vec![Fact::new(a.dtype, s.out)])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shape = |i| inputs.shape(i).ok().flatten().unwrap_or(&[]);
        let Ok(s) = self.sizes(shape(0), shape(1)) else { return Cost::default() };
        let products = s.batch.iter().product::<usize>() as u64 * (s.m * s.n) as u64;
        let extra = u64::from(inputs.get(2).is_some()) + u64::from(self.activation != Activation::None);
        Cost { flops: products * (2 * s.k as u64 + extra + u64::from(inputs.get(3).is_some())) }
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let (Some(b), Some(shape)) = (inputs.get(1).and_then(|f| f.value.as_ref()), inputs.shape(1)?) else {
            return Ok(None);
        };
        let a = inputs.shape(0)?.unwrap_or(&[]);
        let bias_fits = inputs.get(2).is_none_or(|c| {
            c.shape
                .as_deref()
                .is_some_and(|c| shape.len() == 2 && Self::is_row(c, shape[1 - usize::from(self.trans_b)]))
        });
        if shape.len() != 2 || self.trans_a || a.len() < 2 || !bias_fits || self.beta != 1.0 {
            return Ok(None);
        }
        let s = self.sizes(a, shape)?;
        let Some(packed) = pack(b, &s, self.trans_b) else { return Ok(None) };
        let bytes = packed.bytes();
        let op = Packed { of: *self, b: Arc::new(packed) };
        Ok(Some(Prepared { op: Box::new(op), absorbed: vec![1], bytes }))
    }

    fn widens(&self) -> bool {
        true
    }

    fn quantize(&self, precision: Precision, inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
        crate::ops::quantized::of(self, precision, inputs)
    }

    fn store(&self, precision: Precision, inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
        let storage = Storage::of(precision)?;
        let fact = |i: usize| inputs.get(i)?.as_ref();
        let flat = fact(1)?.shape.as_ref()?.len() == 2;
        let known = fact(0)?.shape.is_some() && inputs.iter().flatten().all(|f| f.dtype.is_float());
        (flat && known).then(|| Box::new(MatMul { storage, ..*self }) as Box<dyn Operator>)
    }

    fn label(&self, inputs: &Inputs<'_>) -> Option<String> {
        let base = if self.gemm { "Gemm" } else { "MatMul" };
        let bias = if inputs.get(2).is_some() && !self.gemm { "+Bias" } else { "" };
        Some(format!("{base}{bias}{}", activation::suffix(self.activation)))
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        let s = self.sizes(a.shape, b.shape)?;
        match cx.out_dtype(0) {
            DType::F32 => {}
            other => return run_naive(self, cx, &s, other),
        }
        let (a_data, b_data) = (a.f32()?, b.f32()?);
        let count: usize = s.batch.iter().product();
        let row = cx.get(2).is_some_and(|c| Self::is_row(c.shape, s.n)) && self.beta == 1.0;
        let bias = if row { Some(cx.slice::<f32>(2)?) } else { None };
        let residual = cx.get(3).map(|r| r.f32()).transpose()?;
        let late = cx.get(2).is_some() && !row;
        if late && (residual.is_some() || self.activation != Activation::None) {
            return Err(OpError::unsupported("an activation after a bias that is no row"));
        }
        let epi = Epilogue { bias, activation: self.activation, residual, alpha: self.alpha };
        // A shared b with rows of a laid one after the other is one tall product.
        let tall = b.shape.len() <= 2 && !self.trans_a;
        let plain = bias.is_none() && residual.is_none() && self.activation == Activation::None && self.alpha == 1.0;
        let rows = count * s.m;
        {
            let p = cx.split::<f32>()?;
            if tall || count == 1 {
                let (m, trans_a) = if tall { (rows, false) } else { (s.m, self.trans_a) };
                gemm(p.pool, m, s.n, s.k, a_data, trans_a, b_data, self.trans_b, p.out, &epi);
            } else if plain && !self.trans_b && !self.trans_a {
                batched_gemm(p.pool, &Self::offsets(&s, a.shape, b.shape), s.m, s.n, s.k, a_data, b_data, p.out);
            } else {
                for (oa, ob, oo) in Self::offsets(&s, a.shape, b.shape) {
                    let (a1, b1) = (&a_data[oa..oa + s.m * s.k], &b_data[ob..ob + s.k * s.n]);
                    let span = oo..oo + s.m * s.n;
                    let epi = Epilogue { residual: residual.map(|r| &r[span.clone()]), ..epi };
                    gemm(p.pool, s.m, s.n, s.k, a1, self.trans_a, b1, self.trans_b, &mut p.out[span], &epi);
                }
            }
        }
        if late { self.finish(cx, &s, rows) } else { Ok(()) }
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        crate::ops::matmul_gpu::encode(self, b)
    }

    fn kernel(&self) -> String {
        "gemm f32".into()
    }
}

/// Integers and f64, rarely met: plain loops with wrapping arithmetic.
fn run_naive(op: &MatMul, cx: &mut RunCx<'_>, s: &Sizes, dtype: DType) -> Result<(), OpError> {
    macro_rules! go {
        ($t:ty, $mul:expr, $add:expr, $zero:expr) => {{
            let (a, b) = (cx.input(0)?, cx.input(1)?);
            let (ad, bd) = (a.slice::<$t>()?, b.slice::<$t>()?);
            let c = cx.get(2);
            let offsets = MatMul::offsets(s, a.shape, b.shape);
            let out = cx.out::<$t>(0)?;
            for (oa, ob, oo) in offsets {
                for i in 0..s.m {
                    for j in 0..s.n {
                        let mut sum = $zero;
                        for p in 0..s.k {
                            let x = ad[oa + if op.trans_a { p * s.m + i } else { i * s.k + p }];
                            let y = bd[ob + if op.trans_b { j * s.k + p } else { p * s.n + j }];
                            sum = $add(sum, $mul(x, y));
                        }
                        out[oo + i * s.n + j] = sum;
                    }
                }
            }
            c
        }};
    }
    if op.alpha != 1.0 || op.beta != 1.0 || op.activation != Activation::None {
        return Err(OpError::unsupported(format!("alpha, beta or an activation on {dtype}")));
    }
    let c = match dtype {
        DType::F64 => go!(f64, |x: f64, y: f64| x * y, |x: f64, y: f64| x + y, 0.0),
        DType::I32 => go!(i32, i32::wrapping_mul, i32::wrapping_add, 0),
        DType::I64 => go!(i64, i64::wrapping_mul, i64::wrapping_add, 0),
        DType::U32 => go!(u32, u32::wrapping_mul, u32::wrapping_add, 0),
        DType::U64 => go!(u64, u64::wrapping_mul, u64::wrapping_add, 0),
        other => return Err(OpError::unsupported(format!("MatMul of {other}"))),
    };
    match c {
        None => Ok(()),
        Some(_) => Err(OpError::unsupported(format!("Gemm with C on {dtype}"))),
    }
}

/// Weights of any float type, aligned or not; `None` for other types.
fn pack(b: &Tensor, s: &Sizes, transposed: bool) -> Option<PackedB> {
    let size = match b.dtype() {
        DType::F32 => 4,
        DType::F16 | DType::BF16 => 2,
        DType::F64 => 8,
        _ => return None,
    };
    if let (DType::F32, Ok(data)) = (b.dtype(), bytemuck::try_cast_slice(b.bytes())) {
        return Some(PackedB::pack(data, s.k, s.n, transposed));
    }
    let row = if transposed { s.k } else { s.n };
    Some(PackedB::pack_rows(s.k, s.n, transposed, |first, rows| {
        let bytes = &b.bytes()[first * row * size..][..rows.len() * size];
        let read =
            exec::convert(exec::serial(), b.dtype(), DType::F32, rows.len(), bytes, bytemuck::cast_slice_mut(rows));
        read.expect("as many bytes as the elements have");
    }))
}

/// With constant weights, packed once.
#[derive(Clone)]
struct Packed {
    of: MatMul,
    b: Arc<PackedB>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with packed weights", self.of)
    }
}

impl Operator for Packed {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        self.of.infer(inputs)
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        self.of.cost(inputs, outputs)
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let a = cx.input(0)?.f32()?;
        let rows = if self.b.k() == 0 { cx.out::<f32>(0)?.len() / self.b.n().max(1) } else { a.len() / self.b.k() };
        let bias = cx.get(2).map(|c| c.f32()).transpose()?;
        let residual = cx.get(3).map(|r| r.f32()).transpose()?;
        let epi = Epilogue { bias, activation: self.of.activation, residual, alpha: self.of.alpha };
        let p = cx.split::<f32>()?;
        gemm_packed(p.pool, rows, a, &self.b, p.out, &epi);
        Ok(())
    }

    fn label(&self, inputs: &Inputs<'_>) -> Option<String> {
        self.of.label(inputs)
    }

    fn kernel(&self) -> String {
        "gemm f32, packed weights".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_numpy() {
        let m = MatMul::PLAIN;
        assert_eq!(m.sizes(&[2, 1, 3, 4], &[5, 4, 6]).unwrap().out, [2, 5, 3, 6]);
        assert_eq!(m.sizes(&[4], &[4, 6]).unwrap().out, [6]);
        assert_eq!(m.sizes(&[3, 4], &[4]).unwrap().out, [3]);
        assert_eq!(m.sizes(&[4], &[4]).unwrap().out, [0usize; 0]);
        assert!(m.sizes(&[3, 4], &[5, 6]).is_err());
        assert!(m.sizes(&[], &[5, 6]).is_err());
        let s = m.sizes(&[2, 1, 3, 4], &[5, 4, 6]).unwrap();
        assert_eq!(MatMul::offsets(&s, &[2, 1, 3, 4], &[5, 4, 6])[6], (12, 24, 6 * 18));
    }
}
