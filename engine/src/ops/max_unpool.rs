//! MaxUnpool: the elements that a MaxPool chose, put back where they were.

use cpu_kernels::movement;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::{floats, util};

/// The inverse of MaxPool.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "MaxUnpool", opsets: (9, NEWEST), read }];

#[derive(Debug)]
struct MaxUnpool {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let kernel = a.ints("kernel_shape")?.ok_or_else(|| OpError::invalid("attribute kernel_shape is missing"))?;
    let d = kernel.len();
    Ok(Box::new(MaxUnpool {
        kernel: floats::sizes_or(Some(kernel), d, 1, 1, "kernel_shape")?,
        strides: floats::sizes_or(a.ints("strides")?, d, 1, 1, "strides")?,
        pads: floats::sizes_or(a.ints("pads")?, 2 * d, 0, 0, "pads")?,
    }))
}

impl MaxUnpool {
    /// The shape that the pooling had as its input, which the indices count in.
    fn natural(&self, x: &[usize]) -> Result<Vec<usize>, OpError> {
        let fail = || OpError::invalid(format!("an input of {x:?} for a kernel of {:?}", self.kernel));
        let (n, space) = x.split_at_checked(2).filter(|(_, s)| s.len() == self.kernel.len()).ok_or_else(fail)?;
        let side = |(i, &len): (usize, &usize)| {
            let before = self.pads[i].checked_add(self.pads[i + space.len()])?;
            len.checked_sub(1)?.checked_mul(self.strides[i])?.checked_add(self.kernel[i])?.checked_sub(before)
        };
        let sides: Option<Vec<usize>> = space.iter().enumerate().map(side).collect();
        Ok([n, &sides.ok_or_else(fail)?].concat())
    }
}

impl Operator for MaxUnpool {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if inputs.shape(1)? != x.shape.as_deref() {
            return Err(OpError::invalid("the indices must have the input's shape"));
        }
        if inputs.is_dynamic(2) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let natural = self.natural(x.shape.as_deref().unwrap_or(&[]))?;
        let Some(want) = inputs.ints(2)? else { return Ok(vec![Fact::new(x.dtype, natural)]) };
        let want = floats::sizes(&want, "a size")?;
        if want.len() != natural.len() || want.iter().zip(&natural).any(|(w, n)| w < n) {
            return Err(OpError::invalid(format!("an output_shape of {want:?}, below {natural:?}")));
        }
        Ok(vec![Fact::new(x.dtype, want)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, at, to, pool) = (cx.input(0)?, cx.input(1)?.to_i64()?, cx.out_shape(0), cx.pool());
        let elem = util::elem_bytes(x.dtype)?;
        let natural = self.natural(x.shape)?;
        let total = checked_numel(&natural).ok_or_else(|| OpError::invalid("the size overflows"))?;
        let place = |out: &mut [u8]| -> Result<(), OpError> {
            out.fill(0);
            for (v, &i) in x.data.chunks_exact(elem).zip(&at) {
                let i = usize::try_from(i)
                    .ok()
                    .filter(|&i| i < total)
                    .ok_or_else(|| OpError::invalid(format!("index {i} is outside {total} elements")))?;
                out[i * elem..(i + 1) * elem].copy_from_slice(v);
            }
            Ok(())
        };
        if to == natural {
            return place(cx.out_bytes(0)?);
        }
        let mut small = vec![0u8; cx.check_bytes(total.checked_mul(elem))?];
        place(&mut small)?;
        let pads: Vec<(i64, i64)> = natural.iter().zip(&to).map(|(n, t)| (0, (t - n) as i64)).collect();
        let zero = vec![0u8; elem];
        movement::pad(pool, elem, movement::PadMode::Constant, &natural, &pads, &zero, &small, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "scatter".into()
    }
}
