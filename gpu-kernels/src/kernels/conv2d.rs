//! Convolution in two dimensions (one dimension is a height of 1).

use crate::kernels::conv_direct;
use crate::kernels::tiles::Class;
use crate::kernels::unary::Activation;
use crate::kernels::{Kernel, count, need};
use crate::pipeline::{Call, Groups};
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("conv2d");

/// A convolution: y = act(x * weights + bias) + residual, channels first.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d<'a> {
    /// \[batch, c_in, h, w\]
    pub x: &'a Binding,
    /// \[c_out, c_in / groups, kh, kw\]
    pub weights: &'a Binding,
    /// The weights are packed f16, two a word.
    pub weights_f16: bool,
    /// \[c_out\]
    pub bias: Option<&'a Binding>,
    /// y's shape; added last.
    pub residual: Option<&'a Binding>,
    /// \[batch, c_out, oh, ow\]
    pub y: &'a Binding,
    /// batch, c_in, h, w
    pub input: [u32; 4],
    /// Output channels.
    pub c_out: u32,
    /// oh, ow: what the pads, dilations and strides come to; the caller computes it.
    pub output: [u32; 2],
    /// kh, kw
    pub window: [u32; 2],
    /// Groups of channels.
    pub groups: u32,
    /// Down and across.
    pub strides: [u32; 2],
    /// Top and left; bottom and right follow from the output's size.
    pub pads: [u32; 2],
    /// Down and across.
    pub dilations: [u32; 2],
    /// Applied before the residual is added.
    pub activation: Activation,
}

impl Conv2d<'_> {
    fn check(&self) -> Result<u32, GpuError> {
        let fail = |why: String| GpuError::argument("conv2d", why);
        self.activation.check("conv2d")?;
        let [batch, c_in, h, w] = self.input;
        let (groups, c_out) = (self.groups, self.c_out);
        if groups == 0 || !c_in.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            return Err(fail(format!("{c_in} and {c_out} channels do not make {groups} groups")));
        }
        let total = count("conv2d", &[batch, c_out, self.output[0], self.output[1]])?;
        need("conv2d", "x", self.x, count("conv2d", &[batch, c_in, h, w])?)?;
        let weights = count("conv2d", &[c_out, c_in / groups, self.window[0], self.window[1]])?;
        need("conv2d", "weights", self.weights, if self.weights_f16 { weights.div_ceil(2) } else { weights })?;
        need("conv2d", "y", self.y, total)?;
        self.bias.map_or(Ok(()), |b| need("conv2d", "bias", b, c_out))?;
        self.residual.map_or(Ok(()), |b| need("conv2d", "residual", b, total))?;
        // Places are computed in i32.
        let spans = (0..2).all(|d| {
            let far = u64::from(self.output[d]) * u64::from(self.strides[d])
                + u64::from(self.window[d]) * u64::from(self.dilations[d])
                + u64::from(self.pads[d]);
            far < i32::MAX as u64
        });
        match spans {
            true => Ok(total),
            false => Err(fail("its strides, dilations or pads are too large".to_owned())),
        }
    }

    /// What both shaders take.
    fn common<'g>(&self, call: Call<'g>) -> Call<'g> {
        call.constant("PACKED_F16", u8::from(self.weights_f16))
            .constant("ACT", self.activation.op as u8)
            .bind("x", self.x)
            .bind("weights", self.weights)
            .bind_optional("bias", "HAS_BIAS", self.bias)
            .bind_optional("residual", "HAS_RESIDUAL", self.residual)
            .bind("y", self.y)
            .param("m", self.c_out / self.groups)
            .param("groups", self.groups)
            .param("channels", self.input[1] / self.groups)
            .param("h", self.input[2])
            .param("w", self.input[3])
            .param("ow", self.output[1])
            .param("kh", self.window[0])
            .param("kw", self.window[1])
            .param("stride_y", self.strides[0])
            .param("stride_x", self.strides[1])
            .param("pad_y", self.pads[0])
            .param("pad_x", self.pads[1])
            .param("dilation_y", self.dilations[0])
            .param("dilation_x", self.dilations[1])
            .param("act_a", self.activation.a)
            .param("act_b", self.activation.b)
    }
}

/// The convolution as a command: as a matrix product, or directly where an output sees few channels.
pub fn conv2d(gpu: &Gpu, op: &Conv2d<'_>) -> Result<Command, GpuError> {
    let total = op.check()?;
    if total == 0 {
        return Ok(Command::nothing("conv2d"));
    }
    let channels = op.input[1] / op.groups;
    let m = op.c_out / op.groups;
    if m < 8 && (op.groups > 1 || m < 4) {
        return op
            .common(gpu.call(&conv_direct::KERNEL))
            .param("n", total)
            .param("oh", op.output[0])
            .run(Groups::Threads(total.into()));
    }
    let k = count("conv2d", &[channels, op.window[0], op.window[1]])?;
    let pixels = count("conv2d", &op.output)?;
    let planes = u64::from(op.input[0]) * u64::from(op.groups);
    // Threads along a tile's side.
    let side = match Class::of(m, pixels, op.input[0].saturating_mul(op.groups)) {
        Class::Thin | Class::Small => 8,
        Class::Medium | Class::Large => 16,
    };
    let (across, down) = (pixels.div_ceil(4 * side), m.div_ceil(4 * side));
    op.common(gpu.call(&KERNEL)).constant("SIDE", side).param("k", k).param("pixels", pixels).run(Groups::Grid([
        across.into(),
        down.into(),
        planes,
    ]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::kernels::unary::UnaryOp;
    use crate::twin::Bench;

    /// batch, c_in, h, w; c_out, groups; window; strides; pads; dilations; f16 weights and an epilogue.
    pub(crate) struct Spec {
        pub(crate) input: [usize; 4],
        pub(crate) channels: [usize; 2],
        pub(crate) window: [usize; 2],
        pub(crate) strides: [usize; 2],
        pub(crate) pads: [usize; 2],
        pub(crate) dilations: [usize; 2],
        pub(crate) fancy: bool,
    }

    pub(crate) fn case(bench: &mut Bench, s: &Spec) -> Result<(), GpuError> {
        let [batch, c_in, h, w] = s.input;
        let [c_out, groups] = s.channels;
        let out: [usize; 2] = std::array::from_fn(|d| {
            (s.input[2 + d] + 2 * s.pads[d] - s.dilations[d] * (s.window[d] - 1) - 1) / s.strides[d] + 1
        });
        let (cg, mg) = (c_in / groups, c_out / groups);
        let (x, xb) = bench.floats(batch * c_in * h * w);
        let n = c_out * cg * s.window[0] * s.window[1];
        let (weights, wb) = if s.fancy {
            let halves: Vec<half::f16> = (0..n).map(|_| half::f16::from_f32(bench.rng.float(-1.0, 1.0))).collect();
            let mut bits: Vec<u16> = halves.iter().map(|h| h.to_bits()).collect();
            bits.resize(n.next_multiple_of(2), 0);
            (halves.iter().map(|h| h.to_f64()).collect(), bench.words(bytemuck::cast_slice(&bits)))
        } else {
            bench.floats_in(n, -1.0, 1.0)
        };
        let (bias, bb) = bench.floats(c_out);
        let total = batch * c_out * out[0] * out[1];
        let (residual, rb) = bench.floats(total);
        let yb = bench.out(total);
        let u = |v: [usize; 2]| v.map(|v| v as u32);
        let op = Conv2d {
            x: &xb,
            weights: &wb,
            weights_f16: s.fancy,
            bias: Some(&bb),
            residual: s.fancy.then_some(&rb),
            y: &yb,
            input: s.input.map(|v| v as u32),
            c_out: c_out as u32,
            output: u(out),
            window: u(s.window),
            groups: groups as u32,
            strides: u(s.strides),
            pads: u(s.pads),
            dilations: u(s.dilations),
            activation: if s.fancy { Activation::of(UnaryOp::Relu) } else { Activation::NONE },
        };
        let command = conv2d(bench.gpu, &op)?;
        let mut want = Vec::with_capacity(total);
        for b in 0..batch {
            for m in 0..c_out {
                for oy in 0..out[0] {
                    for ox in 0..out[1] {
                        let mut v = bias[m];
                        for c in 0..cg {
                            for ky in 0..s.window[0] {
                                for kx in 0..s.window[1] {
                                    let iy = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
                                    let ix = (ox * s.strides[1] + kx * s.dilations[1]).wrapping_sub(s.pads[1]);
                                    if iy < h && ix < w {
                                        let plane = b * c_in + m / mg * cg + c;
                                        v += x[(plane * h + iy) * w + ix]
                                            * weights[((m * cg + c) * s.window[0] + ky) * s.window[1] + kx];
                                    }
                                }
                            }
                        }
                        if s.fancy {
                            v = v.max(0.0) + residual[want.len()];
                        }
                        want.push(v);
                    }
                }
            }
        }
        bench.check(
            format!("{:?} to {:?} by {:?}", s.input, s.channels, s.window),
            command,
            &yb,
            Elem::F32,
            want,
            1e-5,
        );
        Ok(())
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let plain = Spec {
            input: [2, 5, 11, 9],
            channels: [19, 1],
            window: [3, 3],
            strides: [1, 1],
            pads: [1, 1],
            dilations: [1, 1],
            fancy: false,
        };
        case(bench, &plain)?;
        case(bench, &Spec { window: [5, 3], strides: [2, 3], pads: [2, 0], dilations: [1, 2], fancy: true, ..plain })?;
        case(bench, &Spec { input: [1, 70, 7, 7], channels: [67, 1], window: [1, 1], pads: [0, 0], ..plain })?;
        case(bench, &Spec { input: [2, 6, 8, 8], channels: [18, 2], fancy: true, ..plain })?;
        // Enough tiles for the large ones.
        case(bench, &Spec { input: [24, 3, 16, 9], channels: [66, 1], ..plain })?;
        // One dimension.
        case(bench, &Spec { input: [1, 6, 1, 37], channels: [11, 1], window: [1, 7], pads: [0, 3], ..plain })
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 4096).unwrap().whole();
        let op = Conv2d {
            x: &b,
            weights: &b,
            weights_f16: false,
            bias: None,
            residual: None,
            y: &b,
            input: [1, 4, 4, 4],
            c_out: 4,
            output: [4, 4],
            window: [3, 3],
            groups: 1,
            strides: [1, 1],
            pads: [1, 1],
            dilations: [1, 1],
            activation: Activation::NONE,
        };
        assert!(conv2d(gpu, &op).is_ok());
        assert!(conv2d(gpu, &Conv2d { groups: 3, ..op }).is_err());
        assert!(conv2d(gpu, &Conv2d { groups: 0, ..op }).is_err());
        assert!(conv2d(gpu, &Conv2d { c_out: 400, ..op }).is_err());
        assert!(conv2d(gpu, &Conv2d { strides: [u32::MAX, 1], ..op }).is_err());
    }
}
