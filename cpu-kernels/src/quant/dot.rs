//! The integer micro-kernel: rows of 16-bit numbers times packed 8-bit columns, with sums of 32 bits that are exact.

/// Rows and columns of a tile.
pub(super) const ROWS: usize = 6;
pub(super) const COLUMNS: usize = 16;

/// The kernel takes so many p at a time.
const STEP: usize = 4;

/// The sums of one tile.
pub(super) type Tile = [[i32; COLUMNS]; ROWS];

/// Columns of 8-bit numbers in panels of [`COLUMNS`]; in a panel the columns lie side by side for each pair of p, the two numbers
/// of a pair together. Zeros fill up the depth to whole steps.
#[derive(Clone)]
pub(super) struct Columns {
    data: Vec<i8>,
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Columns {
    /// Packs a [k, n] matrix given by its elements.
    pub(super) fn pack(k: usize, n: usize, at: impl Fn(usize, usize) -> i8) -> Columns {
        let pairs = k.div_ceil(STEP) * STEP / 2;
        let mut data = vec![0; n.div_ceil(COLUMNS) * COLUMNS * pairs * 2];
        let panels = data.chunks_exact_mut((pairs * COLUMNS * 2).max(1));
        for (panel, start) in panels.zip((0..n).step_by(COLUMNS)) {
            let count = COLUMNS.min(n - start);
            for (p, line) in panel.chunks_exact_mut(COLUMNS * 2).enumerate() {
                for which in 0..2.min(k.saturating_sub(2 * p)) {
                    for c in 0..count {
                        line[2 * c + which] = at(2 * p + which, start + c);
                    }
                }
            }
        }
        Columns { data, k, n }
    }

    /// Element (p, j).
    pub(super) fn at(&self, p: usize, j: usize) -> i8 {
        self.data[(j / COLUMNS * self.pairs() + p / 2) * COLUMNS * 2 + j % COLUMNS * 2 + p % 2]
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Length of a row of the left operand: k, made whole steps.
    pub(super) fn row(&self) -> usize {
        self.pairs() * 2
    }

    fn pairs(&self) -> usize {
        self.k.div_ceil(STEP) * STEP / 2
    }

    /// The products of up to [`ROWS`] rows (each [`Columns::row`] long, one after the other) with one panel.
    pub(super) fn tile(&self, rows: &[i16], panel: usize) -> Tile {
        let len = self.row();
        let panel = &self.data[panel * len * COLUMNS..][..len * COLUMNS];
        let count = rows.len().checked_div(len).unwrap_or(0);
        let mut tile = [[0; COLUMNS]; ROWS];
        if count == 0 {
            return tile;
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 is there; the rows and the panel have the lengths that the function asks for.
            unsafe {
                match count {
                    1 => avx2::<1>(rows, panel, len, &mut tile),
                    2 => avx2::<2>(rows, panel, len, &mut tile),
                    3 => avx2::<3>(rows, panel, len, &mut tile),
                    4 => avx2::<4>(rows, panel, len, &mut tile),
                    5 => avx2::<5>(rows, panel, len, &mut tile),
                    _ => avx2::<6>(rows, panel, len, &mut tile),
                }
            }
            return tile;
        }
        portable(rows, panel, len, &mut tile);
        tile
    }
}

/// Plain loops over a pair of p at a time, which compilers turn into vector code.
fn portable(rows: &[i16], panel: &[i8], len: usize, tile: &mut Tile) {
    for (row, sums) in rows.chunks_exact(len).zip(tile) {
        for (pair, columns) in row.chunks_exact(2).zip(panel.chunks_exact(2 * COLUMNS)) {
            let (x, y) = (i32::from(pair[0]), i32::from(pair[1]));
            for (sum, b) in sums.iter_mut().zip(columns.chunks_exact(2)) {
                *sum = sum.wrapping_add(x * i32::from(b[0]) + y * i32::from(b[1]));
            }
        }
    }
}

/// # Safety
///
/// The machine must have AVX2; `rows` must hold M rows of `len` numbers, `panel` `len` times [`COLUMNS`], and `len` be a multiple of [`STEP`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<const M: usize>(rows: &[i16], panel: &[i8], len: usize, tile: &mut Tile) {
    use std::arch::x86_64::*;
    debug_assert!(rows.len() >= M * len && panel.len() >= len * COLUMNS);
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    let (mut a, mut b) = (rows.as_ptr(), panel.as_ptr());
    for _ in 0..len / STEP {
        for half in 0..STEP / 2 {
            let b = b.wrapping_add(2 * COLUMNS * half);
            // SAFETY: inside the panel at this pair.
            let (low, high) = unsafe { (_mm_loadu_si128(b.cast()), _mm_loadu_si128(b.wrapping_add(16).cast())) };
            let (low, high) = (_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high));
            for r in 0..M {
                let pair = a.wrapping_add(r.wrapping_mul(len)).wrapping_add(2 * half).cast::<i32>();
                // SAFETY: row r holds this pair.
                let pair = _mm256_set1_epi32(unsafe { pair.read_unaligned() });
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(pair, low));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(pair, high));
            }
        }
        a = a.wrapping_add(STEP);
        b = b.wrapping_add(STEP * COLUMNS);
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

    #[test]
    fn tiles_are_exact() {
        let mut rng = Rng::fresh();
        for k in [1, 2, 3, 31, 64, 101] {
            for n in [1, 15, 16, 17, 40] {
                let b: Vec<i8> = (0..k * n).map(|_| rng.bits() as i8).collect();
                let columns = Columns::pack(k, n, |p, j| b[p * n + j]);
                assert!((0..k).all(|p| (0..n).all(|j| columns.at(p, j) == b[p * n + j])));
                for m in 1..=ROWS {
                    let len = columns.row();
                    // The full range of differences of two bytes.
                    let rows: Vec<i16> =
                        (0..m * len).map(|i| if i % len < k { rng.below(511) as i16 - 255 } else { 0 }).collect();
                    for panel in 0..n.div_ceil(COLUMNS) {
                        let tile = columns.tile(&rows, panel);
                        let mut plain = [[0; COLUMNS]; ROWS];
                        portable(&rows, &columns.data[panel * len * COLUMNS..][..len * COLUMNS], len, &mut plain);
                        assert_eq!(tile, plain);
                        for r in 0..m {
                            for c in 0..COLUMNS.min(n - panel * COLUMNS) {
                                let exact: i32 = (0..k)
                                    .map(|p| i32::from(rows[r * len + p]) * i32::from(b[p * n + panel * COLUMNS + c]))
                                    .sum();
                                assert_eq!(tile[r][c], exact, "k {k}, n {n}, row {r}, column {c}");
                            }
                        }
                    }
                }
            }
        }
    }
}
