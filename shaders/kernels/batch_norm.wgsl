// (x - mean) / sqrt(variance + eps) * scale + bias per channel of [batch, channels, inner], then an activation.
#import index
#import unary_op

struct Params {
    n: u32,
    channels: u32,
    inner: u32,
    eps: f32,
    act_a: f32,
    act_b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> variance: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

override ACT: u32 = 0u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = thread_index(group, groups, local);
    if i >= params.n {
        return;
    }
    let c = (i / params.inner) % params.channels;
    let v = (x[i] - mean[c]) / sqrt(variance[c] + params.eps) * scale[c] + bias[c];
    y[i] = unary_op(ACT, v, params.act_a, params.act_b);
}
