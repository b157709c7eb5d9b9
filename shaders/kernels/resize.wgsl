// Resizes each plane of [planes, h, w]: nearest or linear. An output's place in the input is (o + a) * scale + b.
#import index

struct Params {
    n: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    scale_y: f32,
    scale_x: f32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// 0 linear; nearest: 1 half down, 2 half up, 3 floor, 4 ceil
override MODE: u32 = 0u;

fn nearest(place: f32, size: u32) -> u32 {
    var at: f32;
    switch MODE {
        case 1u: { at = ceil(place - 0.5); }
        case 2u: { at = floor(place + 0.5); }
        case 3u: { at = floor(place); }
        default: { at = ceil(place); }
    }
    return u32(clamp(at, 0.0, f32(size - 1u)));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let plane = i / (params.ow * params.oh) * params.h * params.w;
    let py = (f32((i / params.ow) % params.oh) + params.a) * params.scale_y + params.b;
    let px = (f32(i % params.ow) + params.a) * params.scale_x + params.b;
    if MODE != 0u {
        y[i] = x[plane + nearest(py, params.h) * params.w + nearest(px, params.w)];
        return;
    }
    let cy = clamp(py, 0.0, f32(params.h - 1u));
    let cx = clamp(px, 0.0, f32(params.w - 1u));
    let y0 = u32(cy);
    let x0 = u32(cx);
    let y1 = min(y0 + 1u, params.h - 1u);
    let x1 = min(x0 + 1u, params.w - 1u);
    let upper = mix(x[plane + y0 * params.w + x0], x[plane + y0 * params.w + x1], cx - f32(x0));
    let lower = mix(x[plane + y1 * params.w + x0], x[plane + y1 * params.w + x1], cx - f32(x0));
    y[i] = mix(upper, lower, cy - f32(y0));
}
