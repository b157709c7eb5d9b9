// The matrix product for at most four rows of a, with b as [n, k]: a subgroup for each column, so that sums need no barrier.
// The subgroups' size is the adapter's own; where it is small, a workgroup has more of them.
#import gemv_rows

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) within: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

@compute @workgroup_size(256)
fn main(p: Place) {
    let z = params.first_batch + p.group.z;
    let start = batch_offsets(z);
    for (var col = p.group.x * p.subgroups + p.subgroup; col < params.n; col += p.groups.x * p.subgroups) {
        let line = start.y + col * params.ldb;
        var sums = vec4(0.0);
        for (var k = p.within * 4u; k < params.k; k += p.size * 4u) {
            sums += products(line, start.x, k);
        }
        sums = subgroupAdd(sums);
        if p.within == 0u {
            store_rows(z, col, sums);
        }
    }
}
