//! Sums, means, maxima and the like along an axis.

use crate::kernels::{Elem, Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("reduce");

/// How many become one.
#[allow(missing_docs, reason = "the names are ONNX's operators")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReduceOp {
    Sum = 0,
    Mean = 1,
    Max = 2,
    Min = 3,
    Prod = 4,
    L1 = 5,
    L2 = 6,
    SumSquare = 7,
    LogSum = 8,
    LogSumExp = 9,
}

/// Reduces the middle of \[outer, n, inner\]; y is \[outer, inner\]. `n` must not be 0. Integers know no L2, LogSum and LogSumExp;
/// bool is reduced as i32 by Max and Min.
pub fn reduce(
    gpu: &Gpu,
    op: ReduceOp,
    elem: Elem,
    x: &Binding,
    y: &Binding,
    [outer, n, inner]: [u32; 3],
) -> Result<Command, GpuError> {
    use ReduceOp::*;
    let integer = elem != Elem::F32;
    if integer && matches!(op, L2 | LogSum | LogSumExp) {
        return Err(GpuError::argument("reduce", format!("{op:?} is not defined over integers")));
    }
    let outputs = count("reduce", &[outer, inner])?;
    need("reduce", "x", x, count("reduce", &[outer, n, inner])?)?;
    need("reduce", "y", y, outputs)?;
    if outputs == 0 {
        return Ok(Command::nothing("reduce"));
    }
    if n == 0 {
        return Err(GpuError::argument("reduce", "there is nothing to reduce"));
    }
    // A workgroup reads a dense line together; threads side by side read lines that lie side by side.
    let grouped = n >= 32 && (inner == 1 || outputs < 512);
    gpu.call(&KERNEL)
        .entry(if grouped { "group" } else { "line" })
        .constant("OP", op as u8)
        .constant("INTEGER", u8::from(integer))
        .bind("x", x)
        .bind("y", y)
        .param("outputs", outputs)
        .param("n", n)
        .param("inner", inner)
        .run(if grouped { Groups::Line(outputs.into()) } else { Groups::Threads(outputs.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Bench;

    fn oracle(op: ReduceOp, v: &[f64]) -> f64 {
        use ReduceOp::*;
        let sum = |f: fn(f64) -> f64| v.iter().map(|&x| f(x)).sum::<f64>();
        match op {
            Sum => sum(|x| x),
            Mean => sum(|x| x) / v.len() as f64,
            Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Min => v.iter().copied().fold(f64::INFINITY, f64::min),
            Prod => v.iter().product(),
            L1 => sum(f64::abs),
            L2 => sum(|x| x * x).sqrt(),
            SumSquare => sum(|x| x * x),
            LogSum => sum(|x| x).ln(),
            LogSumExp => sum(f64::exp).ln(),
        }
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use ReduceOp::*;
        let shapes = [[3usize, 257, 1], [5, 7, 11], [2, 40, 3], [1, 1, 4]];
        for (i, op) in [Sum, Mean, Max, Min, Prod, L1, L2, SumSquare, LogSum, LogSumExp].into_iter().enumerate() {
            for (j, &[outer, n, inner]) in shapes.iter().enumerate().filter(|(j, _)| i == 0 || *j == i % 2) {
                let (low, high) = if matches!(op, Prod | LogSum) { (0.9, 1.1) } else { (-2.0, 2.0) };
                let (x, xb) = bench.floats_in(outer * n * inner, low, high);
                let yb = bench.out(outer * inner);
                let command = reduce(bench.gpu, op, Elem::F32, &xb, &yb, [outer as u32, n as u32, inner as u32])?;
                let want = (0..outer * inner)
                    .map(|o| {
                        let line: Vec<f64> = (0..n).map(|i| x[(o / inner * n + i) * inner + o % inner]).collect();
                        oracle(op, &line)
                    })
                    .collect();
                bench.check(format!("{op:?} shape {j}"), command, &yb, Elem::F32, want, 1e-5);
            }
        }
        for op in [Sum, Mean, Max, Min, L1, SumSquare] {
            let (x, xb) = bench.ints(3 * 131, -50, 50);
            let yb = bench.out(3);
            let command = reduce(bench.gpu, op, Elem::I32, &xb, &yb, [3, 131, 1])?;
            let lines = x.chunks(131).map(|l| l.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
            bench.check(
                format!("{op:?} int"),
                command,
                &yb,
                Elem::I32,
                lines.map(|l| oracle(op, &l).trunc()).collect(),
                0.0,
            );
        }
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        assert!(reduce(gpu, ReduceOp::Sum, Elem::F32, &b, &b, [4, 0, 1]).is_err());
        assert!(reduce(gpu, ReduceOp::L2, Elem::I32, &b, &b, [4, 2, 1]).is_err());
        assert!(reduce(gpu, ReduceOp::Sum, Elem::F32, &b, &b, [4, 5, 1]).is_err());
        assert_eq!(reduce(gpu, ReduceOp::Sum, Elem::F32, &b, &b, [0, 5, 1]).unwrap().dispatches(), 0);
    }
}
