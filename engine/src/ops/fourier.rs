//! DFT, STFT.

use cpu_kernels::fft::{Complex, Fft};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::{floats, util};

/// Fourier transforms.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "DFT", opsets: (17, NEWEST), read: read_dft },
    OpDef { domain: "", name: "STFT", opsets: (17, NEWEST), read: read_stft },
];

/// 5 n log2 n operations, as the literature counts them.
fn flops(len: usize, count: usize) -> u64 {
    let each = 5.0 * len as f64 * (len.max(1) as f64).log2();
    (each * count as f64) as u64
}

fn plan(cx: &RunCx<'_>, len: usize) -> Result<Fft, OpError> {
    cx.check_bytes(Fft::bytes(len))?;
    Fft::new(len).ok_or_else(|| OpError::invalid(format!("a transform of {len} elements")))
}

#[derive(Debug)]
struct Dft {
    /// The attribute of DFT-17; later an input.
    axis: Option<i64>,
    inverse: bool,
    onesided: bool,
}

fn read_dft(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axis = if a.opset() < 20 { Some(a.int_or("axis", 1)?) } else { None };
    Ok(Box::new(Dft { axis, inverse: a.flag("inverse", false)?, onesided: a.flag("onesided", false)? }))
}

/// Where a transform goes: its axis, its length, and the output's size there.
struct Along {
    axis: usize,
    len: usize,
    out: usize,
}

impl Dft {
    /// Complex numbers of one side to real ones.
    fn to_real(&self) -> bool {
        self.inverse && self.onesided
    }

    fn along(&self, shape: &[usize], len: Option<Vec<i64>>, axis: Option<Vec<i64>>) -> Result<Along, OpError> {
        let parts = shape.last().copied().unwrap_or(0);
        if shape.len() < 2 || !(1..=2).contains(&parts) || (self.to_real() && parts != 2) {
            return Err(OpError::invalid(format!("an input of {shape:?}: its last dimension must be 1 (real) or 2")));
        }
        let axis = match (self.axis, axis) {
            (Some(axis), _) => axis,
            (None, Some(list)) => floats::one(&list, "axis")?,
            (None, None) => -2,
        };
        let axis = util::axis(axis, shape.len())?;
        if axis + 1 == shape.len() {
            return Err(OpError::invalid("the last dimension can't be transformed"));
        }
        let len = match len {
            Some(list) => floats::one(&list, "dft_length")?,
            None if self.to_real() => 2 * (shape[axis] as i64 - 1),
            None => shape[axis] as i64,
        };
        let len = usize::try_from(len).ok().filter(|&n| n > 0 && n < isize::MAX as usize);
        let len = len.ok_or_else(|| OpError::invalid("the length of a transform must be positive"))?;
        Ok(Along { axis, len, out: if self.onesided && !self.inverse { len / 2 + 1 } else { len } })
    }
}

impl Operator for Dft {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        let x = inputs.need(0)?;
        if inputs.is_dynamic(1) || (self.axis.is_none() && inputs.is_dynamic(2)) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let mut shape = x.shape.clone().unwrap_or_default();
        let along = self.along(&shape, inputs.ints(1)?, inputs.ints(2)?)?;
        shape[along.axis] = along.out;
        if let Some(parts) = shape.last_mut() {
            *parts = if self.to_real() { 1 } else { 2 };
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let n = outputs[0].numel().unwrap_or(0);
        Cost { flops: flops(n / 2, 1) }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.input(0)?.shape;
        let Along { axis, len, out } = self.along(shape, cx.ints(1)?, cx.ints(2)?)?;
        let x = floats::read(cx, 0)?;
        let (from, parts) = (shape[axis], shape[shape.len() - 1]);
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
        let fft = plan(cx, len)?;
        let wide = if self.to_real() { 1 } else { 2 };
        let mut y = vec![0f64; outer * out * inner * wide];
        let (known, real) = (if self.to_real() { from.min(len / 2 + 1) } else { from.min(len) }, self.to_real());
        // Lines along the axis, all those of one outer index together: they are one block of the output.
        cx.pool().for_chunks_mut(&mut y, out * inner * wide, |o, block| {
            let mut line: Vec<Complex> = vec![[0.0; 2]; len];
            for i in 0..inner {
                line.fill([0.0; 2]);
                for k in 0..known {
                    let at = ((o * from + k) * inner + i) * parts;
                    line[k] = [x[at], if parts == 2 { x[at + 1] } else { 0.0 }];
                }
                if real {
                    // The other side mirrors this one; what mirrors itself is real.
                    for k in 0..=len / 2 {
                        let own = (len - k) % len == k;
                        let v = line[k];
                        line[(len - k) % len] = [v[0], if own { 0.0 } else { -v[1] }];
                    }
                }
                if self.inverse {
                    fft.inverse(&mut line)
                } else {
                    fft.forward(&mut line)
                }
                for (k, v) in line[..out].iter().enumerate() {
                    let at = (k * inner + i) * wide;
                    block[at..at + wide].copy_from_slice(&v[..wide]);
                }
            }
        });
        floats::write(cx, 0, &y)
    }

    fn kernel(&self) -> String {
        "fft f64".into()
    }
}

#[derive(Debug)]
struct Stft {
    onesided: bool,
}

fn read_stft(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Stft { onesided: a.flag("onesided", true)? }))
}

/// The sizes of a short-time transform.
struct Frames {
    step: usize,
    len: usize,
    count: usize,
    bins: usize,
}

impl Stft {
    fn frames(
        &self,
        signal: &[usize],
        step: &[i64],
        window: Option<&[usize]>,
        len: Option<Vec<i64>>,
    ) -> Result<Frames, OpError> {
        let (2..=3, Some(&total)) = (signal.len(), signal.get(1)) else {
            return Err(OpError::invalid(format!("a signal of {signal:?}, not of batch, length and parts")));
        };
        if signal.get(2).is_some_and(|p| !(1..=2).contains(p)) {
            return Err(OpError::invalid(format!("a signal of {signal:?}: its last dimension must be 1 (real) or 2")));
        }
        let positive = |v: i64, what: &str| {
            let v = usize::try_from(v).ok().filter(|&v| v > 0);
            v.ok_or_else(|| OpError::invalid(format!("{what} must be positive")))
        };
        let step = positive(floats::one(step, "frame_step")?, "frame_step")?;
        let len = match (len, window) {
            (Some(list), _) => positive(floats::one(&list, "frame_length")?, "frame_length")?,
            (None, Some(w)) => w.iter().product(),
            (None, None) => total,
        };
        if window.is_some_and(|w| w != [len]) {
            return Err(OpError::invalid(format!("a window of {window:?} for frames of {len}")));
        }
        if len == 0 || len > total {
            return Err(OpError::invalid(format!("frames of {len} in a signal of {total}")));
        }
        let bins = if self.onesided { len / 2 + 1 } else { len };
        Ok(Frames { step, len, count: (total - len) / step + 1, bins })
    }
}

impl Operator for Stft {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        let x = inputs.need(0)?;
        if inputs.is_dynamic(1) || inputs.is_dynamic(3) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let step = inputs.ints(1)?.ok_or_else(|| OpError::invalid("frame_step is missing"))?;
        let window = inputs.get(2).and_then(|f| f.shape.as_deref());
        let f = self.frames(shape, &step, window, inputs.ints(3)?)?;
        Ok(vec![Fact::new(x.dtype, vec![shape[0], f.count, f.bins, 2])])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let Some(&[n, count, bins, _]) = outputs[0].shape.as_deref() else { return Cost::default() };
        Cost { flops: flops(if self.onesided { 2 * bins } else { bins }, n.saturating_mul(count)) }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.input(0)?.shape;
        let step = cx.input(1)?.to_i64()?;
        let f = self.frames(shape, &step, cx.get(2).map(|w| w.shape), cx.ints(3)?)?;
        let x = floats::read(cx, 0)?;
        let window = cx.get(2).map(|_| floats::read(cx, 2)).transpose()?;
        let (total, parts) = (shape[1], shape.get(2).copied().unwrap_or(1));
        let fft = plan(cx, f.len)?;
        let mut y = vec![0f64; shape[0] * f.count * f.bins * 2];
        cx.pool().for_chunks_mut(&mut y, f.bins * 2, |i, out| {
            let start = i / f.count * total + i % f.count * f.step;
            let mut line: Vec<Complex> = Vec::with_capacity(f.len);
            for k in 0..f.len {
                let (at, w) = ((start + k) * parts, window.as_ref().map_or(1.0, |w| w[k]));
                line.push([x[at] * w, if parts == 2 { x[at + 1] * w } else { 0.0 }]);
            }
            fft.forward(&mut line);
            out.copy_from_slice(line[..f.bins].as_flattened());
        });
        floats::write(cx, 0, &y)
    }

    fn kernel(&self) -> String {
        "fft f64".into()
    }
}
