// GatherND and ScatterND: tuples of indices pick slices of `inner` elements. Negative indices count from the end.
#import index

struct Params {
    // Slices per batch, batches, and elements per slice.
    tuples: u32,
    batches: u32,
    inner: u32,
    // Indices per tuple, and the sizes they count in.
    depth: u32,
    // Elements of the data per batch.
    stride: u32,
    dims: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// The element of the data where the slice of tuple t begins.
fn slice_of(t: u32) -> u32 {
    var at = 0u;
    for (var d = 0u; d < params.depth; d++) {
        let n = params.dims[d / 4u][d % 4u];
        var index = indices[t * params.depth + d];
        if index < 0 {
            index += i32(n);
        }
        at = at * n + u32(clamp(index, 0, i32(n) - 1));
    }
    return (t / params.tuples) * params.stride + at * params.inner;
}

// y[t] = x[indices[t]]
@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.batches * params.tuples * params.inner {
        return;
    }
    y[i] = x[slice_of(i / params.inner) + i % params.inner];
}

// y[indices[t]] = x[t]; y already holds the data.
@compute @workgroup_size(64)
fn scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.batches * params.tuples * params.inner {
        return;
    }
    y[slice_of(i / params.inner) + i % params.inner] = x[i];
}
