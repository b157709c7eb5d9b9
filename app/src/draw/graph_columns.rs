//! Columns for the vertices of a graph in layers: long lines straight, parents above the middle of their children, boxes
//! never over each other. U. Brandes and B. Köpf, "Fast and Simple Horizontal Coordinate Assignment", 2002, with blocks
//! compacted along the graph of their neighbourhoods.

use super::graph_layered::Ranked;

/// Between boxes.
const BOX_GAP: f32 = 24.0;
/// Between lines.
const LINE_GAP: f32 = 12.0;

/// The middle of each vertex and bend.
pub(super) fn columns(g: &Ranked) -> Vec<f32> {
    let n = g.width.len();
    if n == 0 {
        return Vec::new();
    }
    let barred = barred(g);
    let mut candidates: Vec<Vec<f32>> = Vec::with_capacity(4);
    for from_top in [true, false] {
        for from_left in [true, false] {
            let root = aligned(g, &barred, from_top, from_left);
            let mut x = compacted(g, &root, from_left);
            if !from_left {
                x.iter_mut().for_each(|x| *x = -*x);
            }
            candidates.push(x);
        }
    }
    let bounds = |x: &[f32]| {
        let lo = (0..n).map(|v| x[v] - g.width[v] / 2.0).fold(f32::INFINITY, f32::min);
        let hi = (0..n).map(|v| x[v] + g.width[v] / 2.0).fold(f32::NEG_INFINITY, f32::max);
        (lo, hi)
    };
    let narrowest = candidates.iter().map(|x| bounds(x)).min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)));
    let (lo, hi) = narrowest.unwrap_or_default();
    for (i, x) in candidates.iter_mut().enumerate() {
        let (l, h) = bounds(x);
        let shift = if i % 2 == 0 { lo - l } else { hi - h };
        x.iter_mut().for_each(|x| *x += shift);
    }
    let middle = |v: usize| {
        let mut four = [candidates[0][v], candidates[1][v], candidates[2][v], candidates[3][v]];
        four.sort_by(f32::total_cmp);
        (four[1] + four[2]) / 2.0
    };
    (0..n).map(middle).collect()
}

/// Lines that would cross a long one between two of its bends: the long one stays straight.
fn barred(g: &Ranked) -> std::collections::HashSet<(usize, usize)> {
    let is_bend = |v: usize| v >= g.bends_from;
    let inner_above = |v: usize| g.up[v].iter().copied().find(|&u| is_bend(v) && is_bend(u));
    let mut barred = std::collections::HashSet::new();
    for pair in g.layers.windows(2) {
        let (upper, lower) = (&pair[0], &pair[1]);
        let (mut left, mut scanned) = (0, 0);
        for (i, &v) in lower.iter().enumerate() {
            let inner = inner_above(v);
            if inner.is_none() && i + 1 != lower.len() {
                continue;
            }
            let right = inner.map_or(upper.len(), |u| g.place[u]);
            for &w in &lower[scanned..=i] {
                for &u in &g.up[w] {
                    let at = g.place[u];
                    if (at < left || at > right) && !(is_bend(u) && is_bend(w)) {
                        barred.insert((u, w));
                    }
                }
            }
            scanned = i + 1;
            left = right;
        }
    }
    barred
}

/// Chains of vertices that shall stand in one column, each named by its root.
fn aligned(
    g: &Ranked,
    barred: &std::collections::HashSet<(usize, usize)>,
    from_top: bool,
    from_left: bool,
) -> Vec<usize> {
    let n = g.width.len();
    let mut root: Vec<usize> = (0..n).collect();
    let mut align = root.clone();
    let count = g.layers.len();
    let mut beside = Vec::new();
    for step in 0..count {
        let layer = &g.layers[if from_top { step } else { count - 1 - step }];
        // Places count from the side that is begun at.
        let width = |v: usize| if from_left { g.place[v] as i64 } else { -(g.place[v] as i64) };
        let mut last = i64::MIN;
        for i in 0..layer.len() {
            let v = layer[if from_left { i } else { layer.len() - 1 - i }];
            beside.clear();
            beside.extend_from_slice(if from_top { &g.up[v] } else { &g.down[v] });
            if beside.is_empty() {
                continue;
            }
            beside.sort_by_key(|&w| width(w));
            let (low, high) = ((beside.len() - 1) / 2, beside.len() / 2);
            for &w in &beside[low..=high] {
                let free = !barred.contains(&if from_top { (w, v) } else { (v, w) });
                if align[v] == v && last < width(w) && free {
                    align[w] = v;
                    root[v] = root[w];
                    align[v] = root[v];
                    last = width(w);
                }
            }
        }
    }
    root
}

/// The column of each vertex: blocks as far to the left as they go, then to the right where that closes a gap.
fn compacted(g: &Ranked, root: &[usize], from_left: bool) -> Vec<f32> {
    let n = g.width.len();
    let apart = |u: usize, v: usize| {
        let line = |v: usize| v >= g.bends_from || g.width[v] <= 1.0;
        let gap = match (line(u), line(v)) {
            (true, true) => LINE_GAP,
            (false, false) => BOX_GAP,
            _ => (LINE_GAP + BOX_GAP) / 2.0,
        };
        (g.width[u] + g.width[v]) / 2.0 + gap
    };
    let mut after: Vec<Vec<(usize, f32)>> = vec![Vec::new(); n];
    let mut waiting = vec![0_usize; n];
    for layer in &g.layers {
        for i in 1..layer.len() {
            let (u, v) = if from_left { (i - 1, i) } else { (layer.len() - i, layer.len() - 1 - i) };
            let (u, v) = (layer[u], layer[v]);
            after[root[u]].push((root[v], apart(u, v)));
            waiting[root[v]] += 1;
        }
    }
    let mut sorted: Vec<usize> = (0..n).filter(|&v| root[v] == v && waiting[v] == 0).collect();
    let mut x = vec![0.0_f32; n];
    let mut next = 0;
    while let Some(&u) = sorted.get(next) {
        next += 1;
        for &(v, apart) in &after[u] {
            x[v] = x[v].max(x[u] + apart);
            waiting[v] -= 1;
            if waiting[v] == 0 {
                sorted.push(v);
            }
        }
    }
    for &u in sorted.iter().rev() {
        let room = after[u].iter().map(|&(v, apart)| x[v] - apart).fold(f32::INFINITY, f32::min);
        if room.is_finite() {
            x[u] = x[u].max(room);
        }
    }
    (0..n).map(|v| x[root[v]]).collect()
}
