//! GridSample, AffineGrid.

use cpu_kernels::sampling::{Grid, Interpolation, Outside, grid_sample};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats::{self, by_float};

/// Sampling by grids.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "GridSample", opsets: (16, NEWEST), read },
    OpDef { domain: "", name: "AffineGrid", opsets: (20, NEWEST), read: read_affine },
];

#[derive(Debug)]
struct GridSample(Grid);

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let interpolation = match a.string_or("mode", "linear")? {
        "linear" | "bilinear" => Interpolation::Linear,
        "nearest" => Interpolation::Nearest,
        "cubic" | "bicubic" => Interpolation::Cubic,
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    let outside = match a.string_or("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return Err(OpError::unsupported(format!("padding_mode = \"{other}\""))),
    };
    Ok(Box::new(GridSample(Grid { interpolation, outside, align_corners: a.flag("align_corners", false)? })))
}

impl Operator for GridSample {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, grid) = (inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]));
        match (x, grid) {
            ([n, c, space @ ..], [gn, places @ .., d])
                if n == gn && *d == space.len() && places.len() == *d && *d > 0 =>
            {
                let out = [&[*n, *c], places].concat();
                Ok(vec![Fact::new(inputs.need(0)?.dtype, out)])
            }
            _ => Err(OpError::invalid(format!("a grid of {grid:?} on an input of {x:?}"))),
        }
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let taps: u64 = match self.0.interpolation {
            Interpolation::Nearest => 0,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
        };
        let d = inputs.get(0).and_then(|f| f.shape.as_ref()).map_or(0, |s| s.len().saturating_sub(2));
        let each = 2 * taps.saturating_pow(d as u32);
        Cost { flops: each.saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, grid, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        let (&[n, c, ref space @ ..], [_, places @ .., _]) = (x.shape, grid.shape) else {
            return Err(OpError::invalid("the input and the grid need channels and space"));
        };
        let places = places.iter().product();
        by_float!(x.dtype, "GridSample", T => {
            Ok(grid_sample::<T>(pool, self.0, [n, c], space, places, x.slice()?, grid.slice()?, cx.out(0)?)?)
        })
    }

    fn kernel(&self) -> String {
        format!("grid sample, {:?}", self.0.interpolation).to_lowercase()
    }
}

#[derive(Debug)]
struct AffineGrid {
    align_corners: bool,
}

fn read_affine(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(AffineGrid { align_corners: a.flag("align_corners", false)? }))
}

impl Operator for AffineGrid {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let theta = inputs.need(0)?;
        floats::expect_float(inputs, 0)?;
        let Some(size) = inputs.ints(1)? else { return Ok(vec![Fact::dynamic(theta.dtype)]) };
        let shape = theta.shape.as_deref().unwrap_or(&[]);
        let size = floats::sizes(&size, "a size")?;
        match (&size[..], shape) {
            ([n, _, space @ ..], &[tn, rows, columns])
                if *n == tn && (2..=3).contains(&space.len()) && rows == space.len() && columns == rows + 1 =>
            {
                Ok(vec![Fact::new(theta.dtype, [&[*n], space, &[rows]].concat())])
            }
            _ => Err(OpError::invalid(format!("transforms of {shape:?} for a size of {size:?}"))),
        }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let theta = floats::read(cx, 0)?;
        let shape = cx.out_shape(0);
        let (&[n, ref space @ .., d], false) = (&shape[..], shape.len() < 2) else {
            return Err(OpError::invalid("the grid needs space"));
        };
        let places: usize = space.iter().product();
        let coordinate = |i: usize, len: usize| match len {
            _ if !self.align_corners => (2.0 * i as f64 + 1.0) / len as f64 - 1.0,
            1 => 0.0,
            _ => 2.0 * i as f64 / (len as f64 - 1.0) - 1.0,
        };
        let mut out = Vec::with_capacity(n * places * d);
        // The last dimension's coordinate comes first, and a 1 last.
        let mut at = vec![1.0; d + 1];
        for transform in theta.chunks_exact(d * (d + 1)).take(n) {
            for place in 0..places {
                let mut rest = place;
                for (k, &len) in space.iter().rev().enumerate() {
                    at[k] = coordinate(rest % len, len);
                    rest /= len;
                }
                out.extend(
                    transform.chunks_exact(d + 1).map(|row| row.iter().zip(&at).map(|(a, b)| a * b).sum::<f64>()),
                );
            }
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "affine grid".into()
    }
}
