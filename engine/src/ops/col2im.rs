//! Col2Im: blocks put back together, adding where they overlap.

use graph::Element;

use cpu_kernels::number::Number;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::floats;
use crate::ops::typed::by_number;
use crate::tensor::Input;

/// The inverse of the unfolding of pictures.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Col2Im", opsets: (18, NEWEST), read }];

#[derive(Debug)]
struct Col2Im {
    dilations: Option<Vec<i64>>,
    pads: Option<Vec<i64>>,
    strides: Option<Vec<i64>>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let list = |name: &str| a.ints(name).map(|l| l.map(<[i64]>::to_vec));
    Ok(Box::new(Col2Im { dilations: list("dilations")?, pads: list("pads")?, strides: list("strides")? }))
}

/// One spatial dimension.
struct Side {
    image: usize,
    block: usize,
    /// Places of the block.
    steps: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

impl Col2Im {
    fn sides(&self, image: &[i64], block: &[i64]) -> Result<Vec<Side>, OpError> {
        let d = image.len();
        let image = floats::sizes(image, "a size of the image")?;
        let block = floats::sizes_or(Some(block), d, 1, 1, "block_shape")?;
        let dilations = floats::sizes_or(self.dilations.as_deref(), d, 1, 1, "dilations")?;
        let strides = floats::sizes_or(self.strides.as_deref(), d, 1, 1, "strides")?;
        let pads = floats::sizes_or(self.pads.as_deref(), 2 * d, 0, 0, "pads")?;
        let side = |i: usize| -> Option<Side> {
            let reach = (block[i] - 1).checked_mul(dilations[i])?.checked_add(1)?;
            let padded = image[i].checked_add(pads[i])?.checked_add(pads[d + i])?;
            let steps = padded.checked_sub(reach)? / strides[i] + 1;
            // Every place is then an address that doesn't overflow.
            padded.checked_add(reach)?;
            let (stride, dilation) = (strides[i], dilations[i]);
            Some(Side { image: image[i], block: block[i], steps, stride, dilation, before: pads[i] })
        };
        let fail = || OpError::invalid(format!("blocks of {block:?} on an image of {image:?}"));
        (0..d).map(side).collect::<Option<_>>().ok_or_else(fail)
    }

    /// Batch and channels, for an input that fits.
    fn outer(x: &[usize], sides: &[Side]) -> Result<[usize; 2], OpError> {
        let block = checked_numel(&sides.iter().map(|s| s.block).collect::<Vec<_>>());
        let steps = checked_numel(&sides.iter().map(|s| s.steps).collect::<Vec<_>>());
        match (x, block, steps) {
            (&[n, rows, columns], Some(block), Some(steps)) if rows % block == 0 && columns == steps => {
                Ok([n, rows / block])
            }
            _ => Err(OpError::invalid(format!("an input of {x:?} for blocks of {block:?} at {steps:?} places"))),
        }
    }

    fn add<T: Number + Element>(
        cx: &mut RunCx<'_>,
        x: &Input<'_>,
        sides: &[Side],
        [n, c]: [usize; 2],
    ) -> Result<(), OpError> {
        let (x, pool) = (x.slice::<T>()?, cx.pool());
        let plane: usize = sides.iter().map(|s| s.image).product();
        let block: usize = sides.iter().map(|s| s.block).product();
        let steps: usize = sides.iter().map(|s| s.steps).product();
        debug_assert_eq!(x.len(), n * c * block * steps);
        pool.for_chunks_mut(cx.out::<T>(0)?, plane, |at, y| {
            y.fill(T::ZERO);
            for tap in 0..block {
                let from = &x[(at * block + tap) * steps..][..steps];
                for (step, &v) in from.iter().enumerate() {
                    let (mut tap, mut step, mut to, mut size, mut inside) = (tap, step, 0, 1, true);
                    for s in sides.iter().rev() {
                        let place = step % s.steps * s.stride + tap % s.block * s.dilation;
                        let place = place.wrapping_sub(s.before);
                        inside &= place < s.image;
                        to += if inside { place * size } else { 0 };
                        size *= s.image;
                        tap /= s.block;
                        step /= s.steps;
                    }
                    if inside {
                        y[to] = y[to].add(v);
                    }
                }
            }
        });
        Ok(())
    }
}

impl Operator for Col2Im {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (Some(image), Some(block)) = (inputs.ints(1)?, inputs.ints(2)?) else {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        };
        let sides = self.sides(&image, &block)?;
        let outer = Self::outer(x.shape.as_deref().unwrap_or(&[]), &sides)?;
        Ok(vec![Fact::new(x.dtype, outer.into_iter().chain(sides.iter().map(|s| s.image)).collect())])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let sides = self.sides(&cx.input(1)?.to_i64()?, &cx.input(2)?.to_i64()?)?;
        let outer = Self::outer(x.shape, &sides)?;
        by_number!(x.dtype, "Col2Im", T => Self::add::<T>(cx, &x, &sides, outer))
    }

    fn kernel(&self) -> String {
        "col2im".into()
    }
}
