// y[o, j, i] = x[o, index[j], i]; a negative index counts from the end. Works on words: any element type.
// `first` and `held` say which of the axis's entries this binding of x holds, for tables larger than one binding.
#import index

struct Params {
    outer: u32,
    axis: u32,
    count: u32,
    inner: u32,
    first: u32,
    held: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// 0: words; 1: rows of packed f16, widened to f32
override PACKED_F16: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = thread_index(group, groups, local);
    if at >= params.outer * params.count * params.inner {
        return;
    }
    let i = at % params.inner;
    let j = (at / params.inner) % params.count;
    let o = at / (params.inner * params.count);
    var index = indices[j];
    if index < 0 {
        index += i32(params.axis);
    }
    let row = u32(clamp(index, 0, i32(params.axis) - 1));
    if row < params.first || row >= params.first + params.held {
        return;
    }
    let source = (o * params.held + row - params.first) * params.inner + i;
    if PACKED_F16 {
        let pair = unpack2x16float(x[source / 2u]);
        y[at] = bitcast<u32>(select(pair.x, pair.y, (source & 1u) == 1u));
    } else {
        y[at] = x[source];
    }
}
