// Where a workgroup or a thread stands in a line that was folded into two dimensions.

fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Threads of kernels over elements come in workgroups of 64.
fn thread_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return group_index(group, groups) * 64u + local;
}
