// y[..., j, ...] = x[..., index[..., j, ...], ...]: one index per output element, along one axis. `x_strides` is 0 at the axis.
#import index
#import strides

struct Params {
    n: u32,
    rank: u32,
    axis: u32,
    axis_stride: u32,
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    var index = indices[i];
    if index < 0 {
        index += i32(params.axis);
    }
    let along = u32(clamp(index, 0, i32(params.axis) - 1)) * params.axis_stride;
    y[i] = x[strided_offset(i, params.rank, params.shape, params.x_strides) + along];
}
