//! Tables for signals: HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.

use std::f64::consts::PI;

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Tables for signals.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "HannWindow", opsets: (17, NEWEST), read },
    OpDef { domain: "", name: "HammingWindow", opsets: (17, NEWEST), read },
    OpDef { domain: "", name: "BlackmanWindow", opsets: (17, NEWEST), read },
    OpDef { domain: "", name: "MelWeightMatrix", opsets: (17, NEWEST), read: read_mel },
];

/// The attribute output_datatype.
fn datatype(a: &Attrs<'_>) -> Result<DType, OpError> {
    let code = a.int_or("output_datatype", 1)?;
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx).filter(|d| d.bits().is_some_and(|b| b >= 8));
    dtype.ok_or_else(|| OpError::invalid(format!("output_datatype = {code}")))
}

/// a0 - a1 cos(t) + a2 cos(2 t).
#[derive(Debug)]
struct Window {
    weights: [f64; 3],
    periodic: bool,
    dtype: DType,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let weights = match a.op_type() {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    Ok(Box::new(Window { weights, periodic: a.flag("periodic", true)?, dtype: datatype(a)? }))
}

impl Operator for Window {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        inputs.need(0)?;
        Ok(vec![match inputs.ints(0)? {
            None => Fact::dynamic(self.dtype),
            Some(size) => Fact::new(self.dtype, floats::sizes(&[floats::one(&size, "size")?], "a size")?),
        }])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n: usize = cx.out_shape(0).iter().product();
        let period = if self.periodic { n } else { n.saturating_sub(1) };
        let [a0, a1, a2] = self.weights;
        let value = |i: usize| {
            if period == 0 {
                return 1.0;
            }
            let t = 2.0 * PI * i as f64 / period as f64;
            a0 - a1 * t.cos() + a2 * (2.0 * t).cos()
        };
        cx.check_bytes(n.checked_mul(8))?;
        let out: Vec<f64> = (0..n).map(value).collect();
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "window".into()
    }
}

#[derive(Debug)]
struct Mel {
    dtype: DType,
}

fn read_mel(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Mel { dtype: datatype(a)? }))
}

/// Hertz to mel.
fn mel(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}

impl Operator for Mel {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        for i in 0..5 {
            inputs.need(i)?;
        }
        let (Some(bins), Some(length)) = (inputs.ints(0)?, inputs.ints(1)?) else {
            return Ok(vec![Fact::dynamic(self.dtype)]);
        };
        let (bins, length) = (floats::one(&bins, "num_mel_bins")?, floats::one(&length, "dft_length")?);
        let sizes = floats::sizes(&[length, bins], "a size")?;
        Ok(vec![Fact::new(self.dtype, vec![sizes[0] / 2 + 1, sizes[1]])])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.out_shape(0);
        let &[rows, bins] = &shape[..] else { return Err(OpError::invalid("the matrix has two dimensions")) };
        let length = floats::one(&cx.input(1)?.to_i64()?, "dft_length")? as f64;
        let rate = floats::one(&cx.input(2)?.to_i64()?, "sample_rate")? as f64;
        let edge = |cx: &RunCx<'_>, i: usize| {
            let v = floats::scalar(cx, i)?;
            v.ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
        };
        let (low, high) = (mel(edge(cx, 3)?), mel(edge(cx, 4)?));
        cx.check_bytes(rows.checked_mul(bins).and_then(|n| n.checked_mul(8)))?;
        let step = (high - low) / (bins as f64 + 2.0);
        // The row of the spectrum where triangle i begins; its peak is the next one's begin, its end the one after that.
        let row = |i: usize| -> Result<usize, OpError> {
            let hertz = 700.0 * (10f64.powf((i as f64 * step + low) / 2595.0) - 1.0);
            let at = ((length + 1.0) * hertz / rate).floor();
            let fits = at >= 0.0 && at < rows as f64;
            let why = || OpError::invalid(format!("{hertz} Hz lie outside {rows} rows of a spectrum at {rate} Hz"));
            if fits { Ok(at as usize) } else { Err(why()) }
        };
        let mut out = vec![0f64; rows * bins];
        for i in 0..bins {
            let (left, peak, right) = (row(i)?, row(i + 1)?, row(i + 2)?);
            if left == peak {
                out[peak * bins + i] = 1.0;
            }
            for j in left..=peak.max(left) {
                if peak > left {
                    out[j * bins + i] = (j - left) as f64 / (peak - left) as f64;
                }
            }
            for j in peak..right {
                out[j * bins + i] = (right - j) as f64 / (right - peak) as f64;
            }
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        "mel matrix".into()
    }
}
