// The tiled matrix product, over `Right`: four elements of b as they lie in shared memory, which `load_right` reads. A workgroup
// makes a rectangle of y in steps of 4 * KQ along k; each thread makes blocks of 4 x 4 of it: one, two below each other, or two
// by two, by entry point. Blocks are products of 4 x 4 matrices, so that nothing is left to unroll, and those of one thread lie
// apart, so that neighbours read neighbours.
#import gemm_io

// Threads across and down.
override TX: u32 = 16u;
override TY: u32 = 16u;
// Quads of k in a step.
override KQ: u32 = 4u;
// Vectors in each tile.
override A_SIZE: u32 = 256u;
override B_SIZE: u32 = 320u;

// [rows][KQ]
var<workgroup> tile_a: array<vec4<f32>, A_SIZE>;
// [4 KQ][columns / 4], or with TRANS_B [columns][KQ] in lines of KQ + 1, so that neighbours are in other banks.
var<workgroup> tile_b: array<Right, B_SIZE>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
}

fn load_tiles(start: vec2<u32>, row: u32, rows: u32, col: u32, cols: u32, k0: u32, local: u32) {
    for (var i = local; i < rows * KQ; i += TX * TY) {
        let r = min(row + i / KQ, params.m - 1u);
        tile_a[i] = load_a4(start.x + r * params.k, k0 + (i % KQ) * 4u, params.k);
    }
    for (var i = local; i < cols * KQ; i += TX * TY) {
        if TRANS_B {
            let c = min(col + i / KQ, params.n - 1u);
            tile_b[(i / KQ) * (KQ + 1u) + i % KQ] = load_right(start.y + c * params.ldb, k0 + (i % KQ) * 4u, params.k);
        } else {
            let quads = cols / 4u;
            let k = k0 + i / quads;
            var v = Right();
            if k < params.k {
                v = load_right(start.y + k * params.n, col + (i % quads) * 4u, params.n);
            }
            tile_b[i] = v;
        }
    }
}

// A column for each of four rows of a, at four k.
fn a_block(row: u32, q: u32) -> mat4x4<f32> {
    let at = row * KQ + q;
    return mat4x4(tile_a[at], tile_a[at + KQ], tile_a[at + 2u * KQ], tile_a[at + 3u * KQ]);
}

fn rows_of_b(at: u32, step: u32) -> mat4x4<f32> {
    return mat4x4(
        vec4<f32>(tile_b[at]),
        vec4<f32>(tile_b[at + step]),
        vec4<f32>(tile_b[at + 2u * step]),
        vec4<f32>(tile_b[at + 3u * step]),
    );
}

// A row for each of four columns of b, at the same four k; `first` counts quads, and with TRANS_B columns.
fn b_block(first: u32, cols: u32, q: u32) -> mat4x4<f32> {
    if TRANS_B {
        let line = KQ + 1u;
        let at = first * line + q;
        let step = TX * line;
        return transpose(rows_of_b(at, step));
    }
    let quads = cols / 4u;
    let at = 4u * q * quads + first;
    return rows_of_b(at, quads);
}

// Where the second block of a thread begins in `b_block`'s count.
fn second(x: u32) -> u32 {
    return x + select(TX, 4u * TX, TRANS_B);
}

fn store_block(z: u32, row: u32, col: u32, x: u32, block: mat4x4<f32>) {
    let first = col + select(4u * x, x, TRANS_B);
    let step = select(1u, TX, TRANS_B);
    for (var i = 0u; i < 4u; i++) {
        let v = block[i];
        store(z, row + i, first, v.x);
        store(z, row + i, first + step, v.y);
        store(z, row + i, first + 2u * step, v.z);
        store(z, row + i, first + 3u * step, v.w);
    }
}

@compute @workgroup_size(TX, TY)
fn one(p: Place) {
    let z = params.first_batch + p.group.z;
    let start = batch_offsets(z);
    let row = p.group.y * 4u * TY;
    let col = p.group.x * 4u * TX;
    let x = p.id.x;
    let y = p.id.y * 4u;
    var acc = mat4x4<f32>();
    for (var k0 = 0u; k0 < params.k; k0 += 4u * KQ) {
        load_tiles(start, row, 4u * TY, col, 4u * TX, k0, p.local);
        workgroupBarrier();
        for (var q = 0u; q < KQ; q++) {
            acc += b_block(x, 4u * TX, q) * a_block(y, q);
        }
        workgroupBarrier();
    }
    store_block(z, row + y, col, x, acc);
}

@compute @workgroup_size(TX, TY)
fn two(p: Place) {
    let z = params.first_batch + p.group.z;
    let start = batch_offsets(z);
    let row = p.group.y * 8u * TY;
    let col = p.group.x * 4u * TX;
    let x = p.id.x;
    let y = p.id.y * 4u;
    var upper = mat4x4<f32>();
    var lower = mat4x4<f32>();
    for (var k0 = 0u; k0 < params.k; k0 += 4u * KQ) {
        load_tiles(start, row, 8u * TY, col, 4u * TX, k0, p.local);
        workgroupBarrier();
        for (var q = 0u; q < KQ; q++) {
            let b = b_block(x, 4u * TX, q);
            upper += b * a_block(y, q);
            lower += b * a_block(y + 4u * TY, q);
        }
        workgroupBarrier();
    }
    store_block(z, row + y, col, x, upper);
    store_block(z, row + y + 4u * TY, col, x, lower);
}

@compute @workgroup_size(TX, TY)
fn four(p: Place) {
    let z = params.first_batch + p.group.z;
    let start = batch_offsets(z);
    let row = p.group.y * 8u * TY;
    let col = p.group.x * 8u * TX;
    let x = p.id.x;
    let y = p.id.y * 4u;
    var upper_left = mat4x4<f32>();
    var upper_right = mat4x4<f32>();
    var lower_left = mat4x4<f32>();
    var lower_right = mat4x4<f32>();
    for (var k0 = 0u; k0 < params.k; k0 += 4u * KQ) {
        load_tiles(start, row, 8u * TY, col, 8u * TX, k0, p.local);
        workgroupBarrier();
        for (var q = 0u; q < KQ; q++) {
            let upper = a_block(y, q);
            let lower = a_block(y + 4u * TY, q);
            let left = b_block(x, 8u * TX, q);
            upper_left += left * upper;
            lower_left += left * lower;
            let right = b_block(second(x), 8u * TX, q);
            upper_right += right * upper;
            lower_right += right * lower;
        }
        workgroupBarrier();
    }
    store_block(z, row + y, col, x, upper_left);
    store_block(z, row + y, col + 4u * TX, x, upper_right);
    store_block(z, row + y + 4u * TY, col, x, lower_left);
    store_block(z, row + y + 4u * TY, col + 4u * TX, x, lower_right);
}
