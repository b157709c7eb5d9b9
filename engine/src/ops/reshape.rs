//! Reshape, Flatten, Squeeze, Unsqueeze: the same elements under another shape, a view wherever shapes are known.

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::util;

/// Reshape and its kin.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Reshape", opsets: (5, NEWEST), read },
    OpDef { domain: "", name: "Flatten", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "Squeeze", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "Unsqueeze", opsets: (1, NEWEST), read },
];

#[derive(Debug)]
enum Reshape {
    To {
        allow_zero: bool,
    },
    Flatten {
        axis: i64,
    },
    /// Axes from the attribute (before opset 13) or from input 1.
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Unsqueeze {
        axes: Option<Vec<i64>>,
    },
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axes =
        |a: &Attrs<'_>| Ok::<_, OpError>(if a.opset() < 13 { a.ints("axes")?.map(<[i64]>::to_vec) } else { None });
    Ok(Box::new(match a.op_type() {
        "Reshape" => Reshape::To { allow_zero: a.flag("allowzero", false)? },
        "Flatten" => Reshape::Flatten { axis: a.int_or("axis", 1)? },
        "Squeeze" => Reshape::Squeeze { axes: axes(a)? },
        _ => Reshape::Unsqueeze { axes: axes(a)? },
    }))
}

impl Reshape {
    /// The output's shape; `None` if it depends on a value that is not known yet.
    fn shape(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<usize>>, OpError> {
        let x = inputs.shape(0)?.unwrap_or(&[]);
        let wait = inputs.is_dynamic(1);
        Ok(Some(match self {
            Reshape::To { .. } | Reshape::Squeeze { .. } | Reshape::Unsqueeze { .. } if wait => return Ok(None),
            Reshape::To { allow_zero } => {
                let want = inputs.ints(1)?.ok_or_else(|| OpError::invalid("the shape input is missing"))?;
                resolve(x, &want, *allow_zero)?
            }
            Reshape::Flatten { axis } => {
                let axis = if *axis == x.len() as i64 { x.len() } else { util::axis(*axis, x.len())? };
                vec![x[..axis].iter().product(), x[axis..].iter().product()]
            }
            Reshape::Squeeze { axes } => {
                let axes = match (axes, inputs.ints(1)?) {
                    (Some(a), _) => util::axes(a, x.len())?,
                    (None, Some(a)) => util::axes(&a, x.len())?,
                    (None, None) => (0..x.len()).filter(|&i| x[i] == 1).collect(),
                };
                if let Some(&bad) = axes.iter().find(|&&i| x[i] != 1) {
                    return Err(OpError::invalid(format!("axis {bad} of {x:?} is not 1, it can't be squeezed")));
                }
                (0..x.len()).filter(|i| !axes.contains(i)).map(|i| x[i]).collect()
            }
            Reshape::Unsqueeze { axes } => {
                let list = match (axes, inputs.ints(1)?) {
                    (Some(a), _) => a.clone(),
                    (None, Some(a)) => a,
                    (None, None) => return Err(OpError::invalid("axes are missing")),
                };
                let rank = x.len() + list.len();
                let axes = util::axes(&list, rank)?;
                let mut rest = x.iter();
                (0..rank).map(|i| if axes.contains(&i) { 1 } else { *rest.next().unwrap_or(&1) }).collect()
            }
        }))
    }
}

/// ONNX's rules: 0 copies the input's dimension (unless `allow_zero`), one -1 takes what is left.
fn resolve(x: &[usize], want: &[i64], allow_zero: bool) -> Result<Vec<usize>, OpError> {
    let fail = || OpError::invalid(format!("shape {x:?} can't be reshaped to {want:?}"));
    let mut shape = Vec::with_capacity(want.len());
    let mut rest = None;
    for (i, &w) in want.iter().enumerate() {
        shape.push(match w {
            0 if !allow_zero => *x.get(i).ok_or_else(fail)?,
            -1 if rest.is_none() => {
                rest = Some(i);
                1
            }
            w => usize::try_from(w).map_err(|_| fail())?,
        });
    }
    let have = checked_numel(x).ok_or_else(fail)?;
    let known = checked_numel(&shape).ok_or_else(fail)?;
    if let Some(i) = rest {
        shape[i] = match known {
            0 if have == 0 => 0,
            0 => return Err(fail()),
            known => have / known,
        };
    }
    if checked_numel(&shape) == Some(have) { Ok(shape) } else { Err(fail()) }
}

impl Operator for Reshape {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        Ok(vec![match self.shape(inputs)? {
            Some(shape) => Fact::new(dtype, shape),
            None => Fact::dynamic(dtype),
        }])
    }

    fn view_of(&self) -> Option<usize> {
        Some(0)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        cx.out_bytes(0)?.copy_from_slice(x.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_rules() {
        assert_eq!(resolve(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(resolve(&[2, 0], &[0, 0], false).unwrap(), [2, 0]);
        assert_eq!(resolve(&[0, 3], &[3, 0], true).unwrap(), [3, 0]);
        assert!(resolve(&[2, 3], &[-1, -1], false).is_err());
        assert!(resolve(&[2, 3], &[4, -1], false).is_err());
        assert!(resolve(&[2, 3], &[i64::MAX, 2], false).is_err());
        assert!(resolve(&[2, 3], &[-7], false).is_err());
    }
}
