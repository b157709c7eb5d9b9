// Keeps the upper or lower triangle of each matrix.
#import index

struct Params {
    n: u32,
    rows: u32,
    cols: u32,
    k: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override UPPER: bool = true;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let right = i32(i % params.cols) - i32((i / params.cols) % params.rows);
    if select(right <= params.k, right >= params.k, UPPER) {
        y[i] = x[i];
    } else {
        y[i] = 0u;
    }
}
