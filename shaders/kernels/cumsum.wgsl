// Running sums along the middle of [outer, n, inner], a thread each.
#import index

struct Params {
    lines: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override EXCLUSIVE: bool = false;
override REVERSE: bool = false;
override INTEGER: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let line = thread_index(group, groups, local);
    if line >= params.lines {
        return;
    }
    let base = (line / params.inner) * params.n * params.inner + line % params.inner;
    var sum = 0u;
    for (var i = 0u; i < params.n; i++) {
        let at = base + select(i, params.n - 1u - i, REVERSE) * params.inner;
        let v = x[at];
        var next = sum + v;
        if !INTEGER {
            next = bitcast<u32>(bitcast<f32>(sum) + bitcast<f32>(v));
        }
        y[at] = select(next, sum, EXCLUSIVE);
        sum = next;
    }
}
