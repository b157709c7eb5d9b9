//! Det and Inverse: square matrices by elimination.

use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Determinants, and inverses.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Det", opsets: (11, NEWEST), read: |_| Ok(Box::new(Det)) },
    OpDef { domain: "com.microsoft", name: "Inverse", opsets: (1, 1), read: |_| Ok(Box::new(Inverse)) },
];

#[derive(Debug)]
struct Det;

#[derive(Debug)]
struct Inverse;

/// The input, its batch dimensions and the size of its matrices.
fn square<'a>(inputs: &Inputs<'a>) -> Result<(&'a Fact, &'a [usize], usize), OpError> {
    floats::expect_float(inputs, 0)?;
    let x = inputs.need(0)?;
    match x.shape.as_deref().unwrap_or(&[]) {
        [outer @ .., a, b] if a == b => Ok((x, outer, *a)),
        other => Err(OpError::invalid(format!("an input of {other:?} has no square matrices"))),
    }
}

/// The determinant of an n x n matrix, by elimination with the largest pivot; the matrix is used up.
fn determinant(m: &mut [f64], n: usize) -> f64 {
    let mut det = 1.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| m[a * n + k].abs().total_cmp(&m[b * n + k].abs())).unwrap_or(k);
        if pivot != k {
            (k..n).for_each(|j| m.swap(pivot * n + j, k * n + j));
            det = -det;
        }
        let p = m[k * n + k];
        det *= p;
        if p == 0.0 {
            return 0.0;
        }
        for i in k + 1..n {
            let f = m[i * n + k] / p;
            (k..n).for_each(|j| m[i * n + j] -= f * m[k * n + j]);
        }
    }
    det
}

impl Operator for Det {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, outer, _) = square(inputs)?;
        Ok(vec![Fact::new(x.dtype, outer.to_vec())])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shape = inputs.get(0).and_then(|f| f.shape.as_deref()).unwrap_or(&[]);
        let n = shape.last().copied().unwrap_or(0) as u64;
        let count = shape.iter().map(|&d| d as u64).fold(1, u64::saturating_mul);
        Cost { flops: count.saturating_mul(2 * n) / 3 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n = cx.input(0)?.shape.last().copied().unwrap_or(0);
        let count: usize = cx.out_shape(0).iter().product();
        let mut x = floats::read(cx, 0)?;
        let mut out = vec![1.0; count];
        if n > 0 {
            x.chunks_exact_mut(n * n).zip(&mut out).for_each(|(m, d)| *d = determinant(m, n));
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "lu f64".into()
    }
}

/// The inverse of an n x n matrix, by elimination with the largest pivot; the matrix is used up.
fn inverse(m: &mut [f64], n: usize) -> Result<Vec<f64>, OpError> {
    let mut out: Vec<f64> = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| m[a * n + k].abs().total_cmp(&m[b * n + k].abs())).unwrap_or(k);
        let p = m[pivot * n + k];
        if p == 0.0 {
            return Err(OpError::invalid("a matrix is singular"));
        }
        for j in 0..n {
            m.swap(pivot * n + j, k * n + j);
            out.swap(pivot * n + j, k * n + j);
            (m[k * n + j], out[k * n + j]) = (m[k * n + j] / p, out[k * n + j] / p);
        }
        for i in (0..n).filter(|&i| i != k) {
            let f = m[i * n + k];
            for j in 0..n {
                m[i * n + j] -= f * m[k * n + j];
                out[i * n + j] -= f * out[k * n + j];
            }
        }
    }
    Ok(out)
}

impl Operator for Inverse {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, _, _) = square(inputs)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let n = square(inputs).map_or(0, |s| s.2) as u64;
        Cost { flops: (outputs[0].numel().unwrap_or(0) as u64).saturating_mul(4 * n) }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n = cx.input(0)?.shape.last().copied().unwrap_or(0);
        let mut x = floats::read(cx, 0)?;
        let mut out = Vec::with_capacity(x.len());
        if n > 0 {
            for m in x.chunks_exact_mut(n * n) {
                out.extend(inverse(m, n)?);
            }
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "gauss-jordan f64".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_and_singular_matrices() {
        let m = [0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 4.0];
        let inv = inverse(&mut m.clone(), 3).unwrap();
        for i in 0..9 {
            let got: f64 = (0..3).map(|k| m[i / 3 * 3 + k] * inv[k * 3 + i % 3]).sum();
            assert!((got - if i / 3 == i % 3 { 1.0 } else { 0.0 }).abs() < 1e-12, "{i}: {got}");
        }
        assert!(inverse(&mut [1.0, 2.0, 2.0, 4.0], 2).is_err());
    }

    #[test]
    fn known_determinants() {
        for (mut m, n, want) in [
            (vec![0.0, 1.0, 1.0, 0.0], 2, -1.0),
            (vec![1.0, 2.0, 2.0, 4.0], 2, 0.0),
            (vec![2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 4.0], 3, 18.0),
            (vec![], 0, 1.0),
        ] {
            assert!((determinant(&mut m, n) - want).abs() < 1e-12, "{want}");
        }
        assert!(determinant(&mut [f64::NAN], 1).is_nan());
    }
}
