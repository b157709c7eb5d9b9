// Products of integers: y[z] = (a[z] - a_zero) x (b[z] - b_zero) over i32; b may be packed, four bytes a word.
// 32 x 32 of y per workgroup in steps of 32 along k; 4 x 1 of y per thread.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_batch: u32,
    b_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<i32>;
@group(0) @binding(2) var<storage, read_write> b: array<i32>;
@group(0) @binding(3) var<storage, read_write> a_zero: array<i32>;
@group(0) @binding(4) var<storage, read_write> b_zero: array<i32>;
@group(0) @binding(5) var<storage, read_write> y: array<i32>;

// 0 none, 1 one number, 2 one per row of a or column of b
override A_ZERO: u32 = 0u;
override B_ZERO: u32 = 0u;
// 0 words, 1 packed signed bytes, 2 packed unsigned bytes
override B_KIND: u32 = 0u;

var<workgroup> tile_a: array<i32, 1024>;
var<workgroup> tile_b: array<i32, 1024>;

fn load_b(e: u32) -> i32 {
    switch B_KIND {
        case 1u: { return extractBits(b[e / 4u], (e % 4u) * 8u, 8u); }
        case 2u: { return i32(extractBits(bitcast<u32>(b[e / 4u]), (e % 4u) * 8u, 8u)); }
        default: { return b[e]; }
    }
}

fn a_zero_of(row: u32) -> i32 {
    switch A_ZERO {
        case 1u: { return a_zero[0]; }
        case 2u: { return a_zero[row]; }
        default: { return 0; }
    }
}

fn b_zero_of(col: u32) -> i32 {
    switch B_ZERO {
        case 1u: { return b_zero[0]; }
        case 2u: { return b_zero[col]; }
        default: { return 0; }
    }
}

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
    let z = group.z;
    let row = group.y * 32u;
    let col = group.x * 32u + id.x;
    let c = min(col, params.n - 1u);
    let zero = b_zero_of(c);
    var acc = vec4(0);
    for (var k0 = 0u; k0 < params.k; k0 += 32u) {
        for (var i = 0u; i < 4u; i++) {
            let r = id.y * 4u + i;
            let source = min(row + r, params.m - 1u);
            var left = 0;
            if k0 + id.x < params.k {
                left = a[z * params.a_batch + source * params.k + k0 + id.x] - a_zero_of(source);
            }
            tile_a[r * 32u + id.x] = left;
            var right = 0;
            if k0 + r < params.k {
                right = load_b(z * params.b_batch + (k0 + r) * params.n + c) - zero;
            }
            tile_b[r * 32u + id.x] = right;
        }
        workgroupBarrier();
        for (var p = 0u; p < 32u; p++) {
            let right = tile_b[p * 32u + id.x];
            for (var i = 0u; i < 4u; i++) {
                acc[i] += tile_a[(id.y * 4u + i) * 32u + p] * right;
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let r = row + id.y * 4u + i;
        if r < params.m && col < params.n {
            y[(z * params.m + r) * params.n + col] = acc[i];
        }
    }
}
