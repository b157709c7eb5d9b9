// Sums and maxima over a workgroup of 128 threads, by subgroups: one value of each goes through shared memory, whatever their
// size is. Every thread gets the result, and every thread must call.

struct Lane {
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) within: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

// Room for subgroups of one thread.
var<workgroup> group_values: array<f32, 128>;

fn group_sum(lane: Lane, value: f32) -> f32 {
    let own = subgroupAdd(value);
    if lane.within == 0u {
        group_values[lane.subgroup] = own;
    }
    workgroupBarrier();
    var total = group_values[0];
    for (var i = 1u; i < lane.subgroups; i++) {
        total += group_values[i];
    }
    workgroupBarrier();
    return total;
}

fn group_max(lane: Lane, value: f32) -> f32 {
    let own = subgroupMax(value);
    if lane.within == 0u {
        group_values[lane.subgroup] = own;
    }
    workgroupBarrier();
    var top = group_values[0];
    for (var i = 1u; i < lane.subgroups; i++) {
        top = max(top, group_values[i]);
    }
    workgroupBarrier();
    return top;
}
