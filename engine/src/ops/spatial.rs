//! DepthToSpace, SpaceToDepth.

use cpu_kernels::movement::{self, SpaceOrder};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;

/// Blocks between channels and space.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "DepthToSpace", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "SpaceToDepth", opsets: (1, NEWEST), read },
];

#[derive(Debug)]
struct Blocks {
    size: usize,
    /// From depth to space, else back.
    to_space: bool,
    order: SpaceOrder,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let size = a.need_int("blocksize")?;
    let size = usize::try_from(size).ok().filter(|&s| s > 0);
    let size = size.ok_or_else(|| OpError::invalid("blocksize must be positive"))?;
    let to_space = a.op_type() == "DepthToSpace";
    let order = match a.string_or("mode", "DCR")? {
        "DCR" => SpaceOrder::DepthLast,
        "CRD" => SpaceOrder::DepthFirst,
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    Ok(Box::new(Blocks { size, to_space, order }))
}

impl Operator for Blocks {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let b = self.size;
        let fail = || OpError::invalid(format!("blocks of {b} on an input of {shape:?}"));
        let &[n, c, h, w] = shape else { return Err(fail()) };
        let square = b.checked_mul(b).ok_or_else(fail)?;
        let times = |v: usize, by: usize| v.checked_mul(by).ok_or_else(fail);
        let out = if self.to_space {
            if c % square != 0 {
                return Err(fail());
            }
            vec![n, c / square, times(h, b)?, times(w, b)?]
        } else {
            if h % b != 0 || w % b != 0 {
                return Err(fail());
            }
            vec![n, times(c, square)?, h / b, w / b]
        };
        Ok(vec![Fact::new(x.dtype, out)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let elem = util::elem_bytes(x.dtype)?;
        let &[n, c, h, w] = x.shape else { return Err(OpError::invalid("the input must have 4 dimensions")) };
        let y = cx.out_bytes(0)?;
        if self.to_space {
            movement::depth_to_space(pool, elem, [n, c, h, w], self.size, self.order, x.data, y)?;
        } else {
            movement::space_to_depth(pool, elem, [n, c, h, w], self.size, self.order, x.data, y)?;
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "strided copy".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let Some(&[n, c, h, w]) = b.fact(0).and_then(|f| f.shape.as_deref()) else { return Ok(false) };
        let (s, plane) = (self.size, h * w);
        let (shape, from) = match (self.to_space, self.order) {
            (true, order) => {
                let depth = c / (s * s);
                let (channel, down, across) = match order {
                    SpaceOrder::DepthLast => (plane, s * depth * plane, depth * plane),
                    SpaceOrder::DepthFirst => (s * s * plane, s * plane, plane),
                };
                ([n, depth, h, s, w, s], [c * plane, channel, w, down, 1, across])
            }
            (false, SpaceOrder::DepthLast) => ([n, s, s, c, h / s, w / s], [c * plane, w, 1, plane, s * w, s]),
            (false, SpaceOrder::DepthFirst) => ([n, c, s, s, h / s, w / s], [c * plane, plane, w, 1, s * w, s]),
        };
        crate::ops::movement_gpu::copy_as(b, &shape, &from)
    }
}
