//! The integer micro-kernel on bytes: unsigned rows times signed columns, where the sums of several products stay in 16 bits before they
//! are widened. The result is exact nevertheless: at packing, the few weights whose sums could leave 16 bits are made smaller, and what
//! was taken from them is added afterwards.

use super::dot::{COLUMNS, Tile};

/// The kernel takes so many p at a time, four of them in one element of 32 bits.
const STEP: usize = 16;
const FOUR: usize = 4;

/// One in so many weights may be made smaller; beyond, the wide kernel is faster.
const RARE: usize = 512;

/// What was taken from a weight.
#[derive(Clone, Copy)]
struct Rest {
    p: u32,
    column: u8,
    value: i16,
}

/// Columns of 8-bit numbers in panels of [`COLUMNS`]; in a panel the columns lie side by side for each four p, the four numbers
/// together. Zeros fill up the depth to whole steps.
#[derive(Clone)]
pub(super) struct NarrowColumns {
    data: Vec<i8>,
    /// By panel: where its rests begin.
    starts: Vec<usize>,
    rests: Vec<Rest>,
    /// The sum of each column.
    pub(super) sums: Vec<i32>,
    /// Whether a whole step is summed in 16 bits, or half of one.
    whole: bool,
    k: usize,
}

/// Makes numbers smaller until those of one sign add up to 128 at most (times 255 that is within 16 bits); calls `taken(i, rest)`.
fn fit<const N: usize>(set: [&mut i8; N], mut taken: impl FnMut(usize, i16)) {
    let (mut above, mut below) = (-128i32, -128i32);
    for x in &set {
        above += i32::from(**x).max(0);
        below -= i32::from(**x).min(0);
    }
    for (i, x) in set.into_iter().enumerate() {
        let v = i32::from(*x);
        let over = if v > 0 { &mut above } else { &mut below };
        let cut = (*over).clamp(0, v.abs());
        *over -= cut;
        if cut > 0 {
            let rest = cut * v.signum();
            *x = (v - rest) as i8;
            taken(i, rest as i16);
        }
    }
}

impl NarrowColumns {
    /// Packs a [k, n] matrix given by its elements; `None` if too many weights are large.
    pub(super) fn pack(k: usize, n: usize, at: impl Fn(usize, usize) -> i8) -> Option<NarrowColumns> {
        let len = k.div_ceil(STEP) * STEP;
        let mut data = vec![0; n.div_ceil(COLUMNS) * COLUMNS * len];
        let mut sums = vec![0i32; n.div_ceil(COLUMNS) * COLUMNS];
        for p in 0..k {
            for (j, sum) in sums.iter_mut().enumerate().take(n) {
                let x = at(p, j);
                *sum = sum.wrapping_add(i32::from(x));
                data[j / COLUMNS * COLUMNS * len + (p / FOUR * COLUMNS + j % COLUMNS) * FOUR + p % FOUR] = x;
            }
        }
        let mut packed = NarrowColumns { data, starts: Vec::new(), rests: Vec::new(), sums, whole: true, k };
        if !packed.shrink::<8>() {
            packed.whole = false;
            if !packed.shrink::<4>() {
                return None;
            }
        }
        Some(packed)
    }

    /// Makes the sums of `N` products fit into 16 bits; false, with the weights as they were, if that changes too many.
    fn shrink<const N: usize>(&mut self) -> bool {
        let len = self.row();
        let most = self.data.len() / RARE + 4;
        (self.rests, self.starts) = (Vec::new(), vec![0]);
        let groups = (2 * N / FOUR) * COLUMNS * FOUR;
        for panel in 0..self.sums.len() / COLUMNS {
            let panel = &mut self.data[panel * len * COLUMNS..][..len * COLUMNS];
            for (g, group) in panel.chunks_exact_mut(groups).enumerate() {
                for column in 0..COLUMNS {
                    // The kernel adds up the first two of all fours, and the last two.
                    for half in 0..2 {
                        let mut at = [0; N];
                        for (i, at) in at.iter_mut().enumerate() {
                            *at = (i / 2 * COLUMNS + column) * FOUR + half * 2 + i % 2;
                        }
                        let Ok(set) = group.get_disjoint_mut(at) else { continue };
                        let rests = &mut self.rests;
                        fit(set, |i, value| {
                            let p = g * 2 * N + i / 2 * FOUR + half * 2 + i % 2;
                            rests.push(Rest { p: p as u32, column: column as u8, value });
                        });
                    }
                }
            }
            self.starts.push(self.rests.len());
            if self.rests.len() > most {
                break;
            }
        }
        if self.rests.len() <= most {
            return true;
        }
        for panel in 0..self.starts.len() - 1 {
            for rest in &self.rests[self.starts[panel]..self.starts[panel + 1]] {
                let p = rest.p as usize;
                let i = (panel * len / FOUR + p / FOUR) * COLUMNS + usize::from(rest.column);
                self.data[i * FOUR + p % FOUR] += rest.value as i8;
            }
        }
        false
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.len() + size_of_val(self.rests.as_slice()) + size_of_val(self.sums.as_slice())
    }

    /// Length of a row of the left operand: k, made whole steps.
    pub(super) fn row(&self) -> usize {
        self.k.div_ceil(STEP) * STEP
    }

    /// The products of `count` rows, `stride` apart and [`NarrowColumns::row`] long, with one panel.
    pub(super) fn tile(&self, rows: &[u8], stride: usize, count: usize, panel: usize) -> Tile {
        let len = self.row();
        assert!(count == 0 || rows.len() >= (count - 1) * stride + len, "the rows are too short");
        let columns = &self.data[panel * len * COLUMNS..][..len * COLUMNS];
        let mut tile = Tile::default();
        // At most four rows at once: more sums than that, and what they are made of, don't fit into the registers.
        let first = if count > 4 { 3 } else { count };
        for (from, to) in [(0, first), (first, count)] {
            let (rows, tile) = (&rows[from * stride..], &mut tile[from..]);
            match to - from {
                0 => {}
                1 => self.rows::<1>(rows, stride, columns, tile),
                2 => self.rows::<2>(rows, stride, columns, tile),
                3 => self.rows::<3>(rows, stride, columns, tile),
                _ => self.rows::<4>(rows, stride, columns, tile),
            }
        }
        for rest in &self.rests[self.starts[panel]..self.starts[panel + 1]] {
            for (r, sums) in tile.iter_mut().enumerate().take(count) {
                let sum = &mut sums[usize::from(rest.column)];
                *sum = sum.wrapping_add(i32::from(rows[r * stride + rest.p as usize]) * i32::from(rest.value));
            }
        }
        tile
    }

    fn rows<const M: usize>(&self, rows: &[u8], stride: usize, columns: &[i8], tile: &mut [[i32; COLUMNS]]) {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: the instructions are there; `tile` has seen to the lengths of rows and columns.
            unsafe {
                if is_x86_feature_detected!("avxvnni") {
                    return vnni::<M>(rows, stride, columns, self.row(), tile);
                }
                if is_x86_feature_detected!("avx2") {
                    return if self.whole {
                        avx2::<M, 4>(rows, stride, columns, self.row(), tile)
                    } else {
                        avx2::<M, 2>(rows, stride, columns, self.row(), tile)
                    };
                }
            }
        }
        portable::<M>(rows, stride, columns, self.row(), tile);
    }
}

/// The same without special instructions.
fn portable<const M: usize>(rows: &[u8], stride: usize, columns: &[i8], len: usize, tile: &mut [[i32; COLUMNS]]) {
    for (r, sums) in tile.iter_mut().enumerate().take(M) {
        let row = &rows[r * stride..][..len];
        for (x, columns) in row.chunks_exact(FOUR).zip(columns.chunks_exact(FOUR * COLUMNS)) {
            for (sum, b) in sums.iter_mut().zip(columns.chunks_exact(FOUR)) {
                let products = x.iter().zip(b).map(|(&x, &b)| i32::from(x) * i32::from(b));
                *sum = sum.wrapping_add(products.sum::<i32>());
            }
        }
    }
}

/// `FOURS` fours of p are summed in 16 bits.
///
/// # Safety
///
/// The machine must have AVX2; `rows` must hold M rows of `len` bytes `stride` apart, `columns` `len` times [`COLUMNS`], `len` be a
/// multiple of [`STEP`], and the columns have been made to fit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<const M: usize, const FOURS: usize>(
    rows: &[u8],
    stride: usize,
    columns: &[i8],
    len: usize,
    tile: &mut [[i32; COLUMNS]],
) {
    use std::arch::x86_64::*;
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    let (mut a, mut b) = (rows.as_ptr(), columns.as_ptr());
    for _ in 0..len / (FOUR * FOURS) {
        let mut sums = [[_mm256_setzero_si256(); 2]; M];
        for f in 0..FOURS {
            let b = b.wrapping_add(f * FOUR * COLUMNS);
            // SAFETY: inside the panel at these four p.
            let columns = unsafe { [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.wrapping_add(32).cast())] };
            for r in 0..M {
                let four = a.wrapping_add(r.wrapping_mul(stride)).wrapping_add(f * FOUR).cast::<i32>();
                // SAFETY: row r holds these four.
                let four = _mm256_set1_epi32(unsafe { four.read_unaligned() });
                for v in 0..2 {
                    let products = _mm256_maddubs_epi16(four, columns[v]);
                    sums[r][v] = if f == 0 { products } else { _mm256_add_epi16(sums[r][v], products) };
                }
            }
        }
        for r in 0..M {
            for v in 0..2 {
                acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(sums[r][v], ones));
            }
        }
        a = a.wrapping_add(FOUR * FOURS);
        b = b.wrapping_add(FOUR * FOURS * COLUMNS);
    }
    for r in 0..M {
        // SAFETY: a row of the tile is two vectors long.
        unsafe {
            _mm256_storeu_si256(tile[r].as_mut_ptr().cast(), acc[r][0]);
            _mm256_storeu_si256(tile[r].as_mut_ptr().wrapping_add(8).cast(), acc[r][1]);
        }
    }
}

/// # Safety
///
/// As for [`avx2`], with the instructions for products of bytes (which sum in 32 bits).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn vnni<const M: usize>(rows: &[u8], stride: usize, columns: &[i8], len: usize, tile: &mut [[i32; COLUMNS]]) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    let (mut a, mut b) = (rows.as_ptr(), columns.as_ptr());
    for _ in 0..len / FOUR {
        // SAFETY: inside the panel at these four p.
        let columns = unsafe { [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.wrapping_add(32).cast())] };
        for r in 0..M {
            // SAFETY: row r holds these four.
            let four = unsafe { a.wrapping_add(r.wrapping_mul(stride)).cast::<i32>().read_unaligned() };
            let four = _mm256_set1_epi32(four);
            acc[r][0] = _mm256_dpbusd_avx_epi32(acc[r][0], four, columns[0]);
            acc[r][1] = _mm256_dpbusd_avx_epi32(acc[r][1], four, columns[1]);
        }
        a = a.wrapping_add(FOUR);
        b = b.wrapping_add(FOUR * COLUMNS);
    }
    for r in 0..M {
        // SAFETY: a row of the tile is two vectors long.
        unsafe {
            _mm256_storeu_si256(tile[r].as_mut_ptr().cast(), acc[r][0]);
            _mm256_storeu_si256(tile[r].as_mut_ptr().wrapping_add(8).cast(), acc[r][1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;

    /// Weights of a bell's shape, with some at the ends of the range, `spread` wide.
    fn weights(rng: &mut Rng, len: usize, spread: i32, extreme: usize) -> Vec<i8> {
        (0..len)
            .map(|_| match rng.below(extreme) {
                0 => [-128, 127][rng.below(2)],
                _ => (0..4).map(|_| rng.below(2 * spread as usize + 1) as i32 - spread).sum::<i32>().clamp(-128, 127)
                    as i8,
            })
            .collect()
    }

    #[test]
    fn tiles_are_exact_at_the_ends_of_the_ranges() {
        let mut rng = Rng::fresh();
        let mut kinds = [0; 3];
        for k in [1, 3, 16, 31, 64, 384] {
            for n in [1, 15, 16, 40] {
                for (spread, extreme) in [(3, 4000), (14, 4000), (14, 50), (60, 4)] {
                    let b = weights(&mut rng, k * n, spread, extreme);
                    let packed = NarrowColumns::pack(k, n, |p, j| b[p * n + j]);
                    kinds[packed.as_ref().map_or(2, |p| usize::from(!p.whole))] += 1;
                    let Some(packed) = packed else { continue };
                    let (len, stride) = (packed.row(), packed.row() + rng.below(5));
                    for m in 0..=6 {
                        // Mostly the largest bytes, so that sums in 16 bits come to their ends.
                        let rows: Vec<u8> =
                            (0..m * stride).map(|_| if rng.below(3) > 0 { 255 } else { rng.bits() as u8 }).collect();
                        for panel in 0..n.div_ceil(COLUMNS) {
                            let tile = packed.tile(&rows, stride, m, panel);
                            for r in 0..m {
                                for c in 0..COLUMNS.min(n - panel * COLUMNS) {
                                    let j = panel * COLUMNS + c;
                                    let exact: i32 =
                                        (0..k).map(|p| i32::from(rows[r * stride + p]) * i32::from(b[p * n + j])).sum();
                                    assert_eq!(tile[r][c], exact, "k {k}, n {n}, row {r} of {m}, column {j}");
                                }
                            }
                        }
                    }
                    for j in 0..n {
                        assert_eq!(packed.sums[j], (0..k).map(|p| i32::from(b[p * n + j])).sum::<i32>());
                    }
                    assert_eq!(len % STEP, 0);
                }
            }
        }
        assert!(kinds.iter().all(|&k| k > 0), "whole steps, halves, and too many large: {kinds:?}");
    }
}
