//! LSTM, GRU, RNN, and the LSTM whose weights are in 8 bits.

use std::borrow::Cow;

use cpu_kernels::gemm::{Epilogue, gemm};
use cpu_kernels::pool::Pool;
use cpu_kernels::quantize::dynamic_quantize_linear;
use cpu_kernels::unary::{UnaryOp, slice_f32};
use graph::{Attr, DType};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::quantize::floats;
use crate::ops::typed::placed;

/// Recurrent layers.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "LSTM", opsets: (7, NEWEST), read },
    OpDef { domain: "", name: "GRU", opsets: (7, NEWEST), read },
    OpDef { domain: "", name: "RNN", opsets: (7, NEWEST), read },
    OpDef { domain: "com.microsoft", name: "DynamicQuantizeLSTM", opsets: (1, NEWEST), read },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Lstm { input_forget: bool },
    Gru { linear_before_reset: bool },
    Rnn,
}

/// A gate's function: one of the kernels', scaled.
#[derive(Clone, Copy, Debug)]
struct Function {
    op: Option<UnaryOp>,
    /// Multiplies the input (ScaledTanh, Affine).
    before: f32,
    /// Multiplies the result (ScaledTanh).
    after: f32,
    /// Is added to the result (Affine).
    plus: f32,
}

#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    hidden: Option<usize>,
    /// For each direction: whether it runs from the end.
    directions: Vec<bool>,
    /// The functions of each direction.
    functions: Vec<Vec<Function>>,
    clip: Option<f32>,
    /// Batch before time.
    batch_first: bool,
    /// Weights are [directions, in, gates] in 8 bits, and what is multiplied by them is rounded to 8 bits first.
    quantized: bool,
}

fn function(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Result<Function, OpError> {
    use UnaryOp::*;
    let plain = |op| Function { op: Some(op), before: 1.0, after: 1.0, plus: 0.0 };
    let (a, b) = (|d: f32| alpha.unwrap_or(d), |d: f32| beta.unwrap_or(d));
    Ok(match name.to_ascii_lowercase().as_str() {
        "sigmoid" => plain(Sigmoid),
        "tanh" => plain(Tanh),
        "relu" => plain(Relu),
        "softsign" => plain(Softsign),
        "softplus" => plain(Softplus),
        "hardsigmoid" => plain(HardSigmoid { alpha: a(0.2), beta: b(0.5) }),
        "leakyrelu" => plain(LeakyRelu(a(0.01))),
        "thresholdedrelu" => plain(ThresholdedRelu(a(1.0))),
        "elu" => plain(Elu(a(1.0))),
        "scaledtanh" => Function { before: b(1.0), after: a(1.0), ..plain(Tanh) },
        "affine" => Function { op: None, before: a(1.0), after: 1.0, plus: b(0.0) },
        other => return Err(OpError::unsupported(format!("activation \"{other}\""))),
    })
}

impl Function {
    fn apply(&self, x: &mut [f32]) {
        if self.before != 1.0 {
            x.iter_mut().for_each(|v| *v *= self.before);
        }
        if let Some(op) = self.op {
            slice_f32(op, x);
        }
        if self.after != 1.0 || self.plus != 0.0 {
            x.iter_mut().for_each(|v| *v = *v * self.after + self.plus);
        }
    }
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (cell, defaults): (Cell, &[&str]) = match a.op_type() {
        "LSTM" | "DynamicQuantizeLSTM" => {
            (Cell::Lstm { input_forget: a.flag("input_forget", false)? }, &["Sigmoid", "Tanh", "Tanh"])
        }
        "GRU" => (Cell::Gru { linear_before_reset: a.flag("linear_before_reset", false)? }, &["Sigmoid", "Tanh"]),
        _ => (Cell::Rnn, &["Tanh"]),
    };
    let directions = match a.string_or("direction", "forward")? {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(OpError::invalid(format!("direction = \"{other}\""))),
    };
    let names: Vec<String> = match a.get("activations") {
        None => directions.iter().flat_map(|_| defaults.iter().map(|&d| d.to_owned())).collect(),
        Some(Attr::Strings(s)) => s.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect(),
        Some(other) => return Err(OpError::invalid(format!("attribute activations must be strings, it is {other}"))),
    };
    if names.len() != directions.len() * defaults.len() {
        return Err(OpError::invalid(format!(
            "{} activations, there must be {}",
            names.len(),
            directions.len() * defaults.len()
        )));
    }
    let (alpha, beta) = (a.floats("activation_alpha")?.unwrap_or(&[]), a.floats("activation_beta")?.unwrap_or(&[]));
    // The lists hold values for the functions that take them, in order.
    let (mut alphas, mut betas) = (alpha.iter().copied(), beta.iter().copied());
    let mut all = Vec::new();
    for name in &names {
        let lower = name.to_ascii_lowercase();
        let takes_beta = matches!(lower.as_str(), "hardsigmoid" | "scaledtanh" | "affine");
        let takes_alpha = takes_beta || matches!(lower.as_str(), "leakyrelu" | "thresholdedrelu" | "elu");
        let alpha = if takes_alpha { alphas.next() } else { None };
        let beta = if takes_beta { betas.next() } else { None };
        all.push(function(name, alpha, beta)?);
    }
    let hidden = a.int("hidden_size")?.map(usize::try_from).transpose();
    Ok(Box::new(Recurrent {
        cell,
        hidden: hidden.map_err(|_| OpError::invalid("hidden_size is negative"))?,
        functions: all.chunks(defaults.len()).map(<[Function]>::to_vec).collect(),
        directions,
        clip: a.float("clip")?,
        batch_first: a.flag("layout", false)?,
        quantized: a.op_type() == "DynamicQuantizeLSTM",
    }))
}

/// The sizes of a run.
#[derive(Clone, Copy)]
struct Sizes {
    time: usize,
    batch: usize,
    input: usize,
    hidden: usize,
}

/// One direction's operands.
struct Direction<'a> {
    w: &'a [f32],
    r: &'a [f32],
    /// Biases of the input's product, then of the recurrent one.
    bias: Option<&'a [f32]>,
    peephole: Option<&'a [f32]>,
    functions: &'a [Function],
    reverse: bool,
}

impl Recurrent {
    fn gates(&self) -> usize {
        match self.cell {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    fn sizes(&self, x: &[usize], w: &[usize], r: &[usize]) -> Result<Sizes, OpError> {
        let fail = || OpError::invalid(format!("weights of {w:?} and {r:?} for an input of {x:?}"));
        let (&[t, b, input], &[d, mut g, mut i], &[d2, mut g2, mut hidden]) = (x, w, r) else { return Err(fail()) };
        if self.quantized {
            (g, i, g2, hidden) = (i, g, hidden, g2);
        }
        let (time, batch) = if self.batch_first { (b, t) } else { (t, b) };
        let n = self.directions.len();
        let fits = d == n && d2 == n && i == input && g == g2 && Some(g) == hidden.checked_mul(self.gates());
        if !fits || self.hidden.is_some_and(|h| h != hidden) {
            return Err(fail());
        }
        Ok(Sizes { time, batch, input, hidden })
    }

    /// One direction. `h` and `c` are [batch, hidden] and end as the last state; `y(t, b)` gets each state.
    fn scan(
        &self,
        pool: &Pool,
        s: Sizes,
        d: &Direction<'_>,
        x: &[f32],
        lens: &[usize],
        (h, c): (&mut [f32], &mut [f32]),
        y: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        let (hs, g) = (s.hidden, self.gates() * s.hidden);
        let none = vec![0f32; 2 * g];
        let (wb, rb) = d.bias.unwrap_or(&none).split_at(g);
        let mut from_x = vec![0f32; s.time * s.batch * g];
        let epi = Epilogue { bias: Some(wb), ..Epilogue::default() };
        let x = self.rounded(pool, x);
        gemm(pool, s.time * s.batch, g, s.input, &x, false, d.w, true, &mut from_x, &epi);
        let mut from_h = vec![0f32; s.batch * g];
        let epi = Epilogue { bias: Some(rb), alpha: 1.0, ..Epilogue::default() };
        let longest = lens.iter().copied().max().unwrap_or(0);
        for step in 0..longest {
            gemm(pool, s.batch, g, hs, &self.rounded(pool, h), false, d.r, true, &mut from_h, &epi);
            for b in (0..s.batch).filter(|&b| step < lens[b]) {
                let t = if d.reverse { lens[b] - 1 - step } else { step };
                let gx = &from_x[(t * s.batch + b) * g..][..g];
                let gh = &from_h[b * g..][..g];
                let (h, c) = (&mut h[b * hs..][..hs], &mut c[b * hs..][..hs]);
                match self.cell {
                    Cell::Lstm { input_forget } => self.lstm(input_forget, d, gx, gh, h, c),
                    Cell::Gru { linear_before_reset } => self.gru(linear_before_reset, d, gx, gh, rb, h),
                    Cell::Rnn => {
                        h.iter_mut().zip(gx.iter().zip(gh)).for_each(|(h, (x, r))| *h = x + r);
                        self.bound(h);
                        d.functions[0].apply(h);
                    }
                }
                y(t, b, h);
            }
        }
    }

    /// What a product reads: `x`, or the values that it has in 8 bits.
    fn rounded<'a>(&self, pool: &Pool, x: &'a [f32]) -> Cow<'a, [f32]> {
        if !self.quantized {
            return Cow::Borrowed(x);
        }
        let mut codes = vec![0u8; x.len()];
        match dynamic_quantize_linear(pool, x, &mut codes) {
            Ok((scale, zero)) => codes.iter().map(|&c| f32::from(i16::from(c) - i16::from(zero)) * scale).collect(),
            Err(_) => Cow::Borrowed(x),
        }
    }

    fn bound(&self, v: &mut [f32]) {
        if let Some(c) = self.clip {
            v.iter_mut().for_each(|v| *v = v.max(-c).min(c));
        }
    }

    /// Gates in the order input, output, forget, cell.
    fn lstm(&self, input_forget: bool, d: &Direction<'_>, gx: &[f32], gh: &[f32], h: &mut [f32], c: &mut [f32]) {
        let n = h.len();
        let mut g: Vec<f32> = gx.iter().zip(gh).map(|(x, r)| x + r).collect();
        let (io, fc) = g.split_at_mut(2 * n);
        let (i, o) = io.split_at_mut(n);
        let (f, z) = fc.split_at_mut(n);
        let peep = |gate: &mut [f32], c: &[f32], which: usize| {
            if let Some(p) = d.peephole {
                gate.iter_mut().zip(c.iter().zip(&p[which * n..])).for_each(|(g, (c, p))| *g += c * p);
            }
        };
        peep(i, c, 0);
        peep(f, c, 2);
        for gate in [&mut *i, &mut *f, &mut *z] {
            self.bound(gate);
        }
        d.functions[0].apply(i);
        d.functions[0].apply(f);
        d.functions[1].apply(z);
        for k in 0..n {
            let forget = if input_forget { 1.0 - i[k] } else { f[k] };
            c[k] = forget * c[k] + i[k] * z[k];
        }
        peep(o, c, 1);
        self.bound(o);
        d.functions[0].apply(o);
        h.copy_from_slice(c);
        d.functions[2].apply(h);
        h.iter_mut().zip(o.iter()).for_each(|(h, o)| *h *= o);
    }

    /// Gates in the order update, reset, hidden.
    fn gru(&self, linear: bool, d: &Direction<'_>, gx: &[f32], gh: &[f32], rb: &[f32], h: &mut [f32]) {
        let n = h.len();
        let mut zr: Vec<f32> = gx[..2 * n].iter().zip(gh).map(|(x, r)| x + r).collect();
        self.bound(&mut zr);
        d.functions[0].apply(&mut zr);
        let (z, r) = zr.split_at(n);
        let mut new = gx[2 * n..].to_vec();
        if linear {
            new.iter_mut().zip(r.iter().zip(&gh[2 * n..])).for_each(|(v, (r, h))| *v += r * h);
        } else {
            // The reset state is multiplied by its weights.
            let reset: Vec<f32> = h.iter().zip(r).map(|(h, r)| h * r).collect();
            for (k, v) in new.iter_mut().enumerate() {
                let row = &d.r[(2 * n + k) * n..][..n];
                *v += row.iter().zip(&reset).map(|(w, h)| w * h).sum::<f32>() + rb[2 * n + k];
            }
        }
        self.bound(&mut new);
        d.functions[1].apply(&mut new);
        for k in 0..n {
            h[k] = (1.0 - z[k]) * new[k] + z[k] * h[k];
        }
    }
}

/// The 8-bit weights [directions, rows, columns] of input `i`, scaled, each direction transposed as in the f32 form. Scales and zero
/// points (inputs `at` and `at + 1`) are per direction, or per column of each.
fn dequantized(cx: &RunCx<'_>, i: usize, at: usize, [n, rows, columns]: [usize; 3]) -> Result<Vec<f32>, OpError> {
    let (weights, scales) = (cx.input(i)?, cx.input(at)?);
    let (codes, scale, zero) = (floats(&weights)?, floats(&scales)?, cx.get(at + 1));
    let zero = zero.as_ref().map(floats).transpose()?;
    let fits = |v: &[f32]| v.len() == n || v.len() == n * columns;
    if !fits(&scale) || zero.as_deref().is_some_and(|z| !fits(z)) {
        return Err(OpError::invalid(format!("{} scales for weights of {:?}", scale.len(), [n, rows, columns])));
    }
    let of = |v: &[f32], d: usize, c: usize| if v.len() == n { v[d] } else { v[d * columns + c] };
    let mut out = Vec::with_capacity(codes.len());
    for d in 0..n {
        for c in 0..columns {
            let (scale, zero) = (of(&scale, d, c), zero.as_deref().map_or(0.0, |z| of(z, d, c)));
            out.extend((0..rows).map(|r| (codes[(d * rows + r) * columns + c] - zero) * scale));
        }
    }
    Ok(out)
}

impl Operator for Recurrent {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = |i: usize| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        let s = self.sizes(shape(0)?, shape(1)?, shape(2)?)?;
        let d = self.directions.len();
        let (y, state) = if self.batch_first {
            (vec![s.batch, s.time, d, s.hidden], vec![s.batch, d, s.hidden])
        } else {
            (vec![s.time, d, s.batch, s.hidden], vec![d, s.batch, s.hidden])
        };
        let expect = |i: usize, want: &[usize]| match inputs.get(i).and_then(|f| f.shape.as_deref()) {
            Some(have) if have != want => Err(OpError::invalid(format!("input {i} is {have:?}, it must be {want:?}"))),
            _ => Ok(()),
        };
        expect(3, &[d, 2 * self.gates() * s.hidden])?;
        expect(4, &[s.batch])?;
        expect(5, &state)?;
        expect(6, &state)?;
        expect(7, &[d, 3 * s.hidden])?;
        let mut out = vec![Fact::new(x.dtype, y), Fact::new(x.dtype, state.clone())];
        if let Cell::Lstm { .. } = self.cell {
            out.push(Fact::new(x.dtype, state));
        }
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype; if let Cell::Lstm { .. } = self.cell { 3 } else { 2 }])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shape = |i: usize| inputs.shape(i).ok().flatten().unwrap_or(&[]);
        let Ok(s) = self.sizes(shape(0), shape(1), shape(2)) else { return Cost::default() };
        let steps = (s.time * s.batch * self.directions.len()) as u64;
        let each = (self.gates() * s.hidden) as u64 * (2 * (s.input + s.hidden) as u64 + 8);
        Cost { flops: steps.saturating_mul(each) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, w, r, pool) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.pool());
        let s = self.sizes(x.shape, w.shape, r.shape)?;
        let (n, hs, g) = (self.directions.len(), s.hidden, self.gates() * s.hidden);
        let lens = match cx.ints(4)? {
            None => vec![s.time; s.batch],
            Some(list) => list
                .iter()
                .map(|&l| {
                    let len = usize::try_from(l).ok().filter(|&l| l <= s.time);
                    len.ok_or_else(|| OpError::invalid(format!("a sequence of {l} of {} steps", s.time)))
                })
                .collect::<Result<_, _>>()?,
        };
        let optional = |i: usize| cx.get(i).map(|t| t.f32()).transpose();
        let (bias, h0, c0, peephole) = (optional(3)?, optional(5)?, optional(6)?, optional(7)?);
        let data = x.f32()?;
        let rows: Vec<f32>;
        let data = if self.batch_first {
            let of = |t: usize, b: usize| &data[(b * s.time + t) * s.input..][..s.input];
            rows = (0..s.time).flat_map(|t| (0..s.batch).flat_map(move |b| of(t, b))).copied().collect();
            &rows[..]
        } else {
            data
        };
        // Where the state of (direction, batch) is.
        let state_at = |d: usize, b: usize| (if self.batch_first { b * n + d } else { d * s.batch + b }) * hs;
        let y_at = |t: usize, d: usize, b: usize| match self.batch_first {
            true => ((b * s.time + t) * n + d) * hs,
            false => ((t * n + d) * s.batch + b) * hs,
        };
        let (w, r) = if self.quantized {
            let weights = |i: usize, rows: usize| dequantized(cx, i, 6 + 2 * i, [n, rows, g]);
            (Cow::Owned(weights(1, s.input)?), Cow::Owned(weights(2, hs)?))
        } else {
            (Cow::Borrowed(w.f32()?), Cow::Borrowed(r.f32()?))
        };
        let mut outs = cx.outputs.iter_mut();
        let mut y = placed::<f32>(outs.next())?;
        let mut last_h = placed::<f32>(outs.next())?;
        let mut last_c = placed::<f32>(outs.next())?;
        if let Some(y) = &mut y {
            y.fill(0.0);
        }
        for (d, &reverse) in self.directions.iter().enumerate() {
            let part = |v: &'_ [f32], size: usize| v[d * size..(d + 1) * size].to_vec();
            let (bias, peephole) = (bias.map(|v| part(v, 2 * g)), peephole.map(|v| part(v, 3 * hs)));
            let direction = Direction {
                w: &w[d * g * s.input..(d + 1) * g * s.input],
                r: &r[d * g * hs..(d + 1) * g * hs],
                bias: bias.as_deref(),
                peephole: peephole.as_deref(),
                functions: &self.functions[d],
                reverse,
            };
            let start = |v: Option<&[f32]>| -> Vec<f32> {
                let rows = (0..s.batch).flat_map(|b| match v {
                    Some(v) => v[state_at(d, b)..][..hs].to_vec(),
                    None => vec![0.0; hs],
                });
                rows.collect()
            };
            let (mut h, mut c) = (start(h0), start(c0));
            self.scan(pool, s, &direction, data, &lens, (&mut h, &mut c), &mut |t, b, h| {
                if let Some(y) = &mut y {
                    y[y_at(t, d, b)..][..hs].copy_from_slice(h);
                }
            });
            for (out, state) in [(&mut last_h, &h), (&mut last_c, &c)] {
                if let Some(out) = out {
                    for b in 0..s.batch {
                        out[state_at(d, b)..][..hs].copy_from_slice(&state[b * hs..][..hs]);
                    }
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        if self.quantized { "recurrent, weights from int8" } else { "recurrent f32" }.into()
    }
}
