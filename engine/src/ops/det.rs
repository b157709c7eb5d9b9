//! Det: determinants of square matrices.

use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Determinants.
pub(crate) const OPS: &[OpDef] =
    &[OpDef { domain: "", name: "Det", opsets: (11, NEWEST), read: |_| Ok(Box::new(Det)) }];

#[derive(Debug)]
struct Det;

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
        floats::expect_float(inputs, 0)?;
        let x = inputs.need(0)?;
        match x.shape.as_deref().unwrap_or(&[]) {
            [outer @ .., a, b] if a == b => Ok(vec![Fact::new(x.dtype, outer.to_vec())]),
            other => Err(OpError::invalid(format!("an input of {other:?} has no square matrices"))),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
