// Convolution where each output sees few inputs (depthwise, or few channels per group): a thread per output.
#import index
#import unary_op

struct Params {
    n: u32,
    // Output channels and input channels per group.
    m: u32,
    channels: u32,
    groups: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kh: u32,
    kw: u32,
    stride_y: u32,
    stride_x: u32,
    pad_y: u32,
    pad_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    act_a: f32,
    act_b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<u32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override PACKED_F16: bool = false;
override HAS_BIAS: bool = false;
override HAS_RESIDUAL: bool = false;
override ACT: u32 = 0u;

fn weight(e: u32) -> f32 {
    if PACKED_F16 {
        let pair = unpack2x16float(weights[e / 2u]);
        return select(pair.x, pair.y, (e & 1u) == 1u);
    }
    return bitcast<f32>(weights[e]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let ox = i % params.ow;
    let oy = (i / params.ow) % params.oh;
    let out = i / (params.ow * params.oh);
    let m = out % (params.groups * params.m);
    let batch = out / (params.groups * params.m);
    let plane = (batch * params.groups + m / params.m) * params.channels;
    let top = i32(oy * params.stride_y) - i32(params.pad_y);
    let left = i32(ox * params.stride_x) - i32(params.pad_x);
    var sum = 0.0;
    for (var c = 0u; c < params.channels; c++) {
        for (var ky = 0u; ky < params.kh; ky++) {
            let iy = top + i32(ky * params.dilation_y);
            if iy < 0 || iy >= i32(params.h) {
                continue;
            }
            let line = ((plane + c) * params.h + u32(iy)) * params.w;
            let w_line = ((m * params.channels + c) * params.kh + ky) * params.kw;
            for (var kx = 0u; kx < params.kw; kx++) {
                let ix = left + i32(kx * params.dilation_x);
                if ix >= 0 && ix < i32(params.w) {
                    sum += x[line + u32(ix)] * weight(w_line + kx);
                }
            }
        }
    }
    if HAS_BIAS {
        sum += bias[m];
    }
    sum = unary_op(ACT, sum, params.act_a, params.act_b);
    if HAS_RESIDUAL {
        sum += residual[i];
    }
    y[i] = sum;
}
