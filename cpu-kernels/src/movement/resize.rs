//! Resizing: nearest neighbour for any type, linear for f32, over any number of dimensions.

use super::by_size;
use super::mapped::mapped;
use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{expect_bytes, numel};
use crate::split::SharedMut;

/// How an output index becomes a coordinate of the input: ONNX's `coordinate_transformation_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CoordinateMode {
    /// (i + 0.5) / scale - 0.5.
    HalfPixel,
    /// As `HalfPixel`, about the centre where the output size was rounded.
    HalfPixelSymmetric,
    /// As `HalfPixel`, but 0 for an output of one element.
    PytorchHalfPixel,
    /// i * (n_in - 1) / (n_out - 1).
    AlignCorners,
    /// i / scale.
    Asymmetric,
}

/// Which neighbour is nearest: ONNX's `nearest_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NearestMode {
    /// Halves down.
    RoundPreferFloor,
    /// Halves up.
    RoundPreferCeil,
    /// The one before.
    Floor,
    /// The one after.
    Ceil,
}

/// One dimension of a resize.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Resize {
    /// Elements of the input.
    pub from: usize,
    /// Elements of the output.
    pub to: usize,
    /// The scale as given; `to / from` if a size was given instead.
    pub scale: f32,
}

impl Resize {
    /// The dimension scaled: ONNX's floor(from * scale) elements.
    pub fn by_scale(from: usize, scale: f32) -> Result<Self, KernelError> {
        let to = (from as f64 * f64::from(scale)).floor();
        if !(to >= 0.0 && to <= isize::MAX as f64) || !(scale > 0.0) {
            return Err(KernelError::Setting(format!("a scale of {scale} for {from} elements")));
        }
        Ok(Resize { from, to: to as usize, scale })
    }

    /// The dimension brought to a size.
    pub fn by_size(from: usize, to: usize) -> Self {
        Resize { from, to, scale: (to as f64 / from as f64) as f32 }
    }

    /// Where output element `i` lies among the input's.
    fn coordinate(self, mode: CoordinateMode, i: usize) -> f32 {
        let (i, from, to) = (i as f32, self.from as f32, self.to as f32);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match mode {
            // The identity must not suffer from rounding.
            _ if self.scale == 1.0 && self.from == self.to => i,
            CoordinateMode::HalfPixel => half_pixel,
            CoordinateMode::PytorchHalfPixel => {
                if self.to > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            CoordinateMode::HalfPixelSymmetric => {
                let adjustment = to / (self.scale * from);
                from / 2.0 * (1.0 - adjustment) + half_pixel
            }
            CoordinateMode::AlignCorners => {
                if self.to > 1 {
                    i * (from - 1.0) / (to - 1.0)
                } else {
                    0.0
                }
            }
            CoordinateMode::Asymmetric => i / self.scale,
        }
    }

    fn check(dims: &[Resize]) -> Result<(Vec<usize>, Vec<usize>), KernelError> {
        if let Some(d) = dims.iter().find(|d| d.to > 0 && (d.from == 0 || !(d.scale > 0.0))) {
            return Err(KernelError::Setting(format!(
                "{} elements do not resize to {} (scale {})",
                d.from, d.to, d.scale
            )));
        }
        Ok((dims.iter().map(|d| d.from).collect(), dims.iter().map(|d| d.to).collect()))
    }
}

/// Each output element is the nearest input element.
pub fn resize_nearest(
    pool: &Pool,
    elem: usize,
    dims: &[Resize],
    mode: CoordinateMode,
    nearest: NearestMode,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (shape, out) = Resize::check(dims)?;
    expect_bytes("the input", x, &shape, elem)?;
    expect_bytes("the output", y, &out, elem)?;
    if y.is_empty() {
        return Ok(());
    }
    let index = |d: Resize, i: usize| {
        let c = d.coordinate(mode, i);
        let i = match nearest {
            NearestMode::RoundPreferFloor => (c - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (c + 0.5).floor(),
            NearestMode::Floor => c.floor(),
            NearestMode::Ceil => c.ceil(),
        };
        (i as i64).clamp(0, d.from as i64 - 1)
    };
    let maps: Vec<Vec<i64>> = dims.iter().map(|&d| (0..d.to).map(|i| index(d, i)).collect()).collect();
    by_size!(elem, mapped(pool, &shape, &maps, &[], x, y))
}

/// Linear interpolation along every dimension whose size or scale changes, one after the other.
pub fn resize_linear(
    pool: &Pool,
    dims: &[Resize],
    mode: CoordinateMode,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let (mut shape, out) = Resize::check(dims)?;
    expect_len("the input", x.len(), numel(&shape)?)?;
    expect_len("the output", y.len(), numel(&out)?)?;
    if y.is_empty() {
        return Ok(());
    }
    let mut data: Option<Vec<f32>> = None;
    for (axis, &d) in dims.iter().enumerate().filter(|(_, d)| d.from != d.to || d.scale != 1.0) {
        let taps: Vec<(usize, usize, f32)> = (0..d.to)
            .map(|i| {
                let c = d.coordinate(mode, i).clamp(0.0, (d.from - 1) as f32);
                let low = c.floor() as usize;
                (low, (low + 1).min(d.from - 1), c - c.floor())
            })
            .collect();
        let source = data.as_deref().unwrap_or(x);
        let outer = numel(&shape[..axis])?;
        let inner = numel(&shape[axis + 1..])?;
        shape[axis] = d.to;
        let mut next = vec![0f32; numel(&shape)?];
        let to = SharedMut::new(&mut next);
        pool.for_ranges(outer * d.to, ((8 << 10) / inner).max(1), &|range| {
            for row in range {
                let (o, (a, b, t)) = (row / d.to, taps[row % d.to]);
                // SAFETY: each row is a part of its own.
                let out = unsafe { to.slice(row * inner..(row + 1) * inner) };
                let line = |i: usize| &source[(o * d.from + i) * inner..][..inner];
                for ((out, &a), &b) in out.iter_mut().zip(line(a)).zip(line(b)) {
                    *out = a * (1.0 - t) + b * t;
                }
            }
        });
        data = Some(next);
    }
    y.copy_from_slice(data.as_deref().unwrap_or(x));
    Ok(())
}
