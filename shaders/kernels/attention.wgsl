// softmax(scale * q k^T + mask) v without the matrix of scores: 16 queries per workgroup walk over the keys 32 at a time,
// keeping a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022). Threads: 8 per query.
//
// Operands are reached by strides (batch, head, row; the head's elements are dense), so that no transpose is needed.

struct Params {
    heads: u32,
    // Query heads per key head.
    shared_heads: u32,
    queries: u32,
    keys: u32,
    dim: u32,
    v_dim: u32,
    q_batch: u32,
    q_head: u32,
    q_row: u32,
    k_batch: u32,
    k_head: u32,
    k_row: u32,
    v_batch: u32,
    v_head: u32,
    v_row: u32,
    y_batch: u32,
    y_head: u32,
    y_row: u32,
    m_batch: u32,
    m_head: u32,
    m_row: u32,
    m_col: u32,
    // Query i sees keys up to i + offset, where the mask is causal.
    offset: i32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> q: array<f32>;
@group(0) @binding(2) var<storage, read_write> k: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> q4: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> k4: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> v4: array<vec4<f32>>;

// 0 none, 1 added, 2 bool: only where it is not 0
override MASK: u32 = 0u;
override CAUSAL: bool = false;
// Heads of q, k and v start at multiples of four elements and have multiples of four.
override ALIGNED: bool = false;
// Blocks of 32 elements that hold a head of v.
override V_BLOCKS: u32 = 8u;

// Below every score that counts, and below that the mark of a key that is not seen.
const LOWEST = -3.0e38;
const UNSEEN = -3.4e38;

// [16 queries][8 x 4 of the head]
var<workgroup> tile_q: array<vec4<f32>, 128>;
// [32 keys][8 x 4 of the head], in lines of 9 so that neighbours are in other banks
var<workgroup> tile_k: array<vec4<f32>, 288>;
// [16 queries][32 keys], in lines of 33
var<workgroup> scores: array<f32, 528>;

fn load_q(line: u32, at: u32, held: bool) -> vec4<f32> {
    if ALIGNED && held && at < params.dim {
        return q4[(line + at) / 4u];
    }
    var out = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if held && at + i < params.dim {
            out[i] = q[line + at + i];
        }
    }
    return out;
}

fn load_k(line: u32, at: u32, held: bool) -> vec4<f32> {
    if ALIGNED && held && at < params.dim {
        return k4[(line + at) / 4u];
    }
    var out = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if held && at + i < params.dim {
            out[i] = k[line + at + i];
        }
    }
    return out;
}

fn load_v(line: u32, at: u32, held: bool) -> vec4<f32> {
    if ALIGNED && held && at < params.v_dim {
        return v4[(line + at) / 4u];
    }
    var out = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if held && at + i < params.v_dim {
            out[i] = v[line + at + i];
        }
    }
    return out;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let batch = group.z;
    let head = group.y;
    let kv_head = head / params.shared_heads;
    let q_base = batch * params.q_batch + head * params.q_head;
    let k_base = batch * params.k_batch + kv_head * params.k_head;
    let v_base = batch * params.v_batch + kv_head * params.v_head;
    let own = local / 8u;
    let lane = local % 8u;
    let query = group.x * 16u + own;
    var acc: array<vec4<f32>, 8>;
    for (var j = 0u; j < V_BLOCKS; j++) {
        acc[j] = vec4(0.0);
    }
    var top = UNSEEN;
    var sum = 0.0;
    var last = params.keys;
    if CAUSAL {
        let furthest = i32(min(group.x * 16u + 15u, params.queries - 1u)) + params.offset + 1;
        last = u32(clamp(furthest, 0, i32(params.keys)));
    }
    for (var first = 0u; first < last; first += 32u) {
        // Scores of this thread's query with keys first + lane + 8 * (0..4).
        var s = vec4(0.0);
        for (var d = 0u; d < params.dim; d += 32u) {
            tile_q[local] = load_q(q_base + query * params.q_row, d + lane * 4u, query < params.queries);
            for (var i = 0u; i < 2u; i++) {
                let row = own + i * 16u;
                let key = first + row;
                tile_k[row * 9u + lane] = load_k(k_base + key * params.k_row, d + lane * 4u, key < params.keys);
            }
            workgroupBarrier();
            for (var e = 0u; e < 8u; e++) {
                let qe = tile_q[own * 8u + e];
                s += vec4(
                    dot(qe, tile_k[lane * 9u + e]),
                    dot(qe, tile_k[(lane + 8u) * 9u + e]),
                    dot(qe, tile_k[(lane + 16u) * 9u + e]),
                    dot(qe, tile_k[(lane + 24u) * 9u + e]),
                );
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 4u; i++) {
            let key = first + lane + i * 8u;
            var score = s[i] * params.scale;
            var seen = key < params.keys && query < params.queries;
            if CAUSAL {
                seen = seen && i32(key) <= i32(query) + params.offset;
            }
            if MASK != 0u && seen {
                let at = batch * params.m_batch + head * params.m_head + query * params.m_row + key * params.m_col;
                if MASK == 1u {
                    score += bitcast<f32>(mask[at]);
                    // Minus infinity hides the key; the lowest finite number only makes it light.
                    seen = bitcast<u32>(score) != 0xff800000u;
                } else {
                    seen = mask[at] != 0u;
                }
            }
            scores[own * 33u + lane + i * 8u] = select(UNSEEN, max(score, LOWEST), seen);
        }
        workgroupBarrier();
        // Loops over the keys end where they do: a constant end would be unrolled, and compile for seconds.
        let held = min(last - first, 32u);
        var new_top = top;
        for (var i = 0u; i < held; i++) {
            new_top = max(new_top, scores[own * 33u + i]);
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            let at = own * 33u + lane + i * 8u;
            let score = scores[at];
            scores[at] = select(exp(score - new_top), 0.0, score < LOWEST);
        }
        workgroupBarrier();
        let keep = exp(top - new_top);
        top = new_top;
        sum *= keep;
        for (var i = 0u; i < held; i++) {
            sum += scores[own * 33u + i];
        }
        for (var j = 0u; j < V_BLOCKS; j++) {
            for (var i = 0u; i < 2u; i++) {
                let row = own + i * 16u;
                let key = first + row;
                tile_k[row * 9u + lane] = load_v(v_base + key * params.v_row, j * 32u + lane * 4u, key < params.keys);
            }
            workgroupBarrier();
            var part = acc[j] * keep;
            for (var i = 0u; i < held; i++) {
                part += scores[own * 33u + i] * tile_k[i * 9u + lane];
            }
            acc[j] = part;
            workgroupBarrier();
        }
    }
    if query >= params.queries {
        return;
    }
    // A query that sees no key gets zeros.
    let inverse = select(0.0, 1.0 / sum, sum > 0.0);
    let line = batch * params.y_batch + head * params.y_head + query * params.y_row;
    for (var j = 0u; j < V_BLOCKS; j++) {
        for (var i = 0u; i < 4u; i++) {
            let at = j * 32u + lane * 4u + i;
            if at < params.v_dim {
                y[line + at] = acc[j][i] * inverse;
            }
        }
    }
}
