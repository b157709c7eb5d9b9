// Tiled matrix product: a square of y per workgroup, 64 (or 32, where that gives more workgroups) a side, in steps of 16
// along k; 4 x 4 of y per thread.
#import gemm_io

// Threads along a side: 16 or 8.
override SIDE: u32 = 16u;

// [rows][16 k]
var<workgroup> tile_a: array<vec4<f32>, 256>;
// [16 k][columns], or with TRANS_B [columns][16 k] in lines of 20, so that neighbours are in other banks.
var<workgroup> tile_b: array<vec4<f32>, 320>;

fn store4(z: u32, row: u32, col: u32, step: u32, v: vec4<f32>) {
    store(z, row, col, v.x);
    store(z, row, col + step, v.y);
    store(z, row, col + 2u * step, v.z);
    store(z, row, col + 3u * step, v.w);
}

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = params.first_batch + group.z;
    let start = batch_offsets(z);
    let row = group.y * 4u * SIDE;
    let col = group.x * 4u * SIDE;
    var acc0 = vec4(0.0);
    var acc1 = vec4(0.0);
    var acc2 = vec4(0.0);
    var acc3 = vec4(0.0);
    for (var k0 = 0u; k0 < params.k; k0 += 16u) {
        for (var i = local; i < 16u * SIDE; i += SIDE * SIDE) {
            let quarter = k0 + (i % 4u) * 4u;
            let r = min(row + i / 4u, params.m - 1u);
            tile_a[i] = load_a4(start.x + r * params.k, quarter, params.k);
            if TRANS_B {
                let c = min(col + i / 4u, params.n - 1u);
                tile_b[(i / 4u) * 5u + i % 4u] = load_b4(start.y + c * params.k, quarter, params.k);
            } else {
                let k = k0 + i / SIDE;
                var v = vec4(0.0);
                if k < params.k {
                    v = load_b4(start.y + k * params.n, col + (i % SIDE) * 4u, params.n);
                }
                tile_b[i] = v;
            }
        }
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            let a0 = tile_a[id.y * 16u + q];
            let a1 = tile_a[id.y * 16u + 4u + q];
            let a2 = tile_a[id.y * 16u + 8u + q];
            let a3 = tile_a[id.y * 16u + 12u + q];
            if TRANS_B {
                let b0 = tile_b[id.x * 5u + q];
                let b1 = tile_b[(id.x + SIDE) * 5u + q];
                let b2 = tile_b[(id.x + 2u * SIDE) * 5u + q];
                let b3 = tile_b[(id.x + 3u * SIDE) * 5u + q];
                acc0 += vec4(dot(a0, b0), dot(a0, b1), dot(a0, b2), dot(a0, b3));
                acc1 += vec4(dot(a1, b0), dot(a1, b1), dot(a1, b2), dot(a1, b3));
                acc2 += vec4(dot(a2, b0), dot(a2, b1), dot(a2, b2), dot(a2, b3));
                acc3 += vec4(dot(a3, b0), dot(a3, b1), dot(a3, b2), dot(a3, b3));
            } else {
                let b0 = tile_b[4u * q * SIDE + id.x];
                let b1 = tile_b[(4u * q + 1u) * SIDE + id.x];
                let b2 = tile_b[(4u * q + 2u) * SIDE + id.x];
                let b3 = tile_b[(4u * q + 3u) * SIDE + id.x];
                acc0 += a0.x * b0 + a0.y * b1 + a0.z * b2 + a0.w * b3;
                acc1 += a1.x * b0 + a1.y * b1 + a1.z * b2 + a1.w * b3;
                acc2 += a2.x * b0 + a2.y * b1 + a2.z * b2 + a2.w * b3;
                acc3 += a3.x * b0 + a3.y * b1 + a3.z * b2 + a3.w * b3;
            }
        }
        workgroupBarrier();
    }
    let first = col + select(id.x * 4u, id.x, TRANS_B);
    let step = select(1u, SIDE, TRANS_B);
    store4(z, row + id.y * 4u, first, step, acc0);
    store4(z, row + id.y * 4u + 1u, first, step, acc1);
    store4(z, row + id.y * 4u + 2u, first, step, acc2);
    store4(z, row + id.y * 4u + 3u, first, step, acc3);
}
