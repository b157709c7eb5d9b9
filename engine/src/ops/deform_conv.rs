//! DeformConv.

use cpu_kernels::sampling::{Deform, deform_conv};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats::{self, by_float};

/// Deformable convolution.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "DeformConv", opsets: (19, NEWEST), read }];

#[derive(Debug)]
struct DeformConv {
    kernel: Option<Vec<usize>>,
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
    groups: usize,
    offset_groups: usize,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let two = |name: &str| -> Result<[usize; 2], OpError> {
        let list = a.ints(name)?;
        if list.is_some_and(|l| l.len() != 2) {
            return Err(OpError::unsupported(format!("{name} of other than two dimensions")));
        }
        floats::sizes_or(list, 2, 1, 1, name).map(|v| [v[0], v[1]])
    };
    let count = |name: &str| -> Result<usize, OpError> {
        let v = a.int_or(name, 1)?;
        usize::try_from(v).ok().filter(|&v| v > 0).ok_or_else(|| OpError::invalid(format!("{name} = {v}")))
    };
    let pads = floats::sizes_or(a.ints("pads")?, 4, 0, 0, "pads")?;
    Ok(Box::new(DeformConv {
        kernel: a.ints("kernel_shape")?.map(|k| floats::sizes_or(Some(k), 2, 1, 1, "kernel_shape")).transpose()?,
        strides: two("strides")?,
        dilations: two("dilations")?,
        pads: [pads[0], pads[1], pads[2], pads[3]],
        groups: count("group")?,
        offset_groups: count("offset_group")?,
    }))
}

impl DeformConv {
    fn sizes(&self, x: &[usize], weights: &[usize], offsets: &[usize]) -> Result<Deform, OpError> {
        let (&[n, c, h, w], &[channels, _, kh, kw], &[_, _, oh, ow]) = (x, weights, offsets) else {
            return Err(OpError::unsupported(format!("an input of {x:?}: only two spatial dimensions are handled")));
        };
        if self.kernel.as_ref().is_some_and(|k| k[..] != [kh, kw]) {
            return Err(OpError::invalid(format!("kernel_shape differs from weights of {weights:?}")));
        }
        let side = |i: usize, len: usize, kernel: usize| -> Option<usize> {
            let reach = kernel.checked_sub(1)?.checked_mul(self.dilations[i])?.checked_add(1)?;
            let padded = len.checked_add(self.pads[i])?.checked_add(self.pads[i + 2])?;
            Some(padded.checked_sub(reach)? / self.strides[i] + 1)
        };
        if [side(0, h, kh), side(1, w, kw)] != [Some(oh), Some(ow)] {
            return Err(OpError::invalid(format!(
                "offsets of {offsets:?} for an input of {x:?}, weights of {weights:?}"
            )));
        }
        Ok(Deform {
            input: [n, c, h, w],
            channels,
            out: [oh, ow],
            kernel: [kh, kw],
            strides: self.strides,
            dilations: self.dilations,
            pads: [self.pads[0], self.pads[1]],
            groups: self.groups,
            offset_groups: self.offset_groups,
        })
    }
}

impl Operator for DeformConv {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shapes = [inputs.shape(0)?, inputs.shape(1)?, inputs.shape(2)?].map(|s| s.unwrap_or(&[]));
        let d = self.sizes(shapes[0], shapes[1], shapes[2])?;
        Ok(vec![Fact::new(inputs.need(0)?.dtype, vec![d.input[0], d.channels, d.out[0], d.out[1]])])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let each: usize = inputs.get(1).and_then(|f| f.shape.as_ref()).map_or(0, |w| w.iter().skip(1).product());
        Cost { flops: (2 * each as u64).saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, weights, offsets, pool) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.pool());
        let d = self.sizes(x.shape, weights.shape, offsets.shape)?;
        // One picture's group under the kernel, spread out.
        let spread = [d.input[1] / d.groups, d.kernel[0], d.kernel[1], d.out[0], d.out[1], 8];
        cx.check_bytes(crate::op::checked_numel(&spread))?;
        by_float!(x.dtype, "DeformConv", T => {
            let (bias, mask) = (cx.get(3).map(|b| b.slice()).transpose()?, cx.get(4).map(|m| m.slice()).transpose()?);
            Ok(deform_conv::<T>(pool, d, x.slice()?, weights.slice()?, offsets.slice()?, bias, mask, cx.out(0)?)?)
        })
    }

    fn kernel(&self) -> String {
        "deformable conv".into()
    }
}
