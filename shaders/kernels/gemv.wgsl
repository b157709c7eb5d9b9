// The matrix product for at most four rows of a, where the time is that of reading b once.
#import gemv_rows

// A sum per thread for each of the four rows.
var<workgroup> partial: array<vec4<f32>, 256>;

// b is [n, k]: 32 threads along each of 8 columns' lines.
@compute @workgroup_size(256)
fn lines(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = params.first_batch + group.z;
    let start = batch_offsets(z);
    let col = group.x * 8u + local / 32u;
    let line = start.y + min(col, params.n - 1u) * params.ldb;
    var sums = vec4(0.0);
    for (var k = (local % 32u) * 4u; k < params.k; k += 128u) {
        sums += products(line, start.x, k);
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
    var k = local / 32u;
    // Four reads in flight.
    for (; k + 24u < params.k; k += 32u) {
        let at = start.y + k * params.n + c;
        let w = vec4(load_b(at), load_b(at + 8u * params.n), load_b(at + 16u * params.n), load_b(at + 24u * params.n));
        sums += w.x * rows_at(start.x, k) + w.y * rows_at(start.x, k + 8u);
        sums += w.z * rows_at(start.x, k + 16u) + w.w * rows_at(start.x, k + 24u);
    }
    for (; k < params.k; k += 8u) {
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
