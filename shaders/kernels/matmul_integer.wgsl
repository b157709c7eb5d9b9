// Products of bytes: y[z] = (a[z] - a_zero) x (b[z] - b_zero) in i32, four multiplications at a time. Unsigned bytes become
// signed ones by taking 128 from them and from their zero point. With a' and b' as they are multiplied,
//   y = sum a' b' - b_zero sum a' - a_zero sum b' + k a_zero b_zero.
// A square of y per workgroup, 64 or 32 a side, in steps of 32 along k; 4 x 4 of it per thread.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_batch: u32,
    b_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<u32>;
@group(0) @binding(2) var<storage, read_write> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> a_zero: array<i32>;
@group(0) @binding(4) var<storage, read_write> b_zero: array<i32>;
@group(0) @binding(5) var<storage, read_write> y: array<i32>;

// 0 none, 1 one number, 2 one per row of a or column of b
override A_ZERO: u32 = 0u;
override B_ZERO: u32 = 0u;
// The bytes' range begins at 0, not at -128.
override A_UNSIGNED: bool = false;
override B_UNSIGNED: bool = false;
// b has four bytes a word; else one, as a has.
override B_PACKED: bool = false;
// b is [n, k].
override B_COLUMNS: bool = false;
// Threads along a side: 16 or 8.
override SIDE: u32 = 16u;

// Words of a step, and of a line in shared memory: odd, so that neighbours are in other banks.
const STEP = 8u;
const LINE = 9u;
const ONES = 0x01010101u;

var<workgroup> tile_a: array<u32, 576>;
var<workgroup> tile_b: array<u32, 576>;
// Sums of the rows of a', then of the columns of b'.
var<workgroup> sums: array<i32, 128>;

// The bytes that are within `end`, as signed ones; the others become 0.
fn as_signed(bytes: u32, unsigned: bool, at: u32, end: u32) -> u32 {
    let flipped = select(bytes, bytes ^ 0x80808080u, unsigned);
    let held = min(end - min(at, end), 4u);
    return extractBits(flipped, 0u, held * 8u);
}

fn byte_of_b(e: u32) -> u32 {
    if B_PACKED {
        return extractBits(b[e / 4u], (e % 4u) * 8u, 8u);
    }
    return b[e] & 0xffu;
}

fn load_a(line: u32, at: u32) -> u32 {
    var bytes = 0u;
    for (var i = 0u; i < 4u; i++) {
        if at + i < params.k {
            bytes |= (a[line + at + i] & 0xffu) << (8u * i);
        }
    }
    return as_signed(bytes, A_UNSIGNED, at, params.k);
}

fn load_b(start: u32, col: u32, at: u32) -> u32 {
    let first = select(start + at * params.n + col, start + col * params.k + at, B_COLUMNS);
    let step = select(params.n, 1u, B_COLUMNS);
    if B_PACKED && B_COLUMNS && params.k % 4u == 0u {
        if at >= params.k {
            return 0u;
        }
        return as_signed(b[first / 4u], B_UNSIGNED, at, params.k);
    }
    var bytes = 0u;
    for (var i = 0u; i < 4u; i++) {
        if at + i < params.k {
            bytes |= byte_of_b(first + i * step) << (8u * i);
        }
    }
    return as_signed(bytes, B_UNSIGNED, at, params.k);
}

fn a_zero_of(row: u32) -> i32 {
    let shift = select(0, 128, A_UNSIGNED);
    switch A_ZERO {
        case 1u: { return a_zero[0] - shift; }
        case 2u: { return a_zero[row] - shift; }
        default: { return -shift; }
    }
}

fn b_zero_of(col: u32) -> i32 {
    let shift = select(0, 128, B_UNSIGNED);
    switch B_ZERO {
        case 1u: { return b_zero[0] - shift; }
        case 2u: { return b_zero[col] - shift; }
        default: { return -shift; }
    }
}

// Four columns' words with one of a row.
fn products(left: u32, right: vec4<u32>) -> vec4<i32> {
    return vec4(
        dot4I8Packed(left, right.x),
        dot4I8Packed(left, right.y),
        dot4I8Packed(left, right.z),
        dot4I8Packed(left, right.w),
    );
}

fn store4(z: u32, own: u32, row: u32, x: u32, col: u32, acc: vec4<i32>) {
    if row + own >= params.m {
        return;
    }
    let za = a_zero_of(row + own);
    for (var j = 0u; j < 4u; j++) {
        let c = x + j * SIDE;
        if col + c < params.n {
            let zb = b_zero_of(col + c);
            let v = acc[j] - zb * sums[own] - za * sums[4u * SIDE + c] + i32(params.k) * za * zb;
            y[(z * params.m + row + own) * params.n + col + c] = v;
        }
    }
}

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let z = group.z;
    let wide = 4u * SIDE;
    let row = group.y * wide;
    let col = group.x * wide;
    let own = id.y * 4u;
    var acc0 = vec4(0);
    var acc1 = vec4(0);
    var acc2 = vec4(0);
    var acc3 = vec4(0);
    for (var i = local; i < 2u * wide; i += SIDE * SIDE) {
        sums[i] = 0;
    }
    for (var k0 = 0u; k0 < params.k; k0 += 4u * STEP) {
        for (var i = local; i < wide * STEP; i += SIDE * SIDE) {
            let r = min(row + i / STEP, params.m - 1u);
            tile_a[i / STEP * LINE + i % STEP] = load_a(z * params.a_batch + r * params.k, k0 + i % STEP * 4u);
            // Neighbours read along b's lines.
            let line = select(i % wide, i / STEP, B_COLUMNS);
            let word = select(i / wide, i % STEP, B_COLUMNS);
            tile_b[line * LINE + word] = load_b(z * params.b_batch, min(col + line, params.n - 1u), k0 + word * 4u);
        }
        workgroupBarrier();
        for (var i = local; i < 2u * wide; i += SIDE * SIDE) {
            let line = i % wide * LINE;
            var part = 0;
            for (var w = 0u; w < STEP; w++) {
                part += dot4I8Packed(select(tile_b[line + w], tile_a[line + w], i < wide), ONES);
            }
            sums[i] += part;
        }
        for (var w = 0u; w < STEP; w++) {
            let right = vec4(
                tile_b[id.x * LINE + w],
                tile_b[(id.x + SIDE) * LINE + w],
                tile_b[(id.x + 2u * SIDE) * LINE + w],
                tile_b[(id.x + 3u * SIDE) * LINE + w],
            );
            acc0 += products(tile_a[own * LINE + w], right);
            acc1 += products(tile_a[(own + 1u) * LINE + w], right);
            acc2 += products(tile_a[(own + 2u) * LINE + w], right);
            acc3 += products(tile_a[(own + 3u) * LINE + w], right);
        }
        workgroupBarrier();
    }
    workgroupBarrier();
    store4(z, own, row, id.x, col, acc0);
    store4(z, own + 1u, row, id.x, col, acc1);
    store4(z, own + 2u, row, id.x, col, acc2);
    store4(z, own + 3u, row, id.x, col, acc3);
}
