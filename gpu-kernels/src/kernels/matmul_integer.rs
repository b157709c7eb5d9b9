//! ONNX MatMulInteger: products of integers with zero points.

use crate::kernels::tiles::Class;
use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("matmul_integer");

/// How the right operand's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerStorage {
    /// One in each i32, by rows.
    Words,
    /// Four a word, by rows: \[k, n\].
    Packed,
    /// Four a word, by columns: \[n, k\], which is read fastest.
    PackedColumns,
}

/// An operand's bytes.
#[derive(Debug, Clone, Copy)]
pub struct IntegerOperand<'a> {
    /// The elements.
    pub values: &'a Binding,
    /// From 0 to 255; else from -128 to 127.
    pub unsigned: bool,
    /// Taken from each.
    pub zero: ZeroPoint<'a>,
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

/// y\[batch, m, n\] (i32) = (a\[batch, m, k\] - its zero point) x (b\[batch, k, n\] - its zero point). `a` has an i32 for each byte;
/// one `b` may serve all batches.
pub fn matmul_integer(
    gpu: &Gpu,
    a: IntegerOperand<'_>,
    (b, storage): (IntegerOperand<'_>, IntegerStorage),
    y: &Binding,
    [batch, m, k, n]: [u32; 4],
    b_is_shared: bool,
) -> Result<Command, GpuError> {
    let total = count("matmul_integer", &[batch, m, n])?;
    need("matmul_integer", "a", a.values, count("matmul_integer", &[batch, m, k])?)?;
    let elements = count("matmul_integer", &[if b_is_shared { 1 } else { batch }, k, n])?;
    need(
        "matmul_integer",
        "b",
        b.values,
        if storage == IntegerStorage::Words { elements } else { elements.div_ceil(4) },
    )?;
    need("matmul_integer", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("matmul_integer"));
    }
    let (a_kind, a_zero, rows) = a.zero.parts(m);
    let (b_kind, b_zero, cols) = b.zero.parts(n);
    for (name, binding, numbers) in [("a_zero", a_zero, rows), ("b_zero", b_zero, cols)] {
        binding.map_or(Ok(()), |b| need("matmul_integer", name, b, numbers))?;
    }
    let side = match Class::of(m, n, batch) {
        Class::Thin | Class::Small => 8u32,
        Class::Medium | Class::Large => 16,
    };
    gpu.call(&KERNEL)
        .constant("A_ZERO", a_kind)
        .constant("B_ZERO", b_kind)
        .constant("A_UNSIGNED", u8::from(a.unsigned))
        .constant("B_UNSIGNED", u8::from(b.unsigned))
        .constant("B_PACKED", u8::from(storage != IntegerStorage::Words))
        .constant("B_COLUMNS", u8::from(storage == IntegerStorage::PackedColumns))
        .constant("SIDE", side)
        .bind("a", a.values)
        .bind("b", b.values)
        .bind_or_absent("a_zero", a_zero)
        .bind_or_absent("b_zero", b_zero)
        .bind("y", y)
        .param("m", m)
        .param("n", n)
        .param("k", k)
        .param("a_batch", count("matmul_integer", &[m, k])?)
        .param("b_batch", if b_is_shared { 0 } else { count("matmul_integer", &[k, n])? })
        .run(Groups::Grid([n.div_ceil(4 * side).into(), m.div_ceil(4 * side).into(), batch.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    struct Spec {
        storage: IntegerStorage,
        unsigned: [bool; 2],
        /// 0 none, 1 one, 2 each
        zeros: usize,
        shared: bool,
        sizes: [usize; 4],
    }

    fn case(bench: &mut Bench, s: &Spec) -> Result<(), GpuError> {
        let [batch, m, k, n] = s.sizes;
        let range = |unsigned| if unsigned { (0, 255) } else { (-128, 127) };
        let ((a_low, a_high), (b_low, b_high)) = (range(s.unsigned[0]), range(s.unsigned[1]));
        let (a, ab) = bench.ints(batch * m * k, a_low, a_high);
        let total = if s.shared { 1 } else { batch } * k * n;
        let (b, words) = bench.ints(total, b_low, b_high);
        // Where element (p, j) of product z lies.
        let at = |z: usize, p: usize, j: usize| {
            let start = if s.shared { 0 } else { z * k * n };
            start + if s.storage == IntegerStorage::PackedColumns { j * k + p } else { p * n + j }
        };
        let mut bytes: Vec<u8> = b.iter().map(|&v| v as u8).collect();
        bytes.resize(total.next_multiple_of(4), 0);
        let bb = if s.storage == IntegerStorage::Words { words } else { bench.words(bytemuck::cast_slice(&bytes)) };
        let (az, azb) = bench.ints(m, a_low, a_high);
        let (bz, bzb) = bench.ints(n, b_low, b_high);
        let zero = |b| match s.zeros {
            0 => ZeroPoint::None,
            1 => ZeroPoint::One(b),
            _ => ZeroPoint::Each(b),
        };
        let yb = bench.out(batch * m * n);
        let left = IntegerOperand { values: &ab, unsigned: s.unsigned[0], zero: zero(&azb) };
        let right = IntegerOperand { values: &bb, unsigned: s.unsigned[1], zero: zero(&bzb) };
        let sizes = s.sizes.map(|v| v as u32);
        let command = matmul_integer(bench.gpu, left, (right, s.storage), &yb, sizes, s.shared)?;
        let mut want = Vec::new();
        for z in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    let pick = |zero: &[i32], each: usize| [0, zero[0], zero[each]][s.zeros];
                    let left = |p: usize| a[(z * m + i) * k + p] - pick(&az, i);
                    let sum: i32 = (0..k).map(|p| left(p) * (b[at(z, p, j)] - pick(&bz, j))).sum();
                    want.push(f64::from(sum));
                }
            }
        }
        let label = format!("{:?} unsigned {:?} zeros {} sizes {:?}", s.storage, s.unsigned, s.zeros, s.sizes);
        bench.check(label, command, &yb, Elem::I32, want, 0.0);
        Ok(())
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use IntegerStorage::*;
        let sizes = [2, 35, 41, 37];
        case(bench, &Spec { storage: Words, unsigned: [true, false], zeros: 1, shared: true, sizes })?;
        case(bench, &Spec { storage: Packed, unsigned: [true, false], zeros: 2, shared: false, sizes })?;
        case(bench, &Spec { storage: Packed, unsigned: [false, true], zeros: 0, shared: true, sizes })?;
        case(bench, &Spec { storage: PackedColumns, unsigned: [true, true], zeros: 2, shared: true, sizes })?;
        let sizes = [1, 5, 68, 33];
        case(bench, &Spec { storage: PackedColumns, unsigned: [false, false], zeros: 1, shared: false, sizes })?;
        // Enough for the larger tile.
        let sizes = [30, 70, 9, 80];
        case(bench, &Spec { storage: Words, unsigned: [false, true], zeros: 2, shared: true, sizes })
    }
}
