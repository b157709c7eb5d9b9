use super::*;
use profiler::fixtures::Random;

/// A row of cells between 0 and some 10^12 ns: dense and sparse stretches, long and empty cells, cells without a class.
fn random_row(random: &mut Random, cells: usize) -> FlameRow {
    let mut row = RowBuilder::default();
    let (mut at, mut scale) = (0.0, 10);
    for i in 0..cells {
        if random.below(200) == 0 {
            scale = 1 << random.below(24);
        }
        at += if random.below(3) == 0 { random.below(scale) as f64 } else { 0.0 };
        let length = match random.below(40) {
            0 => random.below(100 * scale),
            1 => 0,
            _ => random.below(scale),
        };
        let class = OpClass::ALL.get(random.below(9) as usize).copied();
        let span = Some(SpanId(i as u32));
        row.push(FlameCell { start: at, end: at + length as f64, layer: None, span, node: None, class, warmup: false });
        at += length as f64;
    }
    row.finish(0)
}

/// A block's figures, cell by cell.
fn brute(row: &FlameRow, first: usize, count: usize) -> (f64, f64, f64, [f64; CLASSES]) {
    let mut time = [0.0; CLASSES];
    let cells = || (first..first + count).map(|i| row.cell(i));
    for c in cells() {
        if let Some(class) = c.class {
            time[class as usize] += c.duration();
        }
    }
    let longest = cells().map(|c| c.duration()).fold(0.0, f64::max);
    (row.cell(first).start, row.cell(first + count - 1).end, longest, time)
}

#[test]
fn blocks_agree_with_counting_cell_by_cell() {
    let mut random = Random::fresh();
    for round in 0..60 {
        let n = 1 + random.below(20_000) as usize;
        let row = random_row(&mut random, n);
        let whole = row.cell(n - 1).end + 1.0;
        for _ in 0..12 {
            let a = random.unit() * whole * 1.1 - whole * 0.05;
            let zoom = whole * 0.5f64.powi(random.below(40) as i32);
            let (from, to) = if random.below(4) == 0 { (-1.0, whole) } else { (a, a + zoom) };
            let narrow = (to - from) / (1.0 + random.below(1_500) as f64);
            let mut blocks = Vec::new();
            row.blocks(from, to, narrow, &mut blocks);
            let say = format!("round {round}, seed {}, {n} cells, {from} to {to} by {narrow}", random.seed);
            // Every visible cell is in exactly one block: the blocks follow each other without a gap.
            assert!(blocks.windows(2).all(|w| w[0].first + w[0].count == w[1].first), "{say}");
            let seen = row.visible(from, to);
            match (blocks.first(), blocks.last()) {
                (Some(f), Some(l)) => {
                    assert!(f.first <= seen.start && seen.end <= l.first + l.count, "{say}: {seen:?} {f:?} {l:?}");
                }
                _ => assert!(seen.is_empty(), "{say}: {seen:?}"),
            }
            for b in &blocks {
                let (start, end, longest, time) = brute(&row, b.first, b.count);
                assert_eq!((b.start, b.end), (start, end), "{say}");
                assert!((b.first..b.first + b.count).contains(&b.longest), "{say}");
                assert!((row.cell(b.longest).duration() - longest).abs() <= longest * 1e-6, "{say}");
                let sum: f64 = (b.first..b.first + b.count).map(|i| row.cell(i).duration()).sum();
                assert!((b.total - sum).abs() <= sum * 1e-9, "{say}: {b:?} {sum}");
                let most = time.into_iter().fold(0.0, f64::max);
                match b.class {
                    Some(c) if b.count > 1 => assert!(time[c as usize] >= most * (1.0 - 1e-3), "{say}: {b:?} {time:?}"),
                    Some(c) => assert_eq!(row.cell(b.first).class, Some(c), "{say}"),
                    None => assert!(most <= 0.0, "{say}: {b:?} {time:?}"),
                }
                // Only narrow cells merge, and what they make is narrow too.
                assert!(b.count == 1 || (longest < narrow && end - start < 2.5 * narrow), "{say}: {b:?}");
            }
        }
    }
}

#[test]
fn the_whole_row_is_conserved_at_every_zoom() {
    let mut random = Random::fresh();
    let row = random_row(&mut random, 100_000);
    let whole = row.cell(row.len() - 1).end + 1.0;
    for pixels in [1.0, 7.0, 100.0, 1280.0, 2560.0, 1e6] {
        let mut blocks = Vec::new();
        row.blocks(-1.0, whole, whole / pixels, &mut blocks);
        let cells: usize = blocks.iter().map(|b| b.count).sum();
        assert_eq!(cells, row.len(), "seed {}", random.seed);
    }
    let mut all = Vec::new();
    row.blocks(-1.0, whole, 0.0, &mut all);
    assert!(all.len() == row.len() && all.iter().all(|b| b.count == 1), "seed {}", random.seed);
}

/// The number of blocks is bound by the window's width alone, and so is what is looked at to make them.
#[test]
fn blocks_cost_pixels_not_cells() {
    let mut random = Random::fresh();
    let (width, narrow_px) = (1280.0, 3.0);
    for n in [1_000, 30_000, 1_000_000] {
        let row = random_row(&mut random, n);
        let whole = row.cell(n - 1).end + 1.0;
        for zoom in 0..40 {
            let window = whole * 0.5f64.powi(zoom);
            let from = (whole - window) * random.unit();
            let narrow = window / width * narrow_px;
            let mut blocks = Vec::new();
            row.blocks(from, from + window, narrow, &mut blocks);
            let bound = 4.0 * width / narrow_px + 8.0;
            assert!((blocks.len() as f64) <= bound, "{} blocks of {n}, seed {}", blocks.len(), random.seed);
            let looked = row.looked_at(from, from + window, narrow);
            // At most four nodes to a stretch are opened on each level, of which there are few.
            let levels = (n as f64).log(FAN as f64).ceil();
            let stretches = 2.0 * width / narrow_px + 3.0;
            let bound = levels * FAN as f64 * 4.0 * stretches;
            assert!((looked as f64) <= bound, "{looked} of {n}, seed {}", random.seed);
        }
    }
}

#[test]
fn blocks_stay_while_the_window_moves() {
    let mut random = Random::fresh();
    let row = random_row(&mut random, 50_000);
    let whole = row.cell(row.len() - 1).end;
    let (narrow, window) = (whole / 20_000.0, whole / 20.0);
    let cut = |from: f64| {
        let mut blocks = Vec::new();
        row.blocks(from, from + window, narrow, &mut blocks);
        blocks
    };
    let before = cut(whole * 0.4);
    let after = cut(whole * 0.4 + window * 0.1);
    let inner = |b: &&Block| b.start > whole * 0.4 + window * 0.12 && b.end < whole * 0.4 + window * 0.98;
    let kept: Vec<&Block> = before.iter().filter(inner).collect();
    assert_eq!(kept, after.iter().filter(inner).collect::<Vec<_>>(), "seed {}", random.seed);
}

#[test]
fn spans_are_found_by_their_start() {
    let mut random = Random::fresh();
    let row = random_row(&mut random, 3_000);
    for i in 0..row.len() {
        let c = row.cell(i);
        assert_eq!(row.find(c.span.unwrap(), c.start), Some(i), "seed {}", random.seed);
    }
    assert_eq!(row.find(SpanId(5_000), row.cell(3).start), None);
}

impl FlameRow {
    /// Nodes and cells that [`FlameRow::blocks`] looks at.
    fn looked_at(&self, from: f64, to: f64, narrow: f64) -> usize {
        let width = narrow.log2().floor().exp2();
        let Some(top) = self.pyramid.last() else { return self.len() };
        let mut open = vec![(self.pyramid.len() - 1, 0..top.len())];
        let mut looked = 0;
        while let Some((level, nodes)) = open.pop() {
            for i in nodes {
                let n = &self.pyramid[level][i];
                looked += 1;
                if n.end <= from || n.start >= to || n.end - n.start <= width * WHOLE {
                    continue;
                }
                match level.checked_sub(1) {
                    Some(below) => open.push((below, i * FAN..((i + 1) * FAN).min(self.pyramid[below].len()))),
                    None => looked += FAN,
                }
            }
        }
        looked
    }
}
