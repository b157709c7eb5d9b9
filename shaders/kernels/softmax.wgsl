// Softmax over the middle of [outer, n, inner], one workgroup a line.
#import index
#import reduce_group

struct Params {
    lines: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override LOG: bool = false;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let local = lane.local;
    let line = group_index(group, groups);
    if line >= params.lines {
        return;
    }
    let step = params.inner;
    let base = (line / step) * params.n * step + line % step;
    var top = x[base];
    for (var i = local; i < params.n; i += 128u) {
        top = max(top, x[base + i * step]);
    }
    top = group_max(lane, top);
    var sum = 0.0;
    for (var i = local; i < params.n; i += 128u) {
        sum += exp(x[base + i * step] - top);
    }
    sum = group_sum(lane, sum);
    if LOG {
        let shift = top + log(sum);
        for (var i = local; i < params.n; i += 128u) {
            y[base + i * step] = x[base + i * step] - shift;
        }
    } else {
        let scale = 1.0 / sum;
        for (var i = local; i < params.n; i += 128u) {
            y[base + i * step] = exp(x[base + i * step] - top) * scale;
        }
    }
}
