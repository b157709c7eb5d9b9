// Pads (or, where an amount is negative, cuts) every dimension. Works on words: any element type.
#import index

struct Params {
    n: u32,
    rank: u32,
    value: u32,
    y_shape: array<vec4<u32>, 2>,
    x_shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    // Elements before the first of x, as two's complement.
    before: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// 0 constant, 1 reflect, 2 edge, 3 wrap
override MODE: u32 = 0u;

fn remainder(a: i32, n: i32) -> i32 {
    let r = a % n;
    return select(r, r + n, r < 0);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    var rest = i;
    var source = 0u;
    var outside = false;
    for (var d = params.rank; d > 0u; d--) {
        let q = (d - 1u) / 4u;
        let r = (d - 1u) % 4u;
        let size = params.y_shape[q][r];
        let n = i32(params.x_shape[q][r]);
        var c = i32(rest % size) - bitcast<i32>(params.before[q][r]);
        rest /= size;
        switch MODE {
            case 1u: {
                let period = max(2 * (n - 1), 1);
                c = remainder(c, period);
                c = min(c, period - c);
            }
            case 2u: { c = clamp(c, 0, n - 1); }
            case 3u: { c = remainder(c, n); }
            default: {}
        }
        outside = outside || c < 0 || c >= n;
        source += u32(clamp(c, 0, n - 1)) * params.x_strides[q][r];
    }
    if outside {
        y[i] = params.value;
    } else {
        y[i] = x[source];
    }
}
