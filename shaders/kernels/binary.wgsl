// Two operands that broadcast against each other, element by element.
#import index
#import numeric
#import strides

struct Params {
    n: u32,
    shape: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<u32>;
@group(0) @binding(2) var<storage, read_write> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

override OP: u32 = 0u;
// 0: f32; 1: i32 (and bool, which holds 0 or 1)
override INTEGER: bool = false;
override RANK: u32 = 1u;

fn float_op(a: f32, b: f32) -> f32 {
    switch OP {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        case 3u: { return a / b; }
        case 4u: { return safe_pow(a, b); }
        case 5u: { return select(select(a, b, b > a), b, is_nan(b)); }
        case 6u: { return select(select(a, b, b < a), b, is_nan(b)); }
        case 7u: { return a - b * floor(a / b); }
        case 8u: { return a - b * trunc(a / b); }
        case 9u: { return select(a, a * b, a < 0.0); }
        default: { return a; }
    }
}

fn int_pow(base: i32, exponent: i32) -> i32 {
    if exponent < 0 {
        return select(select(0, 1 - 2 * (exponent & 1), base == -1), 1, base == 1);
    }
    var result = 1;
    var power = base;
    var rest = u32(exponent);
    while rest > 0u {
        if (rest & 1u) != 0u {
            result *= power;
        }
        power *= power;
        rest >>= 1u;
    }
    return result;
}

fn int_op(a: i32, b: i32) -> i32 {
    switch OP {
        case 0u: { return a + b; }
        case 1u: { return a - b; }
        case 2u: { return a * b; }
        case 3u: { return select(a / select(b, 1, b == 0), 0, b == 0); }
        case 4u: { return int_pow(a, b); }
        case 5u: { return max(a, b); }
        case 6u: { return min(a, b); }
        case 7u: {
            let r = a % select(b, 1, b == 0);
            return select(r, r + b, r != 0 && (r < 0) != (b < 0));
        }
        case 8u: { return a % select(b, 1, b == 0); }
        case 15u: { return a & b; }
        case 16u: { return a | b; }
        case 17u: { return a ^ b; }
        case 18u: { return bitcast<i32>(select(bitcast<u32>(a) << (bitcast<u32>(b) & 31u), 0u, bitcast<u32>(b) > 31u)); }
        case 19u: { return bitcast<i32>(select(bitcast<u32>(a) >> (bitcast<u32>(b) & 31u), 0u, bitcast<u32>(b) > 31u)); }
        default: { return a; }
    }
}

fn float_test(a: f32, b: f32) -> bool {
    if is_nan(a) || is_nan(b) {
        return false;
    }
    switch OP {
        case 10u: { return a == b; }
        case 11u: { return a < b; }
        case 12u: { return a <= b; }
        case 13u: { return a > b; }
        default: { return a >= b; }
    }
}

fn int_test(a: i32, b: i32) -> bool {
    switch OP {
        case 10u: { return a == b; }
        case 11u: { return a < b; }
        case 12u: { return a <= b; }
        case 13u: { return a > b; }
        default: { return a >= b; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let p = a[strided_offset(i, RANK, params.shape, params.a_strides)];
    let q = b[strided_offset(i, RANK, params.shape, params.b_strides)];
    let tests = OP >= 10u && OP <= 14u;
    if INTEGER {
        let left = bitcast<i32>(p);
        let right = bitcast<i32>(q);
        if tests {
            y[i] = u32(int_test(left, right));
        } else {
            y[i] = bitcast<u32>(int_op(left, right));
        }
    } else {
        let left = bitcast<f32>(p);
        let right = bitcast<f32>(q);
        if tests {
            y[i] = u32(float_test(left, right));
        } else {
            y[i] = bitcast<u32>(float_op(left, right));
        }
    }
}
