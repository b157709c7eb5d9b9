// One number in, one number out, element by element.
#import index
#import unary_op

struct Params {
    n: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override OP: u32 = 0u;
// 0: f32 to f32; 1: i32 to i32; 2: f32 to bool; 3: bool to bool
override KIND: u32 = 0u;

fn int_op(v: i32) -> i32 {
    switch OP {
        case 1u: { return max(v, 0); }
        case 20u: { return -v; }
        case 21u: { return abs(v); }
        case 22u: { return sign(v); }
        case 38u: { return min(max(v, bitcast<i32>(params.a)), bitcast<i32>(params.b)); }
        case 41u: { return v * v; }
        case 43u: { return ~v; }
        default: { return v; }
    }
}

fn test_op(v: f32) -> bool {
    switch OP {
        case 44u: { return is_nan(v); }
        case 45u: { return is_inf(v) && ((v > 0.0 && params.a != 0.0) || (v < 0.0 && params.b != 0.0)); }
        default: { return v != 0.0; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let v = x[i];
    switch KIND {
        case 1u: { y[i] = bitcast<u32>(int_op(bitcast<i32>(v))); }
        case 2u: { y[i] = u32(test_op(bitcast<f32>(v))); }
        case 3u: { y[i] = u32(v == 0u); }
        default: { y[i] = bitcast<u32>(unary_op(OP, bitcast<f32>(v), params.a, params.b)); }
    }
}
