//! Copies between strided layouts.

use crate::kernels::layout::{dense, merge, reach};
use crate::kernels::{Kernel, count};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("strided_copy");

/// One side of a copy: a range, the element it starts at, and a stride in elements per dimension (which may be 0 to
/// repeat, or negative to go backwards).
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// The range.
    pub binding: &'a Binding,
    /// The first element.
    pub offset: u32,
    /// One per dimension.
    pub strides: &'a [i64],
}

/// y\[...\] = x\[...\] over `shape`: transposes, slices with steps, expands, and the pieces of concat and split. Both sides
/// are checked to stay within their ranges.
pub fn strided_copy(gpu: &Gpu, shape: &[u32], x: Strided<'_>, y: Strided<'_>) -> Result<Command, GpuError> {
    let n = count("strided_copy", shape)?;
    if n == 0 {
        return Ok(Command::nothing("strided_copy"));
    }
    for (name, side) in [("x", &x), ("y", &y)] {
        let fail = |why: &str| GpuError::argument("strided_copy", format!("operand {name}: {why}"));
        if side.strides.len() != shape.len() {
            return Err(fail("needs one stride per dimension"));
        }
        let (low, high) = reach(shape, side.strides, side.offset.into()).ok_or_else(|| fail("its strides overflow"))?;
        if low < 0 || high as u64 >= side.binding.words() {
            let has = side.binding.words();
            return Err(fail(&format!(
                "reaches elements {low} to {high} of {} which has {has}",
                side.binding.buffer.label()
            )));
        }
    }
    let layout = merge("strided_copy", shape, &[x.strides.to_vec(), y.strides.to_vec()])?;
    gpu.call(&KERNEL)
        .constant("RANK", layout.shape.len() as u32)
        .bind("x", x.binding)
        .bind("y", y.binding)
        .param("n", n)
        .param("x_offset", x.offset)
        .param("y_offset", y.offset)
        .param("shape", &layout.shape[..])
        .param("x_strides", &layout.strides[0][..])
        .param("y_strides", &layout.strides[1][..])
        .run(Groups::Threads(n.into()))
}

/// y = x, `n` elements, even between two parts of one buffer.
pub fn copy(gpu: &Gpu, x: &Binding, y: &Binding, n: u32) -> Result<Command, GpuError> {
    let side = |binding| Strided { binding, offset: 0, strides: &[1] };
    strided_copy(gpu, &[n], side(x), side(y))
}

/// y = x with its dimensions in another order: y's dimension d is x's dimension `perm[d]`.
pub fn transpose(gpu: &Gpu, x: &Binding, shape: &[u32], perm: &[usize], y: &Binding) -> Result<Command, GpuError> {
    let mut seen = vec![false; shape.len()];
    let ok =
        perm.len() == shape.len() && perm.iter().all(|&p| seen.get_mut(p).is_some_and(|s| !std::mem::replace(s, true)));
    if !ok {
        return Err(GpuError::argument("strided_copy", format!("{perm:?} does not order the dimensions of {shape:?}")));
    }
    let own = dense(shape);
    let out: Vec<u32> = perm.iter().map(|&p| shape[p]).collect();
    let strides: Vec<i64> = perm.iter().map(|&p| own[p]).collect();
    let from = Strided { binding: x, offset: 0, strides: &strides };
    strided_copy(gpu, &out, from, Strided { binding: y, offset: 0, strides: &dense(&out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (x, xb) = bench.floats(3 * 5 * 7 * 2);
        let yb = bench.out(x.len());
        let command = transpose(bench.gpu, &xb, &[3, 5, 7, 2], &[2, 0, 3, 1], &yb)?;
        let mut want = Vec::new();
        for c in 0..7 {
            for a in 0..3 {
                for d in 0..2 {
                    for b in 0..5 {
                        want.push(x[((a * 5 + b) * 7 + c) * 2 + d]);
                    }
                }
            }
        }
        bench.check("transpose", command, &yb, Elem::F32, want, 0.0);
        // x[4..0:-2, 1::3] of [5, 13]
        let (x, xb) = bench.floats(65);
        let yb = bench.out(8);
        let from = Strided { binding: &xb, offset: 4 * 13 + 1, strides: &[-26, 3] };
        let command = strided_copy(bench.gpu, &[2, 4], from, Strided { binding: &yb, offset: 0, strides: &[4, 1] })?;
        let want = (0..8).map(|i| x[(4 - i / 4 * 2) * 13 + 1 + i % 4 * 3]).collect();
        bench.check("slice backwards", command, &yb, Elem::F32, want, 0.0);
        // Two pieces side by side: [3, 2] and [3, 5] make [3, 7].
        let (a, ab) = bench.floats(6);
        let (b, bb) = bench.floats(15);
        let yb = bench.out(21);
        let left = Strided { binding: &ab, offset: 0, strides: &[2, 1] };
        let right = Strided { binding: &bb, offset: 0, strides: &[5, 1] };
        let at = |offset| Strided { binding: &yb, offset, strides: &[7, 1] };
        let first = strided_copy(bench.gpu, &[3, 2], left, at(0))?;
        let second = strided_copy(bench.gpu, &[3, 5], right, at(2))?;
        let want = (0..21).map(|i| if i % 7 < 2 { a[i / 7 * 2 + i % 7] } else { b[i / 7 * 5 + i % 7 - 2] }).collect();
        bench.check("concat", Command::sequence("concat", [first, second]), &yb, Elem::F32, want, 0.0);
        let (x, xb) = bench.ints(5, -9, 9);
        let yb = bench.out(35);
        let from = Strided { binding: &xb, offset: 0, strides: &[0, 1] };
        let command = strided_copy(bench.gpu, &[7, 5], from, Strided { binding: &yb, offset: 0, strides: &[5, 1] })?;
        bench.check("expand", command, &yb, Elem::I32, (0..35).map(|i| f64::from(x[i % 5])).collect(), 0.0);
        // Between two parts of one buffer.
        let (x, xb) = bench.floats(128);
        let (front, back) = (xb.buffer.part(0, 256), xb.buffer.part(256, 256));
        let command = copy(bench.gpu, &front, &back, 64)?;
        bench.check("within a buffer", command, &xb, Elem::F32, (0..128).map(|i| x[i % 64]).collect(), 0.0);
        Ok(())
    }

    #[test]
    fn copies_that_leave_their_ranges_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        let side = |offset, strides| Strided { binding: &b, offset, strides };
        assert!(strided_copy(gpu, &[4, 4], side(0, &[4, 1]), side(0, &[4, 1])).is_ok());
        assert!(strided_copy(gpu, &[4, 4], side(1, &[4, 1]), side(0, &[4, 1])).is_err());
        assert!(strided_copy(gpu, &[4], side(2, &[-1]), side(0, &[1])).is_err());
        assert!(strided_copy(gpu, &[4], side(0, &[i64::MAX]), side(0, &[1])).is_err());
        assert!(strided_copy(gpu, &[4], side(0, &[1, 1]), side(0, &[1])).is_err());
        assert!(transpose(gpu, &b, &[4, 4], &[0, 0], &b).is_err());
        assert!(transpose(gpu, &b, &[4, 4], &[0, 2], &b).is_err());
    }
}
