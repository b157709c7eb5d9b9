// One word everywhere, or start + i * step.
#import index

struct Params {
    n: u32,
    start: u32,
    step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// 0: the word; 1: an i32 range; 2: an f32 range
override KIND: u32 = 0u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    switch KIND {
        case 1u: { y[i] = params.start + i * params.step; }
        case 2u: { y[i] = bitcast<u32>(bitcast<f32>(params.start) + f32(i) * bitcast<f32>(params.step)); }
        default: { y[i] = params.start; }
    }
}
