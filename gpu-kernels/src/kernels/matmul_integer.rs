//! ONNX MatMulInteger: products of integers with zero points.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("matmul_integer");

/// How the right operand is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum IntegerStorage {
    /// i32.
    Words = 0,
    /// Four signed bytes a word.
    PackedI8 = 1,
    /// Four unsigned bytes a word.
    PackedU8 = 2,
}

/// What is taken from an operand before the product.
#[derive(Debug, Clone, Copy)]
pub enum ZeroPoint<'a> {
    /// Nothing.
    None,
    /// One i32 for all.
    One(&'a Binding),
    /// One i32 per row of the left, or per column of the right operand.
    Each(&'a Binding),
}

impl<'a> ZeroPoint<'a> {
    fn parts(self, each: u32) -> (u8, Option<&'a Binding>, u32) {
        match self {
            ZeroPoint::None => (0, None, 0),
            ZeroPoint::One(b) => (1, Some(b), 1),
            ZeroPoint::Each(b) => (2, Some(b), each),
        }
    }
}

/// y\[batch, m, n\] (i32) = (a\[batch, m, k\] - a_zero) x (b\[batch, k, n\] - b_zero). `a` is i32 holding bytes; one `b` may serve
/// all batches.
pub fn matmul_integer(
    gpu: &Gpu,
    (a, a_zero): (&Binding, ZeroPoint<'_>),
    (b, storage, b_zero): (&Binding, IntegerStorage, ZeroPoint<'_>),
    y: &Binding,
    [batch, m, k, n]: [u32; 4],
    b_is_shared: bool,
) -> Result<Command, GpuError> {
    let total = count("matmul_integer", &[batch, m, n])?;
    need("matmul_integer", "a", a, count("matmul_integer", &[batch, m, k])?)?;
    let elements = count("matmul_integer", &[if b_is_shared { 1 } else { batch }, k, n])?;
    need("matmul_integer", "b", b, if storage == IntegerStorage::Words { elements } else { elements.div_ceil(4) })?;
    need("matmul_integer", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("matmul_integer"));
    }
    let (a_kind, a_zero, rows) = a_zero.parts(m);
    let (b_kind, b_zero, cols) = b_zero.parts(n);
    for (name, binding, numbers) in [("a_zero", a_zero, rows), ("b_zero", b_zero, cols)] {
        binding.map_or(Ok(()), |b| need("matmul_integer", name, b, numbers))?;
    }
    gpu.call(&KERNEL)
        .constant("A_ZERO", a_kind)
        .constant("B_ZERO", b_kind)
        .constant("B_KIND", storage as u8)
        .bind("a", a)
        .bind("b", b)
        .bind_or_absent("a_zero", a_zero)
        .bind_or_absent("b_zero", b_zero)
        .bind("y", y)
        .param("m", m)
        .param("n", n)
        .param("k", k)
        .param("a_batch", count("matmul_integer", &[m, k])?)
        .param("b_batch", if b_is_shared { 0 } else { count("matmul_integer", &[k, n])? })
        .run(Groups::Grid([n.div_ceil(32).into(), m.div_ceil(32).into(), batch.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use IntegerStorage::*;
        for (storage, zeros, shared) in [(Words, 1, true), (PackedI8, 2, false), (PackedU8, 0, true)] {
            let (batch, m, k, n) = (2usize, 35usize, 41usize, 37usize);
            let (a, ab) = bench.ints(batch * m * k, 0, 255);
            let total = if shared { 1 } else { batch } * k * n;
            let (low, high) = if storage == PackedU8 { (0, 255) } else { (-128, 127) };
            let (b, words) = bench.ints(total, low, high);
            let mut bytes: Vec<u8> = b.iter().map(|&v| v as u8).collect();
            bytes.resize(total.next_multiple_of(4), 0);
            let bb = if storage == Words { words } else { bench.words(bytemuck::cast_slice(&bytes)) };
            let (az, azb) = bench.ints(m, 0, 255);
            let (bz, bzb) = bench.ints(n, low, high);
            let zero = |b| match zeros {
                0 => ZeroPoint::None,
                1 => ZeroPoint::One(b),
                _ => ZeroPoint::Each(b),
            };
            let yb = bench.out(batch * m * n);
            let sizes = [batch, m, k, n].map(|v| v as u32);
            let command = matmul_integer(bench.gpu, (&ab, zero(&azb)), (&bb, storage, zero(&bzb)), &yb, sizes, shared)?;
            let mut want = Vec::new();
            for z in 0..batch {
                for i in 0..m {
                    for j in 0..n {
                        let pick = |zero: &[i32], each: usize| [0, zero[0], zero[each]][zeros];
                        let start = if shared { 0 } else { z * k * n };
                        let sum: i32 = (0..k)
                            .map(|p| (a[(z * m + i) * k + p] - pick(&az, i)) * (b[start + p * n + j] - pick(&bz, j)))
                            .sum();
                        want.push(f64::from(sum));
                    }
                }
            }
            bench.check(format!("{storage:?} zeros {zeros}"), command, &yb, Elem::I32, want, 0.0);
        }
        Ok(())
    }
}
