//! Regions of interest: RoiAlign, MaxRoiPool.

use cpu_kernels::sampling::{RoiAlign, max_roi_pool, roi_align};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats::{self, by_float};

/// Pooling of regions.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "RoiAlign", opsets: (10, NEWEST), read: read_align },
    OpDef { domain: "", name: "MaxRoiPool", opsets: (1, NEWEST), read: read_max },
];

#[derive(Debug)]
struct Align(RoiAlign);

fn read_align(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let side = |name: &str, default: i64| -> Result<usize, OpError> {
        let v = a.int_or(name, default)?;
        usize::try_from(v).map_err(|_| OpError::invalid(format!("{name} = {v}")))
    };
    let max = match a.string_or("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    let default = if a.opset() < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match a.string_or("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(OpError::unsupported(format!("coordinate_transformation_mode = \"{other}\""))),
    };
    let how = RoiAlign {
        out: [side("output_height", 1)?, side("output_width", 1)?],
        max,
        sampling: side("sampling_ratio", 0)?,
        scale: f64::from(a.float_or("spatial_scale", 1.0)?),
        half_pixel,
    };
    Ok(Box::new(Align(how)))
}

impl Operator for Align {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shapes = [inputs.shape(0)?, inputs.shape(1)?, inputs.shape(2)?].map(|s| s.unwrap_or(&[]));
        let (&[_, c, _, _], &[n, 4], &[m]) = (shapes[0], shapes[1], shapes[2]) else {
            return Err(OpError::invalid(format!("an input, regions and indices of {shapes:?}")));
        };
        if n != m {
            return Err(OpError::invalid(format!("{m} indices for {n} regions")));
        }
        Ok(vec![Fact::new(x.dtype, vec![n, c, self.0.out[0], self.0.out[1]])])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, rois, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        let batch = cx.input(2)?.to_i64()?;
        let &[n, c, h, w] = x.shape else { return Err(OpError::invalid("the input must have 4 dimensions")) };
        by_float!(x.dtype, "RoiAlign", T => {
            Ok(roi_align::<T>(pool, self.0, [n, c, h, w], x.slice()?, rois.slice()?, &batch, cx.out(0)?)?)
        })
    }

    fn kernel(&self) -> String {
        "roi align".into()
    }
}

#[derive(Debug)]
struct MaxPool {
    out: [usize; 2],
    scale: f32,
}

fn read_max(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let shape = a.ints("pooled_shape")?.ok_or_else(|| OpError::invalid("attribute pooled_shape is missing"))?;
    let out = floats::sizes_or(Some(shape), 2, 1, 1, "pooled_shape")?;
    Ok(Box::new(MaxPool { out: [out[0], out[1]], scale: a.float_or("spatial_scale", 1.0)? }))
}

impl Operator for MaxPool {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, rois) = (inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]));
        let (&[_, c, _, _], &[n, 5]) = (x, rois) else {
            return Err(OpError::invalid(format!("an input of {x:?}, regions of {rois:?}")));
        };
        Ok(vec![Fact::new(inputs.need(0)?.dtype, vec![n, c, self.out[0], self.out[1]])])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, rois, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        let &[n, c, h, w] = x.shape else { return Err(OpError::invalid("the input must have 4 dimensions")) };
        let scale = f64::from(self.scale);
        by_float!(x.dtype, "MaxRoiPool", T => {
            Ok(max_roi_pool::<T>(pool, self.out, scale, [n, c, h, w], x.slice()?, rois.slice()?, cx.out(0)?)?)
        })
    }

    fn kernel(&self) -> String {
        "roi pool".into()
    }
}
