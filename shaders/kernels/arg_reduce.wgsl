// Where the largest or smallest of the middle of [outer, n, inner] lies. One workgroup an output.
#import index

struct Params {
    outputs: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override SMALLEST: bool = false;
// Of equal elements the last, not the first.
override LAST: bool = false;
override INTEGER: bool = false;

var<workgroup> values: array<u32, 128>;
var<workgroup> places: array<u32, 128>;

fn better(p: u32, p_at: u32, q: u32, q_at: u32) -> bool {
    var less: bool;
    if INTEGER {
        less = bitcast<i32>(p) < bitcast<i32>(q);
    } else {
        less = bitcast<f32>(p) < bitcast<f32>(q);
    }
    var more: bool;
    if INTEGER {
        more = bitcast<i32>(p) > bitcast<i32>(q);
    } else {
        more = bitcast<f32>(p) > bitcast<f32>(q);
    }
    if select(more, less, SMALLEST) {
        return true;
    }
    if less || more {
        return false;
    }
    return select((p_at < q_at), (p_at > q_at), LAST);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let output = group_index(group, groups);
    if output >= params.outputs {
        return;
    }
    let base = (output / params.inner) * params.n * params.inner + output % params.inner;
    var at = min(local, params.n - 1u);
    var value = x[base + at * params.inner];
    for (var i = local + 128u; i < params.n; i += 128u) {
        let v = x[base + i * params.inner];
        if better(v, i, value, at) {
            value = v;
            at = i;
        }
    }
    values[local] = value;
    places[local] = at;
    workgroupBarrier();
    for (var half = 64u; half > 0u; half /= 2u) {
        if local < half && better(values[local + half], places[local + half], values[local], places[local]) {
            values[local] = values[local + half];
            places[local] = places[local + half];
        }
        workgroupBarrier();
    }
    if local == 0u {
        y[output] = places[0];
    }
}
