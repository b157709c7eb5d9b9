// Between f32 and integers by a scale and a zero point, each one number or one per channel of [outer, channels, inner].
#import index

struct Params {
    n: u32,
    channels: u32,
    inner: u32,
    low: i32,
    high: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> zero: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

override HAS_ZERO: bool = false;
override PER_CHANNEL: bool = false;

fn channel(i: u32) -> u32 {
    return select(0u, (i / params.inner) % params.channels, PER_CHANNEL);
}

fn zero_of(c: u32) -> i32 {
    if HAS_ZERO {
        return zero[c];
    }
    return 0;
}

// y = clamp(round(x / scale) + zero)
@compute @workgroup_size(64)
fn quantize(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let c = channel(i);
    let v = round(bitcast<f32>(x[i]) / scale[c]) + f32(zero_of(c));
    y[i] = bitcast<u32>(i32(clamp(v, f32(params.low), f32(params.high))));
}

// y = (x - zero) * scale
@compute @workgroup_size(64)
fn dequantize(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let c = channel(i);
    y[i] = bitcast<u32>(f32(bitcast<i32>(x[i]) - zero_of(c)) * scale[c]);
}
