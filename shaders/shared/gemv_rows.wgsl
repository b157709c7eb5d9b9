// What the forms of the product for at most four rows share: reading the rows of a and storing those of y.
#import gemm_io

// There is one row: the others need not be read.
override ONE_ROW: bool = false;

fn store_rows(z: u32, col: u32, sums: vec4<f32>) {
    store(z, 0u, col, sums.x);
    store(z, 1u, col, sums.y);
    store(z, 2u, col, sums.z);
    store(z, 3u, col, sums.w);
}

// Element k of the rows of a.
fn rows_at(start: u32, k: u32) -> vec4<f32> {
    if ONE_ROW {
        return vec4(a[start + k]);
    }
    let last = params.m - 1u;
    return vec4(
        a[start + k],
        a[start + min(1u, last) * params.k + k],
        a[start + min(2u, last) * params.k + k],
        a[start + min(3u, last) * params.k + k],
    );
}

// Four elements of a line of b with those of the rows of a.
fn products(line: u32, start: u32, k: u32) -> vec4<f32> {
    let w = load_b4(line, k, params.k);
    let first = dot(w, load_a4(start, k, params.k));
    if ONE_ROW {
        return vec4(first);
    }
    let last = params.m - 1u;
    return vec4(
        first,
        dot(w, load_a4(start + min(1u, last) * params.k, k, params.k)),
        dot(w, load_a4(start + min(2u, last) * params.k, k, params.k)),
        dot(w, load_a4(start + min(3u, last) * params.k, k, params.k)),
    );
}
