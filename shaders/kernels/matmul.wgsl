// The tiled matrix product.
#import matmul_tiles

alias Right = vec4<f32>;

fn load_right(line: u32, at: u32, end: u32) -> Right {
    return load_b4(line, at, end);
}
