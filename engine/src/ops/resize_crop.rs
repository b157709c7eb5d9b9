//! Resize with `tf_crop_and_resize`: a part of the input brought to a size.

use cpu_kernels::sampling::{Crop, crop_resize};

use crate::op::{Cost, Fact, Inputs, OpClass, OpError, Operator, RunCx};
use crate::ops::resize::Resize;
use crate::ops::typed::by_number;
use crate::ops::{floats, util};
use crate::tensor::constant_f32;

#[derive(Debug)]
pub(super) struct CropResize {
    /// The other settings.
    pub resize: Resize,
    /// What lies outside the input.
    pub outside: f32,
}

impl CropResize {
    fn dims(
        &self,
        x: &[usize],
        roi: &[f32],
        scales: Option<&[f32]>,
        sizes: Option<&[i64]>,
    ) -> Result<Vec<Crop>, OpError> {
        let axes = match &self.resize.axes {
            Some(list) => util::axes(list, x.len())?,
            None => (0..x.len()).collect(),
        };
        if roi.len() != 2 * axes.len() || !roi.iter().all(|v| v.is_finite()) {
            return Err(OpError::invalid(format!("roi of {roi:?} for {} axes", axes.len())));
        }
        let (starts, ends) = roi.split_at(axes.len());
        // A scale is that of the part.
        let scaled =
            |s: &[f32]| s.iter().zip(starts.iter().zip(ends)).map(|(s, (a, b))| s * (b - a)).collect::<Vec<f32>>();
        let scales = scales.filter(|s| s.len() == axes.len()).map(scaled);
        let dims = self.resize.dims(x, scales.as_deref(), sizes)?;
        let mut out: Vec<Crop> = dims.iter().map(|d| Crop { from: d.from, to: d.to, part: [0.0, 1.0] }).collect();
        for (k, axis) in axes.into_iter().enumerate() {
            out[axis].part = [f64::from(starts[k]), f64::from(ends[k])];
        }
        Ok(out)
    }
}

impl Operator for CropResize {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if (1..4).any(|i| inputs.is_dynamic(i)) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let numbers = |i: usize| match inputs.get(i).and_then(|f| f.value.as_ref()) {
            Some(t) => constant_f32(t).map(Some).ok_or_else(|| OpError::invalid(format!("input {i} must be floats"))),
            None => Ok(None),
        };
        let (roi, scales) = (numbers(1)?.unwrap_or_default(), numbers(2)?);
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let dims = self.dims(shape, &roi, scales.as_deref(), inputs.ints(3)?.as_deref())?;
        Ok(vec![Fact::new(x.dtype, dims.iter().map(|d| d.to).collect())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: if self.resize.filter.is_some() { 8 * outputs[0].numel().unwrap_or(0) as u64 } else { 0 } }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let numbers = |i: usize| -> Result<Option<Vec<f32>>, OpError> {
            if cx.get(i).is_none() {
                return Ok(None);
            }
            Ok(Some(floats::read(cx, i)?.into_iter().map(|v| v as f32).collect()))
        };
        let (roi, scales) = (numbers(1)?.unwrap_or_default(), numbers(2)?);
        let dims = self.dims(x.shape, &roi, scales.as_deref(), cx.ints(3)?.as_deref())?;
        let (r, outside) = (&self.resize, f64::from(self.outside));
        by_number!(x.dtype, "Resize", T => {
            Ok(crop_resize::<T>(pool, &dims, r.filter, r.nearest, outside, x.slice()?, cx.out(0)?)?)
        })
    }

    fn kernel(&self) -> String {
        "crop and resize".into()
    }
}
