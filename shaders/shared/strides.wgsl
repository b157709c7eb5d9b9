// Element offsets by strides, for up to eight dimensions. A negative stride is its two's complement: sums wrap into place.

fn strided_offset(index: u32, rank: u32, shape: array<vec4<u32>, 2>, strides: array<vec4<u32>, 2>) -> u32 {
    var dims = shape;
    var steps = strides;
    var rest = index;
    var offset = 0u;
    for (var d = rank; d > 1u; d--) {
        let n = dims[(d - 1u) / 4u][(d - 1u) % 4u];
        let q = rest / n;
        offset += (rest - q * n) * steps[(d - 1u) / 4u][(d - 1u) % 4u];
        rest = q;
    }
    return offset + rest * steps[0][0];
}
