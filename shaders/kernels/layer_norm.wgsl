// Normalises each row to mean 0 and variance 1, or by its root mean square, then scales and shifts. One workgroup a row.
// The scale of element i of a row is number (row % groups) * per_group + i / inner: with one group and inner 1 that is
// layer norm; with channel groups and inner the pixels, group and instance norm. With a residual, the row is x + residual.
#import index
#import reduce_group

struct Params {
    rows: u32,
    cols: u32,
    groups: u32,
    per_group: u32,
    inner: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> sum: array<f32>;

override HAS_SCALE: bool = false;
override HAS_BIAS: bool = false;
override HAS_RESIDUAL: bool = false;
override HAS_SUM: bool = false;
override RMS: bool = false;

// The row's element; after the first pass over a row with a residual, y holds the sum.
fn element(i: u32) -> f32 {
    if HAS_RESIDUAL {
        return y[i];
    }
    return x[i];
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let local = lane.local;
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = row * params.cols;
    let count = f32(params.cols);
    if HAS_RESIDUAL {
        // A thread reads only what it wrote itself.
        for (var i = base + local; i < base + params.cols; i += 128u) {
            let v = x[i] + residual[i];
            y[i] = v;
            if HAS_SUM {
                sum[i] = v;
            }
        }
    }
    var mean = 0.0;
    if !RMS {
        var total = 0.0;
        for (var i = local; i < params.cols; i += 128u) {
            total += element(base + i);
        }
        mean = group_sum(lane, total) / count;
    }
    var squares = 0.0;
    for (var i = local; i < params.cols; i += 128u) {
        let d = element(base + i) - mean;
        squares += d * d;
    }
    let inverse = 1.0 / sqrt(group_sum(lane, squares) / count + params.eps);
    let first = (row % params.groups) * params.per_group;
    for (var i = local; i < params.cols; i += 128u) {
        var v = (element(base + i) - mean) * inverse;
        let c = first + i / params.inner;
        if HAS_SCALE {
            v *= scale[c];
        }
        if HAS_BIAS {
            v += bias[c];
        }
        y[base + i] = v;
    }
}
