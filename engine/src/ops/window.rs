//! The attributes that say how windows lie on the spatial dimensions: of convolutions and pools alike.

use cpu_kernels::conv::Axis;

use crate::attrs::Attrs;
use crate::op::OpError;

/// kernel_shape, strides, dilations, pads, auto_pad.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// `None`: the weights' sizes.
    pub kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    pub auto: AutoPad,
}

/// ONNX's auto_pad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AutoPad {
    NotSet,
    SameUpper,
    SameLower,
    Valid,
}

/// No size among the attributes may be larger: sums and products of a few of them then stay far from overflow.
const LIMIT: usize = 1 << 31;

impl Window {
    /// Reads the attributes.
    pub fn read(a: &Attrs<'_>) -> Result<Window, OpError> {
        let list = |name: &str, least: i64| -> Result<Option<Vec<usize>>, OpError> {
            let Some(v) = a.ints(name)? else { return Ok(None) };
            if let Some(bad) = v.iter().find(|&&v| v < least || v >= LIMIT as i64) {
                return Err(OpError::unsupported(format!("{name} of {bad}")));
            }
            Ok(Some(v.iter().map(|&v| v as usize).collect()))
        };
        let auto = match a.string_or("auto_pad", "NOTSET")? {
            "" | "NOTSET" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(OpError::invalid(format!("auto_pad = \"{other}\""))),
        };
        Ok(Window {
            kernel: list("kernel_shape", 1)?,
            strides: list("strides", 1)?,
            dilations: list("dilations", 1)?,
            pads: list("pads", 0)?,
            auto,
        })
    }

    /// One axis for each of the `spatial` sizes, under windows of `kernel` (or of kernel_shape).
    pub fn axes(&self, spatial: &[usize], kernel: Option<&[usize]>) -> Result<Vec<Axis>, OpError> {
        let n = spatial.len();
        if !(1..=3).contains(&n) {
            return Err(OpError::unsupported(format!("{n} spatial dimensions")));
        }
        let kernel = match (kernel, &self.kernel) {
            (Some(k), Some(own)) if k != own => {
                return Err(OpError::invalid(format!("kernel_shape {own:?}, the weights are for {k:?}")));
            }
            (Some(k), _) => k,
            (None, Some(own)) => own,
            (None, None) => return Err(OpError::invalid("kernel_shape is missing")),
        };
        let check = |what: &str, have: usize, want: usize| {
            if have == want { Ok(()) } else { Err(OpError::invalid(format!("{have} {what} where there are {want}"))) }
        };
        check("kernel sizes", kernel.len(), n)?;
        if kernel.iter().chain(spatial).any(|&k| k >= LIMIT) || kernel.contains(&0) {
            return Err(OpError::unsupported(format!("windows of {kernel:?} on {spatial:?}")));
        }
        let one = vec![1; n];
        let strides = self.strides.as_deref().unwrap_or(&one);
        let dilations = self.dilations.as_deref().unwrap_or(&one);
        check("strides", strides.len(), n)?;
        check("dilations", dilations.len(), n)?;
        if let Some(p) = &self.pads {
            check("pads", p.len(), 2 * n)?;
        }
        let axis = |d: usize| {
            let bare = Axis {
                input: spatial[d],
                kernel: kernel[d],
                stride: strides[d],
                dilation: dilations[d],
                pad_begin: 0,
                pad_end: 0,
            };
            let (pad_begin, pad_end) = match self.auto {
                AutoPad::NotSet => self.pads.as_ref().map_or((0, 0), |p| (p[d], p[n + d])),
                AutoPad::Valid => (0, 0),
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let out = spatial[d].div_ceil(strides[d]);
                    let reach = out.saturating_sub(1) * strides[d] + bare.extent();
                    let total = reach.saturating_sub(spatial[d]);
                    self.split(total)
                }
            };
            if bare.extent() >= 2 * LIMIT {
                return Err(OpError::unsupported(format!("a window over {} elements", bare.extent())));
            }
            Ok(Axis { pad_begin, pad_end, ..bare })
        };
        (0..n).map(axis).collect()
    }

    /// Padding shared between the two ends: the odd one goes to the end, or to the start for SAME_LOWER.
    pub fn split(&self, total: usize) -> (usize, usize) {
        let (less, more) = (total / 2, total - total / 2);
        if self.auto == AutoPad::SameLower { (more, less) } else { (less, more) }
    }
}

/// The shape [batch, channels, spatial..] taken apart.
pub(crate) fn image(x: &[usize]) -> Result<(usize, usize, &[usize]), OpError> {
    match x {
        [n, c, spatial @ ..] if !spatial.is_empty() => Ok((*n, *c, spatial)),
        _ => Err(OpError::invalid(format!("an input of shape {x:?} has no spatial dimensions"))),
    }
}
