// Convolution of [batch, channels, h, w] as a matrix product: weights [m, k] by the k = channels * kh * kw inputs that
// each output pixel sees, gathered while tiles are loaded. 64 channels x 64 pixels (or 32 x 32, where that gives more
// workgroups) per workgroup, 4 x 4 per thread.
#import unary_op

struct Params {
    // Output channels, inputs per output and output pixels, per group.
    m: u32,
    k: u32,
    pixels: u32,
    groups: u32,
    channels: u32,
    h: u32,
    w: u32,
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

// Threads along a side: 16 or 8.
override SIDE: u32 = 16u;

// [channels][16 k] and [16 k][pixels]
var<workgroup> tile_w: array<vec4<f32>, 256>;
var<workgroup> tile_x: array<vec4<f32>, 256>;

fn weight(e: u32) -> f32 {
    if PACKED_F16 {
        let pair = unpack2x16float(weights[e / 2u]);
        return select(pair.x, pair.y, (e & 1u) == 1u);
    }
    return bitcast<f32>(weights[e]);
}

fn store(z: u32, row: u32, pixel: u32, value: f32) {
    if row >= params.m || pixel >= params.pixels {
        return;
    }
    let at = (z * params.m + row) * params.pixels + pixel;
    var v = value;
    if HAS_BIAS {
        v += bias[(z % params.groups) * params.m + row];
    }
    v = unary_op(ACT, v, params.act_a, params.act_b);
    if HAS_RESIDUAL {
        v += residual[at];
    }
    y[at] = v;
}

fn store4(z: u32, row: u32, pixel: u32, v: vec4<f32>) {
    store(z, row, pixel, v.x);
    store(z, row, pixel + 1u, v.y);
    store(z, row, pixel + 2u, v.z);
    store(z, row, pixel + 3u, v.w);
}

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = group.z;
    let row = group.y * 4u * SIDE;
    let col = group.x * 4u * SIDE;
    // This thread loads inputs of four pixels.
    let w_start = (z % params.groups) * params.m * params.k;
    let x_plane = z * params.channels * params.h * params.w;
    let pixel = vec4(col + (local % SIDE) * 4u) + vec4(0u, 1u, 2u, 3u);
    let top = vec4<i32>(pixel / params.ow * params.stride_y) - i32(params.pad_y);
    let left = vec4<i32>(pixel % params.ow * params.stride_x) - i32(params.pad_x);
    let window = params.kh * params.kw;
    var acc0 = vec4(0.0);
    var acc1 = vec4(0.0);
    var acc2 = vec4(0.0);
    var acc3 = vec4(0.0);
    for (var k0 = 0u; k0 < params.k; k0 += 16u) {
        for (var t = local; t < 16u * SIDE; t += SIDE * SIDE) {
            var wv = vec4(0.0);
            var xv = vec4(0.0);
            let quarter = k0 + (t % 4u) * 4u;
            let w_line = w_start + min(row + t / 4u, params.m - 1u) * params.k;
            for (var i = 0u; i < 4u; i++) {
                if quarter + i < params.k {
                    wv[i] = weight(w_line + quarter + i);
                }
            }
            let k = k0 + t / SIDE;
            if k < params.k {
                let c = k / window;
                let r = k % window;
                let down = i32(r / params.kw * params.dilation_y);
                let across = i32(r % params.kw * params.dilation_x);
                let plane = x_plane + c * params.h * params.w;
                for (var i = 0u; i < 4u; i++) {
                    let iy = top[i] + down;
                    let ix = left[i] + across;
                    if pixel[i] < params.pixels && iy >= 0 && iy < i32(params.h) && ix >= 0 && ix < i32(params.w) {
                        xv[i] = x[plane + u32(iy) * params.w + u32(ix)];
                    }
                }
            }
            tile_w[t] = wv;
            tile_x[t] = xv;
        }
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            let a0 = tile_w[id.y * 16u + q];
            let a1 = tile_w[id.y * 16u + 4u + q];
            let a2 = tile_w[id.y * 16u + 8u + q];
            let a3 = tile_w[id.y * 16u + 12u + q];
            let b0 = tile_x[4u * q * SIDE + id.x];
            let b1 = tile_x[(4u * q + 1u) * SIDE + id.x];
            let b2 = tile_x[(4u * q + 2u) * SIDE + id.x];
            let b3 = tile_x[(4u * q + 3u) * SIDE + id.x];
            acc0 += a0.x * b0 + a0.y * b1 + a0.z * b2 + a0.w * b3;
            acc1 += a1.x * b0 + a1.y * b1 + a1.z * b2 + a1.w * b3;
            acc2 += a2.x * b0 + a2.y * b1 + a2.z * b2 + a2.w * b3;
            acc3 += a3.x * b0 + a3.y * b1 + a3.z * b2 + a3.w * b3;
        }
        workgroupBarrier();
    }
    let first = col + id.x * 4u;
    store4(z, row + id.y * 4u, first, acc0);
    store4(z, row + id.y * 4u + 1u, first, acc1);
    store4(z, row + id.y * 4u + 2u, first, acc2);
    store4(z, row + id.y * 4u + 3u, first, acc3);
}
