//! ONNX Pad.

use crate::kernels::layout::{MAX_RANK, dense};
use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("pad");

/// What stands beyond the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// This word: the bits of an f32, an i32, or 0 or 1.
    Constant(u32),
    /// The elements before the edge, mirrored; the edge itself once.
    Reflect,
    /// The last element.
    Edge,
    /// The elements from the other end.
    Wrap,
}

/// Pads each dimension by `before` and `after` elements; negative amounts cut. y's shape is their sum with x's.
pub fn pad(
    gpu: &Gpu,
    mode: PadMode,
    (x, shape): (&Binding, &[u32]),
    y: &Binding,
    before: &[i32],
    after: &[i32],
) -> Result<Command, GpuError> {
    let fail = |why: String| GpuError::argument("pad", why);
    let rank = shape.len();
    if before.len() != rank || after.len() != rank || rank > MAX_RANK {
        return Err(fail(format!("{before:?} and {after:?} do not fit {shape:?}")));
    }
    let out = (0..rank)
        .map(|d| u32::try_from(i64::from(shape[d]) + i64::from(before[d]) + i64::from(after[d])).ok())
        .collect::<Option<Vec<u32>>>()
        .ok_or_else(|| fail(format!("{before:?} and {after:?} cut more than {shape:?} has")))?;
    let n = count("pad", &out)?;
    need("pad", "x", x, count("pad", shape)?)?;
    need("pad", "y", y, n)?;
    if n == 0 {
        return Ok(Command::nothing("pad"));
    }
    let (code, value) = match mode {
        PadMode::Constant(word) => (0u8, word),
        PadMode::Reflect => (1, 0),
        PadMode::Edge => (2, 0),
        PadMode::Wrap => (3, 0),
    };
    if shape.contains(&0) {
        return match mode {
            PadMode::Constant(word) => crate::kernels::fill::fill(gpu, y, n, word),
            _ => Err(fail(format!("{shape:?} has nothing to repeat"))),
        };
    }
    let strides: Vec<u32> = dense(shape).iter().map(|&s| s as u32).collect();
    let before: Vec<u32> = before.iter().map(|&b| b as u32).collect();
    gpu.call(&KERNEL)
        .constant("MODE", code)
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .param("rank", rank as u32)
        .param("value", value)
        .param("y_shape", &out[..])
        .param("x_shape", shape)
        .param("x_strides", &strides[..])
        .param("before", &before[..])
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let value = 0.25f32;
        for mode in [PadMode::Constant(value.to_bits()), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
            let (x, xb) = bench.floats(3 * 5 * 4);
            let (before, after) = ([2, 1, -1], [0, 3, 2]);
            let out = [5usize, 9, 5];
            let yb = bench.out(out.iter().product());
            let command = pad(bench.gpu, mode, (&xb, &[3, 5, 4]), &yb, &before, &after)?;
            let place = |c: usize, before: i32, n: i32| {
                let c = c as i32 - before;
                match mode {
                    PadMode::Constant(_) => (0..n).contains(&c).then_some(c as usize),
                    PadMode::Edge => Some(c.clamp(0, n - 1) as usize),
                    PadMode::Wrap => Some(c.rem_euclid(n) as usize),
                    PadMode::Reflect => {
                        let c = c.abs();
                        Some(if c >= n { 2 * (n - 1) - c } else { c } as usize)
                    }
                }
            };
            let mut want = Vec::new();
            for a in 0..out[0] {
                for b in 0..out[1] {
                    for c in 0..out[2] {
                        let at = (place(a, 2, 3), place(b, 1, 5), place(c, -1, 4));
                        want.push(match at {
                            (Some(a), Some(b), Some(c)) => x[(a * 5 + b) * 4 + c],
                            _ => f64::from(value),
                        });
                    }
                }
            }
            bench.check(format!("{mode:?}"), command, &yb, Elem::F32, want, 0.0);
        }
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 256).unwrap().whole();
        let call = |before: &[i32], after: &[i32]| pad(gpu, PadMode::Edge, (&b, &[4, 4]), &b, before, after);
        assert!(call(&[1, 1], &[1, 1]).is_ok());
        assert!(call(&[1], &[1]).is_err());
        assert!(call(&[-3, 0], &[-2, 0]).is_err());
        assert!(call(&[i32::MAX, i32::MAX], &[0, 0]).is_err());
        assert!(pad(gpu, PadMode::Edge, (&b, &[0]), &b, &[1], &[0]).is_err());
    }
}
