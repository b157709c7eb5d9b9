enable f16;
// The tiled matrix product with f16 weights, which stay f16 in shared memory; products and sums are f32.
#import matmul_tiles

alias Right = vec4<f16>;

fn load_right(line: u32, at: u32, end: u32) -> Right {
    return Right(load_b4(line, at, end));
}
