//! Products and convolutions with what was fused into them, and products of quantized operands.

use graph::{Attr, DType, Tensor, ValueId};

use super::Expansion;
use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::registry::INTERNAL;
use crate::tensor::Input;

/// Weights of few bits as floats.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: INTERNAL, name: "DequantizeNBits", opsets: (1, 1), read }];

type Made = Result<Vec<ValueId>, OpError>;

pub(super) fn fused_matmul(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let mut operands = [e.need(0)?, e.need(1)?];
    for (x, name) in operands.iter_mut().zip(["transBatchA", "transBatchB"]) {
        if a.flag(name, false)? {
            let rank = e.rank(*x).filter(|&r| r >= 2);
            let rank = rank.ok_or_else(|| OpError::unsupported(format!("{name} on an input of unknown rank")))? as i64;
            let perm = (1..rank - 1).chain([0, rank - 1]).collect();
            *x = e.op("Transpose", &[*x], &[("perm", Attr::Ints(perm))]);
        }
    }
    let attrs = [
        ("transA", Attr::Int(a.int_or("transA", 0)?)),
        ("transB", Attr::Int(a.int_or("transB", 0)?)),
        ("alpha", Attr::Float(a.float_or("alpha", 1.0)?)),
    ];
    Ok(vec![e.op("MatMul", &operands, &attrs)])
}

/// An activation by its name in fused nodes.
fn activated(e: &mut Expansion<'_>, x: ValueId, name: &str, p: &[f32]) -> Result<ValueId, OpError> {
    let p = |i: usize, default: f32| Attr::Float(p.get(i).copied().unwrap_or(default));
    Ok(match name {
        "" => x,
        "Relu" | "Sigmoid" | "Tanh" | "HardSwish" | "Softplus" | "Softsign" | "Selu" => e.op(name, &[x], &[]),
        "LeakyRelu" => e.op(name, &[x], &[("alpha", p(0, 0.01))]),
        "Elu" => e.op(name, &[x], &[("alpha", p(0, 1.0))]),
        "HardSigmoid" => e.op(name, &[x], &[("alpha", p(0, 0.2)), ("beta", p(1, 0.5))]),
        "Clip" => {
            let (Attr::Float(lo), Attr::Float(hi)) = (p(0, f32::MIN), p(1, f32::MAX)) else {
                return Err(OpError::invalid("bounds that are no floats"));
            };
            let (lo, hi) = (e.constant(Tensor::scalar(lo)), e.constant(Tensor::scalar(hi)));
            e.op(name, &[x, lo, hi], &[])
        }
        other => return Err(OpError::unsupported(format!("activation \"{other}\""))),
    })
}

pub(super) fn fused_gemm(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let inputs = [Some(e.need(0)?), Some(e.need(1)?), e.get(2)];
    let attrs = [
        ("transA", Attr::Int(a.int_or("transA", 0)?)),
        ("transB", Attr::Int(a.int_or("transB", 0)?)),
        ("alpha", Attr::Float(a.float_or("alpha", 1.0)?)),
        ("beta", Attr::Float(a.float_or("beta", 1.0)?)),
    ];
    let y = e.op_with("Gemm", &inputs, &attrs);
    let (alpha, beta) = (a.float("activation_alpha")?.or(a.float("leaky_relu_alpha")?), a.float("activation_beta")?);
    a.ignore("activation_gamma");
    let params: Vec<f32> = [alpha, beta].into_iter().map_while(|p| p).collect();
    Ok(vec![activated(e, y, a.string_or("activation", "")?, &params)?])
}

pub(super) fn fused_conv(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let names = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
    let attrs: Vec<_> = names.iter().filter_map(|&n| Some((n, a.get(n)?.clone()))).collect();
    let inputs = [Some(e.need(0)?), Some(e.need(1)?), e.get(2)];
    let y = e.op_with("Conv", &inputs, &attrs);
    let residual = e.get(3);
    let y = e.plus(y, residual);
    let params = a.floats("activation_params")?.unwrap_or(&[]);
    Ok(vec![activated(e, y, a.string_or("activation", "")?, params)?])
}

/// An operand in 8 bits: values, scale, zero point.
pub(super) type Quantized = (ValueId, ValueId, Option<ValueId>);

/// `(a b + c) scales`, the sum being of integers, as float; the chain that fuses into one step.
pub(super) fn integer_product(
    e: &mut Expansion<'_>,
    (x, x_scale, x_zero): Quantized,
    (w, w_scale, w_zero): Quantized,
    c: Option<ValueId>,
) -> ValueId {
    let sums = e.op_with("MatMulInteger", &[Some(x), Some(w), x_zero, w_zero], &[]);
    let sums = e.plus(sums, c);
    let sums = e.op("Cast", &[sums], &[("to", Attr::Int(i64::from(DType::F32.to_onnx())))]);
    let scale = e.op("Mul", &[x_scale, w_scale], &[]);
    e.op("Mul", &[sums, scale], &[])
}

pub(super) fn dynamic_quantize_matmul(e: &mut Expansion<'_>, _: &Attrs<'_>) -> Made {
    let x = e.need(0)?;
    let [x, scale, zero] = e.node("", "DynamicQuantizeLinear", &[Some(x)], &[], 3)[..] else {
        return Err(OpError::invalid("no scale"));
    };
    let w = (e.need(1)?, e.need(2)?, e.get(3));
    let y = integer_product(e, (x, scale, Some(zero)), w, None);
    let bias = e.get(4);
    Ok(vec![e.plus(y, bias)])
}

pub(super) fn quantized_gemm(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let mut operand = |i: usize, name: &str| {
        let x = e.need(i)?;
        let x = match a.flag(name, false)? {
            true => e.op("Transpose", &[x], &[("perm", Attr::Ints(vec![1, 0]))]),
            false => x,
        };
        Ok::<_, OpError>((x, e.need(i + 1)?, e.get(i + 2)))
    };
    let (x, w) = (operand(0, "transA")?, operand(3, "transB")?);
    let c = e.get(6);
    let mut y = integer_product(e, x, w, c);
    let alpha = a.float_or("alpha", 1.0)?;
    if alpha != 1.0 {
        let alpha = e.constant(Tensor::scalar(alpha));
        y = e.op("Mul", &[y, alpha], &[]);
    }
    if let Some(scale) = e.get(7) {
        let zero = e.get(8);
        y = e.op_with("QuantizeLinear", &[Some(y), Some(scale), zero], &[]);
    }
    Ok(vec![y])
}

pub(super) fn matmul_n_bits(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    // How exact ONNX Runtime's own kernels are; products here are of floats.
    a.ignore("accuracy_level");
    if a.flag("weight_prepacked", false)? {
        return Err(OpError::unsupported("weight_prepacked"));
    }
    e.refuse(4, "g_idx")?;
    let mut attrs = Vec::new();
    for name in ["K", "N", "bits", "block_size"] {
        let value = if name == "bits" { a.int_or(name, 4)? } else { a.need_int(name)? };
        attrs.push((name, Attr::Int(value)));
    }
    let w = e.internal("DequantizeNBits", &[Some(e.need(1)?), Some(e.need(2)?), e.get(3)], &attrs);
    let x = e.need(0)?;
    let y = e.op("MatMul", &[x, w], &[("transB", Attr::Int(1))]);
    let bias = e.get(5);
    Ok(vec![e.plus(y, bias)])
}

pub(super) fn gather_block_quantized(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let (data, ids, scales, zeros) = (e.need(0)?, e.need(1)?, e.need(2)?, e.get(3));
    let gather = Attr::Int(a.int_or("gather_axis", 0)?);
    let (axis, block, bits) = (a.int_or("quantize_axis", 1)?, a.int_or("block_size", 128)?, a.int_or("bits", 4)?);
    let table = match e.known(data) {
        Some((DType::U8, shape)) if shape.len() == 2 && matches!(axis, 1 | -1) && matches!(bits, 4 | 8) => {
            let k = shape[1].saturating_mul(8 / bits as usize);
            let sizes = [("K", k as i64), ("N", shape[0] as i64), ("bits", bits), ("block_size", block)];
            e.internal("DequantizeNBits", &[Some(data), Some(scales), zeros], &sizes.map(|(n, v)| (n, Attr::Int(v))))
        }
        Some((DType::U4 | DType::I4, _)) => {
            let attrs = [("axis", Attr::Int(axis)), ("block_size", Attr::Int(block))];
            e.op_with("DequantizeLinear", &[Some(data), Some(scales), zeros], &attrs)
        }
        other => return Err(OpError::unsupported(format!("a table of {other:?} in {bits} bits along axis {axis}"))),
    };
    Ok(vec![e.op("Gather", &[table, ids], &[("axis", gather)])])
}

/// Weights [n, k] whose blocks along k have a scale and a zero point each. Inputs are the bits, lowest first, the scales, and the
/// zero points (optional): floats, or bits of the same width.
#[derive(Debug)]
struct NBits {
    k: usize,
    n: usize,
    bits: usize,
    block: usize,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let size = |name: &str| {
        let v = a.need_int(name)?;
        usize::try_from(v).ok().filter(|&v| v > 0).ok_or_else(|| OpError::invalid(format!("{name} = {v}")))
    };
    let op = NBits { k: size("K")?, n: size("N")?, bits: size("bits")?, block: size("block_size")? };
    if !matches!(op.bits, 2 | 4 | 8) || op.block.checked_mul(op.bits).is_none_or(|b| b % 8 != 0) {
        return Err(OpError::unsupported(format!("{} bits in blocks of {}", op.bits, op.block)));
    }
    Ok(Box::new(op))
}

/// Number `i` of `bits` each.
fn bits_at(data: &[u8], bits: usize, i: usize) -> u8 {
    let at = i * bits;
    let mask = ((1u16 << bits) - 1) as u8;
    data[at / 8] >> (at % 8) & mask
}

impl NBits {
    /// Zero points of a row of blocks, each row starting in a byte of its own.
    fn zeros(&self, zero: Option<Input<'_>>, blocks: usize) -> Result<Vec<f32>, OpError> {
        let count = self.n * blocks;
        let fail = |len: usize| OpError::invalid(format!("{len} zero points for {} x {blocks} blocks", self.n));
        match zero {
            None => Ok(vec![(1 << (self.bits - 1)) as f32; count]),
            Some(z) if z.dtype == DType::U8 => {
                let row = (blocks * self.bits).div_ceil(8);
                if z.data.len() != row * self.n {
                    return Err(fail(z.data.len()));
                }
                let at = |i: usize| bits_at(&z.data[i / blocks * row..], self.bits, i % blocks);
                Ok((0..count).map(|i| f32::from(at(i))).collect())
            }
            Some(z) if z.len() == count => Ok(z.f32()?.to_vec()),
            Some(z) => Err(fail(z.len())),
        }
    }
}

impl Operator for NBits {
    fn class(&self) -> OpClass {
        OpClass::Quantization
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (b, scales) = (inputs.need(0)?, inputs.need(1)?);
        let blocks = self.k.div_ceil(self.block);
        let bytes = (self.n.checked_mul(blocks)).and_then(|n| n.checked_mul(self.block * self.bits / 8));
        if b.dtype != DType::U8 || b.numel() != bytes || scales.numel() != self.n.checked_mul(blocks) {
            return Err(OpError::invalid(format!(
                "weights {}{:?} with scales {:?} for {self:?}",
                b.dtype,
                b.shape.as_deref().unwrap_or(&[]),
                scales.shape.as_deref().unwrap_or(&[])
            )));
        }
        Ok(vec![Fact::new(scales.dtype, vec![self.n, self.k])])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(1)?.dtype])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 2 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (data, scales) = (cx.slice::<u8>(0)?, cx.input(1)?.f32()?);
        let blocks = self.k.div_ceil(self.block);
        let zeros = self.zeros(cx.get(2), blocks)?;
        let (pool, blob) = (cx.pool(), self.block * self.bits / 8);
        pool.for_chunks_mut(cx.out::<f32>(0)?, self.k, |row, out| {
            for (block, y) in out.chunks_mut(self.block).enumerate() {
                let at = row * blocks + block;
                let (bytes, scale, zero) = (&data[at * blob..][..blob], scales[at], zeros[at]);
                for (i, y) in y.iter_mut().enumerate() {
                    *y = (f32::from(bits_at(bytes, self.bits, i)) - zero) * scale;
                }
            }
        });
        Ok(())
    }

    fn kernel(&self) -> String {
        format!("dequantize {} bits", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_lowest_first() {
        let data = [0b1110_0100, 0b0001_1011];
        assert_eq!((0..8).map(|i| bits_at(&data, 2, i)).collect::<Vec<_>>(), [0, 1, 2, 3, 3, 2, 1, 0]);
        assert_eq!((0..4).map(|i| bits_at(&data, 4, i)).collect::<Vec<_>>(), [4, 14, 11, 1]);
        assert_eq!((0..2).map(|i| bits_at(&data, 8, i)).collect::<Vec<_>>(), data);
    }
}
