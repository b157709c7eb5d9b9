//! Gather along an axis: embeddings, and picking slices by index.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("gather");

/// y\[outer, count, inner\] = x\[outer, axis, inner\] at `indices`\[count\] (i32) of the axis. Negative indices count from the end;
/// those out of range are held to it. A table larger than one binding is read in parts.
pub fn gather(
    gpu: &Gpu,
    x: &Binding,
    indices: &Binding,
    y: &Binding,
    [outer, axis, inner]: [u32; 3],
    picked: u32,
) -> Result<Command, GpuError> {
    gather_from(gpu, x, indices, y, [outer, axis, inner], picked, false)
}

/// [`gather`] from a table of packed f16 rows; y is f32.
pub fn gather_f16(
    gpu: &Gpu,
    x: &Binding,
    indices: &Binding,
    y: &Binding,
    [axis, inner]: [u32; 2],
    picked: u32,
) -> Result<Command, GpuError> {
    gather_from(gpu, x, indices, y, [1, axis, inner], picked, true)
}

fn gather_from(
    gpu: &Gpu,
    x: &Binding,
    indices: &Binding,
    y: &Binding,
    [outer, axis, inner]: [u32; 3],
    picked: u32,
    packed: bool,
) -> Result<Command, GpuError> {
    let total = count("gather", &[outer, picked, inner])?;
    let table = count("gather", &[outer, axis, inner])?;
    need("gather", "x", x, if packed { table.div_ceil(2) } else { table })?;
    need("gather", "indices", indices, picked)?;
    need("gather", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("gather"));
    }
    if axis == 0 || axis > i32::MAX as u32 {
        return Err(GpuError::argument("gather", format!("an axis of {axis} has nothing to pick from")));
    }
    // Parts of the table that fit a binding and start where one may start.
    let bits = if packed { 16 } else { 32 };
    let row_bits = u64::from(inner) * bits;
    let limit = gpu.max_binding_bytes() - gpu.max_binding_bytes() % gpu.alignment();
    let mut step = axis;
    if u64::from(table) * bits / 8 > limit {
        let unit = (gpu.alignment() * 8) / gcd(gpu.alignment() * 8, row_bits);
        let rows = limit * 8 / row_bits / unit * unit;
        if outer != 1 || rows == 0 {
            let label = x.buffer.label().to_owned();
            return Err(GpuError::TooLarge { label, bytes: x.bytes, what: "largest binding", limit });
        }
        step = rows.min(axis.into()) as u32;
    }
    let mut parts = Vec::new();
    let mut first = 0;
    while first < axis {
        let held = step.min(axis - first);
        let bytes = (u64::from(outer) * u64::from(held) * row_bits).div_ceil(32) * 4;
        let part = x.buffer.part(x.offset + u64::from(first) * row_bits / 8, bytes);
        parts.push(
            gpu.call(&KERNEL)
                .constant("PACKED_F16", u8::from(packed))
                .bind("x", &part)
                .bind("indices", indices)
                .bind("y", y)
                .param("outer", outer)
                .param("axis", axis)
                .param("count", picked)
                .param("inner", inner)
                .param("first", first)
                .param("held", held)
                .run(Groups::Threads(total.into()))?,
        );
        first += held;
    }
    Ok(Command::sequence("gather", parts))
}

pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (outer, axis, inner, picked) in [(1, 37, 19, 11), (3, 5, 1, 7), (2, 9, 4, 3)] {
            let (x, xb) = bench.floats(outer * axis * inner);
            let (idx, ib) = bench.ints(picked, -(axis as i32), axis as i32 - 1);
            let yb = bench.out(outer * picked * inner);
            let command = gather(bench.gpu, &xb, &ib, &yb, [outer as u32, axis as u32, inner as u32], picked as u32)?;
            let mut want = Vec::new();
            for o in 0..outer {
                for &i in &idx {
                    let row = if i < 0 { i + axis as i32 } else { i } as usize;
                    want.extend(&x[(o * axis + row) * inner..(o * axis + row + 1) * inner]);
                }
            }
            bench.check(format!("[{outer},{axis},{inner}]"), command, &yb, Elem::F32, want, 0.0);
        }
        let (x, xb) = bench.floats(6);
        let (ib, yb) = (bench.words(&[99, -99i32 as u32, 1]), bench.out(6));
        let command = gather(bench.gpu, &xb, &ib, &yb, [1, 3, 2], 3)?;
        bench.check("out of range", command, &yb, Elem::F32, vec![x[4], x[5], x[0], x[1], x[2], x[3]], 0.0);
        let halves: Vec<half::f16> = (0..33).map(|_| half::f16::from_f32(bench.rng.float(-9.0, 9.0))).collect();
        let mut words: Vec<u16> = halves.iter().map(|h| h.to_bits()).collect();
        words.push(0);
        let xb = bench.words(bytemuck::cast_slice(&words));
        let (ib, yb) = (bench.words(&[10, 0, 5]), bench.out(9));
        let command = gather_f16(bench.gpu, &xb, &ib, &yb, [11, 3], 3)?;
        let want = [10, 0, 5].iter().flat_map(|&r| halves[r * 3..r * 3 + 3].iter().map(|h| h.to_f64())).collect();
        bench.check("packed f16", command, &yb, Elem::F32, want, 0.0);
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        assert!(gather(gpu, &b, &b, &b, [1, 17, 1], 4).is_err());
        assert!(gather(gpu, &b, &b, &b, [1, 0, 1], 4).is_err());
        assert!(gather(gpu, &b, &b, &b, [u32::MAX, 2, 2], 4).is_err());
        assert!(gather(gpu, &b, &b, &b, [1, 16, 1], 16).is_ok());
    }
}
