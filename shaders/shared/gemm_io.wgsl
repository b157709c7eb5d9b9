// The operands of matmul and gemv: y[z] = act(alpha * a[z] x b[z] * scale + bias) + residual.
// `a` is [m, k]; `b` is [k, n], or [n, k] with TRANS_B, as f32, packed f16 packed int8 with a scale per column, or
// (with TRANS_B) packed int4 with a scale and a shift for each group along k.
// Up to three batch dimensions step through a and b by strides; y is dense. `first_col` and `ldy` place a slice of the
// columns in y, for weights that are larger than one binding.
#import unary_op

struct Params {
    m: u32,
    n: u32,
    k: u32,
    batch_1: u32,
    batch_2: u32,
    first_batch: u32,
    a_0: u32,
    a_1: u32,
    a_2: u32,
    b_0: u32,
    b_1: u32,
    b_2: u32,
    first_col: u32,
    // Elements of b from one column to the next, with TRANS_B.
    ldb: u32,
    // Elements of b that share a scale, where it is int4.
    group: u32,
    ldy: u32,
    alpha: f32,
    act_a: f32,
    act_b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> a4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> b: array<u32>;
@group(0) @binding(4) var<storage, read_write> b4: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> scale: array<f32>;
@group(0) @binding(6) var<storage, read_write> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> residual: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

override TRANS_B: bool = false;
// 0: f32, 1: packed f16, 2: packed int8, 3: packed int4
override B_KIND: u32 = 0u;
// Rows of both operands start at multiples of four elements and have multiples of four.
override ALIGNED: bool = false;
override HAS_SCALE: bool = false;
override HAS_BIAS: bool = false;
override HAS_RESIDUAL: bool = false;
override ACT: u32 = 0u;

// Element offsets of a and b for batch z.
fn batch_offsets(z: u32) -> vec2<u32> {
    let i2 = z % params.batch_2;
    let i1 = (z / params.batch_2) % params.batch_1;
    let i0 = z / (params.batch_2 * params.batch_1);
    return vec2(
        i0 * params.a_0 + i1 * params.a_1 + i2 * params.a_2,
        i0 * params.b_0 + i1 * params.b_1 + i2 * params.b_2,
    );
}

// Element e of b is a nibble times x plus y of this.
fn int4_scale(e: u32) -> vec2<f32> {
    let g = (params.first_col * params.ldb + e) / params.group;
    return vec2(scale[2u * g], scale[2u * g + 1u]);
}

fn load_b(e: u32) -> f32 {
    switch B_KIND {
        case 1u: {
            let pair = unpack2x16float(b[e / 2u]);
            return select(pair.x, pair.y, (e & 1u) == 1u);
        }
        case 2u: { return f32(extractBits(bitcast<i32>(b[e / 4u]), (e % 4u) * 8u, 8u)); }
        case 3u: {
            let s = int4_scale(e);
            return f32(extractBits(b[e / 8u], (e % 8u) * 4u, 4u)) * s.x + s.y;
        }
        default: { return bitcast<f32>(b[e]); }
    }
}

// Four elements from a multiple of four.
fn load_b_aligned(e: u32) -> vec4<f32> {
    switch B_KIND {
        case 1u: { return vec4(unpack2x16float(b[e / 2u]), unpack2x16float(b[e / 2u + 1u])); }
        case 2u: { return vec4<f32>(unpack4xI8(b[e / 4u])); }
        case 3u: {
            let s = int4_scale(e);
            let four = vec4(b[e / 8u] >> ((e & 4u) * 4u)) >> vec4(0u, 4u, 8u, 12u);
            return vec4<f32>(four & vec4(15u)) * s.x + s.y;
        }
        default: { return bitcast<vec4<f32>>(b4[e / 4u]); }
    }
}

// Four elements of a line of b from `at`; zero past `end`.
fn load_b4(line: u32, at: u32, end: u32) -> vec4<f32> {
    if ALIGNED && at < end {
        return load_b_aligned(line + at);
    }
    var v = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if at + i < end {
            v[i] = load_b(line + at + i);
        }
    }
    return v;
}

fn load_a4(line: u32, at: u32, end: u32) -> vec4<f32> {
    if ALIGNED && at < end {
        return a4[(line + at) / 4u];
    }
    var v = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if at + i < end {
            v[i] = a[line + at + i];
        }
    }
    return v;
}

fn store(z: u32, row: u32, col: u32, value: f32) {
    if row >= params.m || col >= params.n {
        return;
    }
    let c = params.first_col + col;
    let at = (z * params.m + row) * params.ldy + c;
    var v = value * params.alpha;
    if HAS_SCALE && B_KIND != 3u {
        v *= scale[c];
    }
    if HAS_BIAS {
        v += bias[c];
    }
    v = unary_op(ACT, v, params.act_a, params.act_b);
    if HAS_RESIDUAL {
        v += residual[at];
    }
    y[at] = v;
}
