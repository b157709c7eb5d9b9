// Between f32, i32 and bool (0 or 1).
#import index
#import numeric

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// 0: f32, 1: i32, 2: bool
override FROM: u32 = 0u;
override TO: u32 = 0u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let v = x[i];
    if TO == 2u {
        y[i] = u32(select(v != 0u, bitcast<f32>(v) != 0.0 || is_nan(bitcast<f32>(v)), FROM == 0u));
    } else if TO == 1u && FROM == 0u {
        // The largest f32 below 2^31: the conversion itself would be undefined past it.
        y[i] = bitcast<u32>(i32(clamp(bitcast<f32>(v), -2147483648.0, 2147483520.0)));
    } else if TO == 0u && FROM != 0u {
        y[i] = bitcast<u32>(f32(bitcast<i32>(v)));
    } else {
        y[i] = v;
    }
}
