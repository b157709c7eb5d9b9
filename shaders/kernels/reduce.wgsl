// Reduces the middle of [outer, n, inner], over f32 or i32. `group` gives each output a workgroup, `line` a thread.
#import index
#import reduce_group

struct Params {
    outputs: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// 0 sum, 1 mean, 2 max, 3 min, 4 product, 5 L1, 6 L2, 7 sum of squares, 8 log of sum, 9 log of sum of exponentials
override OP: u32 = 0u;
override INTEGER: bool = false;

var<workgroup> partial: array<u32, 128>;

// What an element counts as; `top` is the largest element where OP is 9.
fn enter(bits: u32, top: f32) -> u32 {
    if INTEGER {
        let v = bitcast<i32>(bits);
        switch OP {
            case 5u: { return bitcast<u32>(abs(v)); }
            case 7u: { return bitcast<u32>(v * v); }
            default: { return bits; }
        }
    }
    let v = bitcast<f32>(bits);
    switch OP {
        case 5u: { return bitcast<u32>(abs(v)); }
        case 6u, 7u: { return bitcast<u32>(v * v); }
        case 9u: { return bitcast<u32>(exp(v - top)); }
        default: { return bits; }
    }
}

fn combine(op: u32, p: u32, q: u32) -> u32 {
    if INTEGER {
        let a = bitcast<i32>(p);
        let b = bitcast<i32>(q);
        switch op {
            case 2u: { return bitcast<u32>(max(a, b)); }
            case 3u: { return bitcast<u32>(min(a, b)); }
            case 4u: { return bitcast<u32>(a * b); }
            default: { return bitcast<u32>(a + b); }
        }
    }
    let a = bitcast<f32>(p);
    let b = bitcast<f32>(q);
    switch op {
        case 2u: { return bitcast<u32>(max(a, b)); }
        case 3u: { return bitcast<u32>(min(a, b)); }
        case 4u: { return bitcast<u32>(a * b); }
        default: { return bitcast<u32>(a + b); }
    }
}

fn leave(bits: u32, top: f32) -> u32 {
    if INTEGER {
        if OP == 1u {
            return bitcast<u32>(bitcast<i32>(bits) / i32(params.n));
        }
        return bits;
    }
    let v = bitcast<f32>(bits);
    switch OP {
        case 1u: { return bitcast<u32>(v / f32(params.n)); }
        case 6u: { return bitcast<u32>(sqrt(v)); }
        case 8u: { return bitcast<u32>(log(v)); }
        case 9u: { return bitcast<u32>(log(v) + top); }
        default: { return bits; }
    }
}

fn base_of(output: u32) -> u32 {
    return (output / params.inner) * params.n * params.inner + output % params.inner;
}

@compute @workgroup_size(64)
fn line(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let output = thread_index(group, groups, local);
    if output >= params.outputs {
        return;
    }
    let base = base_of(output);
    var top = 0.0;
    if OP == 9u {
        var largest = x[base];
        for (var i = 1u; i < params.n; i++) {
            largest = combine(2u, largest, x[base + i * params.inner]);
        }
        top = bitcast<f32>(largest);
    }
    var acc = enter(x[base], top);
    for (var i = 1u; i < params.n; i++) {
        acc = combine(OP, acc, enter(x[base + i * params.inner], top));
    }
    y[output] = leave(acc, top);
}

// Over the workgroup: threads past the elements hold copies of the first, so only those below `count` are combined.
fn combine_group(op: u32, lane: Lane, value: u32, count: u32) -> u32 {
    if !INTEGER && op != 4u {
        let v = bitcast<f32>(value);
        switch op {
            case 2u: { return bitcast<u32>(group_max(lane, v)); }
            case 3u: { return bitcast<u32>(-group_max(lane, -v)); }
            default: { return bitcast<u32>(group_sum(lane, select(0.0, v, lane.local < count))); }
        }
    }
    let local = lane.local;
    partial[local] = value;
    workgroupBarrier();
    for (var half = 64u; half > 0u; half /= 2u) {
        if local < half && local + half < count {
            partial[local] = combine(op, partial[local], partial[local + half]);
        }
        workgroupBarrier();
    }
    let result = partial[0];
    workgroupBarrier();
    return result;
}

@compute @workgroup_size(128)
fn group(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let output = group_index(group, groups);
    if output >= params.outputs {
        return;
    }
    let local = lane.local;
    let base = base_of(output);
    let first = base + min(local, params.n - 1u) * params.inner;
    var top = 0.0;
    if OP == 9u {
        var largest = x[first];
        for (var i = local + 128u; i < params.n; i += 128u) {
            largest = combine(2u, largest, x[base + i * params.inner]);
        }
        top = bitcast<f32>(combine_group(2u, lane, largest, params.n));
    }
    var acc = enter(x[first], top);
    for (var i = local + 128u; i < params.n; i += 128u) {
        acc = combine(OP, acc, enter(x[base + i * params.inner], top));
    }
    acc = combine_group(OP, lane, acc, params.n);
    if local == 0u {
        y[output] = leave(acc, top);
    }
}
