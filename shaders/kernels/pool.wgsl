// Largest or mean of a window of each plane of [planes, h, w]: a thread per output.
#import index

struct Params {
    n: u32,
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
    pad_bottom: u32,
    pad_right: u32,
    dilation_y: u32,
    dilation_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override AVERAGE: bool = false;
// Padding counts in the mean (but never what lies beyond it, where the window was rounded up).
override COUNT_PAD: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let plane = i / (params.ow * params.oh) * params.h * params.w;
    let top = i32((i / params.ow) % params.oh * params.stride_y) - i32(params.pad_y);
    let left = i32(i % params.ow * params.stride_x) - i32(params.pad_x);
    var acc = select(-3.4028235e38, 0.0, AVERAGE);
    var seen = 0u;
    var padded = 0u;
    for (var ky = 0u; ky < params.kh; ky++) {
        let iy = top + i32(ky * params.dilation_y);
        if iy >= i32(params.h + params.pad_bottom) {
            break;
        }
        for (var kx = 0u; kx < params.kw; kx++) {
            let ix = left + i32(kx * params.dilation_x);
            if ix >= i32(params.w + params.pad_right) {
                break;
            }
            padded++;
            if iy >= 0 && iy < i32(params.h) && ix >= 0 && ix < i32(params.w) {
                let v = x[plane + u32(iy) * params.w + u32(ix)];
                acc = select(select(max(acc, v), v, seen == 0u), acc + v, AVERAGE);
                seen++;
            }
        }
    }
    if AVERAGE {
        acc /= f32(max(select(seen, padded, COUNT_PAD), 1u));
    }
    y[i] = acc;
}
