// Sums and maxima over a workgroup of 128 threads. Every thread gets the result, and every thread must call.

struct Lane {
    @builtin(local_invocation_index) local: u32,
}

var<workgroup> group_values: array<f32, 128>;

fn group_sum(lane: Lane, value: f32) -> f32 {
    let local = lane.local;
    group_values[local] = value;
    workgroupBarrier();
    for (var half = 64u; half > 0u; half /= 2u) {
        if local < half {
            group_values[local] += group_values[local + half];
        }
        workgroupBarrier();
    }
    let total = group_values[0];
    workgroupBarrier();
    return total;
}

fn group_max(lane: Lane, value: f32) -> f32 {
    let local = lane.local;
    group_values[local] = value;
    workgroupBarrier();
    for (var half = 64u; half > 0u; half /= 2u) {
        if local < half {
            group_values[local] = max(group_values[local], group_values[local + half]);
        }
        workgroupBarrier();
    }
    let top = group_values[0];
    workgroupBarrier();
    return top;
}
