// cond ? a : b, all three broadcast (ONNX Where). Works on words: any element type.
#import index
#import strides

struct Params {
    n: u32,
    shape: array<vec4<u32>, 2>,
    c_strides: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> c: array<u32>;
@group(0) @binding(2) var<storage, read_write> a: array<u32>;
@group(0) @binding(3) var<storage, read_write> b: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

override RANK: u32 = 1u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    if c[strided_offset(i, RANK, params.shape, params.c_strides)] != 0u {
        y[i] = a[strided_offset(i, RANK, params.shape, params.a_strides)];
    } else {
        y[i] = b[strided_offset(i, RANK, params.shape, params.b_strides)];
    }
}
