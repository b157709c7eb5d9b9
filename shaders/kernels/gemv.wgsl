// The matrix product for at most four rows of a, where the time is that of reading b once.
#import gemm_io

// A sum per thread for each of the four rows.
var<workgroup> partial: array<vec4<f32>, 256>;

fn store_rows(z: u32, col: u32, sums: vec4<f32>) {
    store(z, 0u, col, sums.x);
    store(z, 1u, col, sums.y);
    store(z, 2u, col, sums.z);
    store(z, 3u, col, sums.w);
}

// Element k of the rows of a.
fn rows_at(start: u32, k: u32) -> vec4<f32> {
    let last = params.m - 1u;
    return vec4(
        a[start + k],
        a[start + min(1u, last) * params.k + k],
        a[start + min(2u, last) * params.k + k],
        a[start + min(3u, last) * params.k + k],
    );
}

// b is [n, k]: 32 threads along each of 8 columns' lines.
@compute @workgroup_size(256)
fn lines(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = params.first_batch + group.z;
    let start = batch_offsets(z);
    let col = group.x * 8u + local / 32u;
    let line = start.y + min(col, params.n - 1u) * params.k;
    var sums = vec4(0.0);
    for (var k = (local % 32u) * 4u; k < params.k; k += 128u) {
        let w = load_b4(line, k, params.k);
        let last = params.m - 1u;
        sums += vec4(
            dot(w, load_a4(start.x, k, params.k)),
            dot(w, load_a4(start.x + min(1u, last) * params.k, k, params.k)),
            dot(w, load_a4(start.x + min(2u, last) * params.k, k, params.k)),
            dot(w, load_a4(start.x + min(3u, last) * params.k, k, params.k)),
        );
    }
    partial[local] = sums;
    workgroupBarrier();
    for (var half = 16u; half > 0u; half /= 2u) {
        if local % 32u < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }
    if local % 32u == 0u {
        store_rows(z, col, partial[local]);
    }
}

// b is [k, n]: 32 columns side by side, 8 threads down each.
@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = params.first_batch + group.z;
    let start = batch_offsets(z);
    let col = group.x * 32u + local % 32u;
    let c = min(col, params.n - 1u);
    var sums = vec4(0.0);
    for (var k = local / 32u; k < params.k; k += 8u) {
        sums += load_b(start.y + k * params.n + c) * rows_at(start.x, k);
    }
    partial[local] = sums;
    workgroupBarrier();
    for (var half = 128u; half >= 32u; half /= 2u) {
        if local < half {
            partial[local] += partial[local + half];
        }
        workgroupBarrier();
    }
    if local < 32u {
        store_rows(z, col, partial[local]);
    }
}
