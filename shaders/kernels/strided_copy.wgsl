// Copies elements between two strided layouts: transpose, slice, expand, and the pieces of concat and split.
#import index
#import strides

struct Params {
    n: u32,
    x_offset: u32,
    y_offset: u32,
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override RANK: u32 = 1u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let source = params.x_offset + strided_offset(i, RANK, params.shape, params.x_strides);
    let to = params.y_offset + strided_offset(i, RANK, params.shape, params.y_strides);
    y[to] = x[source];
}
