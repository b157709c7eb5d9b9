//! Resize and Upsample: nearest, linear and cubic.

use cpu_kernels::movement::{self, CoordinateMode, Filter, FilterKernel, NearestMode, Resize as Dim};

use gpu_kernels::kernels::resize::{ResizeMode, resize};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::resize_crop::CropResize;
use crate::ops::util;

/// Resize and its forerunner.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Resize", opsets: (10, NEWEST), read },
    OpDef { domain: "", name: "Upsample", opsets: (7, 10), read },
];

#[derive(Debug)]
pub(super) struct Resize {
    /// How neighbours are weighed; `None`: the nearest alone counts.
    pub(super) filter: Option<Filter>,
    coordinates: CoordinateMode,
    pub(super) nearest: NearestMode,
    /// The attribute of Upsample-7.
    fixed: Option<Vec<f32>>,
    /// The indices of the inputs scales and sizes.
    scales: usize,
    sizes: Option<usize>,
    pub(super) axes: Option<Vec<i64>>,
    policy: Policy,
}

/// What becomes of the ratio of the sizes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let old = a.op_type() == "Upsample" || a.opset() < 11;
    let kernel = match a.string_or("mode", "nearest")? {
        "nearest" => None,
        "linear" | "bilinear" => Some(FilterKernel::Linear),
        "cubic" => Some(FilterKernel::Cubic(a.float_or("cubic_coeff_a", -0.75)?)),
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    let coordinates =
        match a.string_or("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })? {
            "half_pixel" => CoordinateMode::HalfPixel,
            "half_pixel_symmetric" => CoordinateMode::HalfPixelSymmetric,
            "pytorch_half_pixel" => CoordinateMode::PytorchHalfPixel,
            "align_corners" => CoordinateMode::AlignCorners,
            "asymmetric" => CoordinateMode::Asymmetric,
            // Places within the part that is cut out.
            "tf_crop_and_resize" if !old => CoordinateMode::AlignCorners,
            other => return Err(OpError::unsupported(format!("coordinate_transformation_mode = \"{other}\""))),
        };
    let nearest = match a.string_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })? {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        other => return Err(OpError::unsupported(format!("nearest_mode = \"{other}\""))),
    };
    let (exclude_outside, antialias) = (a.flag("exclude_outside", false)?, a.flag("antialias", false)?);
    // These matter to other modes.
    a.ignore("cubic_coeff_a");
    let cropped = a.string("coordinate_transformation_mode")? == Some("tf_crop_and_resize");
    let outside = a.float_or("extrapolation_value", 0.0)?;
    let policy = match a.string_or("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => Policy::Stretch,
        "not_larger" => Policy::NotLarger,
        "not_smaller" => Policy::NotSmaller,
        other => return Err(OpError::unsupported(format!("keep_aspect_ratio_policy = \"{other}\""))),
    };
    let resize = Resize {
        filter: kernel.map(|kernel| Filter { kernel, exclude_outside, antialias }),
        coordinates,
        nearest,
        fixed: a.floats("scales")?.map(<[f32]>::to_vec),
        scales: if old { 1 } else { 2 },
        sizes: (!old).then_some(3),
        axes: a.ints("axes")?.map(<[i64]>::to_vec),
        policy,
    };
    Ok(if cropped { Box::new(CropResize { resize, outside }) } else { Box::new(resize) })
}

impl Resize {
    /// One [`Dim`] for each dimension.
    pub(super) fn dims(&self, x: &[usize], scales: Option<&[f32]>, sizes: Option<&[i64]>) -> Result<Vec<Dim>, OpError> {
        let axes = self.axes.as_ref().map_or_else(|| Ok((0..x.len()).collect()), |a| util::axes(a, x.len()))?;
        let mut dims: Vec<Dim> = x.iter().map(|&n| Dim { from: n, to: n, scale: 1.0 }).collect();
        let count = |n: usize| {
            let why = || OpError::invalid(format!("{n} scales or sizes for {} dimensions", axes.len()));
            if n == axes.len() { Ok(()) } else { Err(why()) }
        };
        match (scales.filter(|s| !s.is_empty()), sizes.filter(|s| !s.is_empty())) {
            (Some(s), _) => {
                count(s.len())?;
                for (&axis, &scale) in axes.iter().zip(s) {
                    dims[axis] = Dim::by_scale(x[axis], scale)?;
                }
            }
            (None, Some(s)) => {
                count(s.len())?;
                let size = |&v: &i64| usize::try_from(v).map_err(|_| OpError::invalid(format!("a size of {v}")));
                let want: Vec<usize> = s.iter().map(size).collect::<Result<_, _>>()?;
                let ratios = axes.iter().zip(&want).map(|(&axis, &w)| w as f64 / x[axis].max(1) as f64);
                let scale = match self.policy {
                    Policy::Stretch => None,
                    Policy::NotLarger => Some(ratios.fold(f64::INFINITY, f64::min)),
                    Policy::NotSmaller => Some(ratios.fold(0.0, f64::max)),
                };
                for (&axis, &w) in axes.iter().zip(&want) {
                    let from = x[axis];
                    dims[axis] = match scale {
                        None => Dim::by_size(from, w),
                        // One scale for all; halves round up.
                        Some(s) => {
                            let to = (s * from as f64 + 0.5).floor();
                            if to.is_nan() || to >= isize::MAX as f64 {
                                return Err(OpError::invalid("the size overflows"));
                            }
                            Dim { from, to: to as usize, scale: s as f32 }
                        }
                    };
                }
            }
            (None, None) => return Err(OpError::invalid("neither scales nor sizes are given")),
        }
        if dims.iter().any(|d| d.from == 0 && d.to > 0) {
            return Err(OpError::invalid(format!("an empty input of {x:?} can't be resized")));
        }
        Ok(dims)
    }
}

/// How the shader finds a place: (index + a) * scale + b.
struct Places {
    scales: [f32; 2],
    a: f32,
    b: f32,
}

impl Resize {
    /// The places of the last two dimensions, if the shader finds the CPU's; the others must stay as they are.
    fn places(&self, dims: &[Dim]) -> Option<Places> {
        let [outer @ .., h, w] = dims else { return None };
        let stays = |d: &Dim| d.from == d.to && d.scale == 1.0;
        let simple = outer.iter().all(stays) && [h, w].iter().all(|d| d.from > 0 && d.to > 0);
        let (a, b) = match self.coordinates {
            CoordinateMode::HalfPixel => (0.5, -0.5),
            CoordinateMode::PytorchHalfPixel if [h, w].iter().all(|d| d.to > 1 || stays(d)) => (0.5, -0.5),
            CoordinateMode::Asymmetric => (0.0, 0.0),
            CoordinateMode::AlignCorners if [h, w].iter().all(|d| d.to > 1 && self.sized(d)) => (0.0, 0.0),
            _ => return None,
        };
        let step = |d: &Dim| match self.coordinates {
            CoordinateMode::AlignCorners => (d.from as f64 - 1.0) / (d.to as f64 - 1.0),
            _ => 1.0 / f64::from(d.scale),
        };
        let places = Places { scales: [step(h) as f32, step(w) as f32], a, b };
        // Where rounding decides between neighbours, both must round alike.
        let safe = |d: &Dim| {
            let step = step(d);
            step.log2().fract() == 0.0
                || (0..d.to).all(|i| {
                    let place = (i as f64 + f64::from(a)) * step + f64::from(b);
                    let half = matches!(self.nearest, NearestMode::RoundPreferFloor | NearestMode::RoundPreferCeil);
                    let edge = if half { place - 0.5 } else { place };
                    (edge - edge.round()).abs() > 1e-3 || place < 0.0
                })
        };
        (simple && (self.filter.is_some() || (safe(h) && safe(w)))).then_some(places)
    }

    /// True if the scale asks for just the elements there are.
    fn sized(&self, d: &Dim) -> bool {
        (d.scale * d.from as f32 - d.to as f32).abs() < 1e-3
    }
}

impl Operator for Resize {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let sizes_at = self.sizes.unwrap_or(usize::MAX);
        if self.fixed.is_none() && (inputs.is_dynamic(self.scales) || inputs.is_dynamic(sizes_at)) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let scales = match inputs.get(self.scales).and_then(|f| f.value.as_ref()) {
            Some(t) => Some(t.elements::<f32>().map_err(|e| OpError::invalid(e.to_string()))?.to_vec()),
            None => self.fixed.clone(),
        };
        let sizes = inputs.ints(sizes_at)?;
        let dims = self.dims(x.shape.as_deref().unwrap_or(&[]), scales.as_deref(), sizes.as_deref())?;
        Ok(vec![Fact::new(x.dtype, dims.iter().map(|d| d.to).collect())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: if self.filter.is_some() { 8 * outputs[0].numel().unwrap_or(0) as u64 } else { 0 } }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let scales = match cx.get(self.scales) {
            Some(t) => Some(t.f32()?.to_vec()),
            None => self.fixed.clone(),
        };
        let sizes = self.sizes.map(|i| cx.ints(i)).transpose()?.flatten();
        let dims = self.dims(x.shape, scales.as_deref(), sizes.as_deref())?;
        if let Some(filter) = self.filter {
            movement::resize_filtered(pool, &dims, self.coordinates, filter, x.f32()?, cx.out(0)?)?;
        } else {
            let elem = util::elem_bytes(x.dtype)?;
            movement::resize_nearest(pool, elem, &dims, self.coordinates, self.nearest, x.data, cx.out_bytes(0)?)?;
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let mode = match (&self.filter, self.nearest) {
            (Some(Filter { kernel: FilterKernel::Linear, exclude_outside: false, antialias: false }), _) => {
                ResizeMode::Linear
            }
            (Some(_), _) => return Ok(false),
            (None, NearestMode::RoundPreferFloor) => ResizeMode::NearestHalfDown,
            (None, NearestMode::RoundPreferCeil) => ResizeMode::NearestHalfUp,
            (None, NearestMode::Floor) => ResizeMode::NearestFloor,
            (None, NearestMode::Ceil) => ResizeMode::NearestCeil,
        };
        let x = b.input(0)?;
        let scales = match b.constant(self.scales) {
            Some(t) => Some(t.elements::<f32>().map_err(|e| OpError::invalid(e.to_string()))?.to_vec()),
            None => self.fixed.clone(),
        };
        let sizes = self.sizes.and_then(|i| b.const_ints(i));
        let dims = self.dims(&x.shape, scales.as_deref(), sizes.as_deref())?;
        let Some(p) = self.places(&dims).filter(|_| x.is_float()) else { return Ok(false) };
        let [outer @ .., h, w] = &dims[..] else { return Ok(false) };
        let planes = u32_of(outer.iter().map(|d| d.from).product())?;
        let from = (&x.binding, [planes, u32_of(h.from)?, u32_of(w.from)?]);
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(resize(&gpu, mode, from, (&y.binding, [u32_of(h.to)?, u32_of(w.to)?]), p.scales, p.a, p.b))?;
        Ok(true)
    }

    fn kernel(&self) -> String {
        if self.filter.is_some() { "resize f32".into() } else { "resize nearest".into() }
    }
}
