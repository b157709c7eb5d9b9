// The scale and zero point with which u8 covers a tensor (ONNX DynamicQuantizeLinear). One workgroup.

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> zero: array<i32>;

var<workgroup> low: array<f32, 256>;
var<workgroup> high: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    // The range always holds 0.
    var least = 0.0;
    var most = 0.0;
    for (var i = local; i < params.n; i += 256u) {
        least = min(least, x[i]);
        most = max(most, x[i]);
    }
    low[local] = least;
    high[local] = most;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if local < half {
            low[local] = min(low[local], low[local + half]);
            high[local] = max(high[local], high[local + half]);
        }
        workgroupBarrier();
    }
    if local == 0u {
        // Nothing but zeros: any scale will do, and 1 is ONNX Runtime's.
        let step = select((high[0] - low[0]) / 255.0, 1.0, high[0] == low[0]);
        scale[0] = step;
        zero[0] = i32(clamp(round(-low[0] / step), 0.0, 255.0));
    }
}
