//! What this machine can do at best, measured: arithmetic in the forms that the kernels use, and the rates of memory and caches.
//!
//! Each probe first finds out how much work takes a few milliseconds, then does that several times; its figure is the median.

use std::fmt;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use crate::pool::Pool;
use crate::wide::wide;

/// How long one timed piece of work takes at least.
const PIECE: Duration = Duration::from_millis(4);
/// Timed pieces of a probe; the first warms up and is left out.
const REPEATS: usize = 25;
/// Tasks for each thread in a piece: a thread that is kept from its work for a moment does not hold up the others.
const TASKS: usize = 8;

/// A measured rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Operations or bytes per second, over all threads: the median of the repeats.
    pub per_s: f64,
    /// Median absolute deviation of the repeats over their median.
    pub spread: f64,
    /// How it was measured, in words.
    pub how: String,
}

/// Why a probe gave no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// Somebody asked to stop.
    Stopped,
    /// There is no memory for its buffers of this many bytes.
    NoMemory(usize),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Stopped => f.write_str("cancelled"),
            ProbeError::NoMemory(bytes) => write!(f, "no memory for buffers of {bytes} bytes"),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Multiply-adds in f32 on the widest vectors that the kernels use; operations per second, a multiply-add counted as two.
pub fn multiply_add_f32(pool: &Pool, stop: &AtomicBool) -> Result<Rate, ProbeError> {
    let lanes = Lanes.dispatch();
    let per_round = Fma { rounds: 0, x: 0.0, y: 0.0 }.dispatch().operations;
    let rate = arithmetic(pool, stop, per_round, |rounds| {
        black_box(Fma { rounds, x: black_box(0.999), y: black_box(0.001) }.dispatch().sum);
    })?;
    Ok(Rate { how: format!("multiply-adds on vectors of {lanes} f32"), ..rate })
}

/// Products of 16-bit numbers added up in pairs to 32 bits, which is how the kernels multiply 8-bit weights; operations per
/// second, a multiply-add counted as two.
pub fn dot_int8(pool: &Pool, stop: &AtomicBool) -> Result<Rate, ProbeError> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        let rate = arithmetic(pool, stop, dot::AVX2_OPERATIONS, |rounds| {
            // SAFETY: AVX2 is there.
            black_box(unsafe { dot::avx2(rounds, black_box(3)) });
        })?;
        return Ok(Rate { how: "pairs of 16-bit products on AVX2, summed in 32 bits".to_owned(), ..rate });
    }
    let rate = arithmetic(pool, stop, dot::PORTABLE_OPERATIONS, |rounds| {
        black_box(wide(|| dot::portable(rounds, black_box(3))));
    })?;
    Ok(Rate { how: "pairs of 16-bit products in a plain loop, summed in 32 bits".to_owned(), ..rate })
}

/// The rate at which all threads together move bytes of main memory: reading one buffer, or writing one from two others,
/// whichever is faster. `bytes` must be several times the last cache for that to be main memory.
pub fn main_memory(pool: &Pool, stop: &AtomicBool, bytes: usize) -> Result<Rate, ProbeError> {
    /// A part of the buffers that one task takes.
    const PART: usize = 64 << 10;
    let third = (bytes / 12).max(PART);
    let mut buffers = [buffer(third)?, buffer(third)?, buffer(third)?];
    for b in &mut buffers {
        going(stop)?;
        // Each page is touched here, so that no repeat pays for getting it.
        pool.for_chunks_mut(b, PART, |i, part| part.fill(i as f32));
    }
    let [a, b, c] = &mut buffers;
    let read = repeat(stop, || {
        for source in [&*a, &*b, &*c] {
            pool.run(third.div_ceil(PART), &|i| {
                black_box(wide(|| sum(&source[i * PART..third.min((i + 1) * PART)])));
            });
        }
        12.0 * third as f64
    })?;
    let triad = repeat(stop, || {
        pool.for_chunks_mut(a, PART, |i, a| {
            let from = i * PART..i * PART + a.len();
            wide(|| triad(a, &b[from.clone()], &c[from]));
        });
        12.0 * third as f64
    })?;
    Ok(faster(read, triad))
}

/// The rate at which all threads together move bytes of a cache, each in a part of its own of `bytes_per_thread`.
pub fn cache(pool: &Pool, stop: &AtomicBool, bytes_per_thread: usize) -> Result<Rate, ProbeError> {
    let third = (bytes_per_thread / 12).max(16);
    let parts: Vec<Mutex<[Vec<f32>; 3]>> = (0..pool.threads())
        .map(|_| Ok(Mutex::new([buffer(third)?, buffer(third)?, buffer(third)?])))
        .collect::<Result<_, ProbeError>>()?;
    let each = |rounds: usize, work: &(dyn Fn(&mut [Vec<f32>; 3]) + Sync)| {
        pool.run(parts.len(), &|i| {
            let mut part = parts[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (0..rounds).for_each(|_| work(&mut part));
        });
    };
    let reading = |p: &mut [Vec<f32>; 3]| {
        for source in p.iter() {
            black_box(wide(|| sum(source)));
        }
    };
    let writing = |p: &mut [Vec<f32>; 3]| {
        let [a, b, c] = p;
        wide(|| triad(a, b, c));
        black_box(a.as_ptr());
    };
    let mut rates = Vec::new();
    for work in [&reading as &(dyn Fn(&mut [Vec<f32>; 3]) + Sync), &writing] {
        let rounds = enough(stop, |rounds| each(rounds, work))?;
        rates.push(repeat(stop, || {
            each(rounds, work);
            12.0 * third as f64 * parts.len() as f64 * rounds as f64
        })?);
    }
    let writing = rates.remove(1);
    Ok(faster(rates.remove(0), writing))
}

fn faster(read: Rate, triad: Rate) -> Rate {
    if triad.per_s > read.per_s {
        Rate { how: "writing a buffer from two others".to_owned(), ..triad }
    } else {
        Rate { how: "reading".to_owned(), ..read }
    }
}

fn buffer(len: usize) -> Result<Vec<f32>, ProbeError> {
    let mut b = Vec::new();
    b.try_reserve_exact(len).map_err(|_| ProbeError::NoMemory(len.saturating_mul(4)))?;
    b.resize(len, 1.0);
    Ok(b)
}

/// The sum of the words, in enough sums side by side that memory is what it waits for.
#[inline(always)]
fn sum(data: &[f32]) -> u32 {
    let mut sums = [0u32; 64];
    for words in data.chunks_exact(64) {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(word.to_bits());
        }
    }
    sums.iter().fold(0, |a, &b| a.wrapping_add(b))
}

/// McCalpin's STREAM triad.
#[inline(always)]
fn triad(a: &mut [f32], b: &[f32], c: &[f32]) {
    for ((a, &b), &c) in a.iter_mut().zip(b).zip(c) {
        *a = b + 0.5 * c;
    }
}

fn going(stop: &AtomicBool) -> Result<(), ProbeError> {
    if stop.load(Ordering::Relaxed) { Err(ProbeError::Stopped) } else { Ok(()) }
}

/// The rounds with which a piece takes long enough.
fn enough(stop: &AtomicBool, piece: impl Fn(usize)) -> Result<usize, ProbeError> {
    let mut rounds = 1usize;
    loop {
        going(stop)?;
        let start = Instant::now();
        piece(rounds);
        let took = start.elapsed();
        if took >= PIECE || rounds >= 1 << 40 {
            return Ok(rounds);
        }
        // Twice, or straight to the goal once there is something to go by.
        let factor = PIECE.as_secs_f64() / took.as_secs_f64().max(1e-9);
        rounds = if took > PIECE / 20 { (rounds as f64 * factor * 1.1).ceil() as usize } else { rounds * 4 };
    }
}

/// Times a piece of work, which says how much it did.
fn repeat(stop: &AtomicBool, mut piece: impl FnMut() -> f64) -> Result<Rate, ProbeError> {
    let mut rates = Vec::with_capacity(REPEATS);
    for i in 0..REPEATS {
        going(stop)?;
        let start = Instant::now();
        let work = piece();
        let s = start.elapsed().as_secs_f64();
        if i > 0 {
            rates.push(work / s.max(1e-9));
        }
    }
    let per_s = median(&mut rates);
    let mut off: Vec<f64> = rates.iter().map(|r| (r - per_s).abs()).collect();
    Ok(Rate { per_s, spread: median(&mut off) / per_s, how: String::new() })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// The rate of arithmetic of a task that takes a number of rounds.
fn arithmetic(
    pool: &Pool,
    stop: &AtomicBool,
    per_round: usize,
    task: impl Fn(usize) + Sync,
) -> Result<Rate, ProbeError> {
    let tasks = pool.threads() * TASKS;
    let rounds = enough(stop, |rounds| pool.run(tasks, &|_| task(rounds)))?;
    repeat(stop, || {
        pool.run(tasks, &|_| task(rounds));
        per_round as f64 * rounds as f64 * tasks as f64
    })
}

struct Lanes;

impl SimdOp for Lanes {
    type Output = usize;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> usize {
        isa.f32().len()
    }
}

/// Rounds of multiply-adds, as many side by side as the registers hold.
struct Fma {
    rounds: usize,
    x: f32,
    y: f32,
}

struct FmaResult {
    /// Operations of one round.
    operations: usize,
    sum: f32,
}

impl SimdOp for Fma {
    type Output = FmaResult;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> FmaResult {
        // 32 registers with AVX-512 and on aarch64, else 16.
        if isa.f32().len() >= 16 || cfg!(target_arch = "aarch64") {
            self.chains::<I, 24>(isa)
        } else {
            self.chains::<I, 12>(isa)
        }
    }
}

impl Fma {
    #[inline(always)]
    fn chains<I: Isa, const N: usize>(self, isa: I) -> FmaResult {
        let ops = isa.f32();
        let (x, y) = (ops.splat(self.x), ops.splat(self.y));
        let mut sums = [ops.zero(); N];
        for _ in 0..self.rounds {
            for s in &mut sums {
                *s = ops.mul_add(*s, x, y);
            }
        }
        let sum = sums.into_iter().map(|s| ops.sum(s)).sum();
        FmaResult { operations: 2 * N * ops.len(), sum }
    }
}

/// The forms of `quant::dot`, on registers alone.
mod dot {
    /// Sums side by side.
    const CHAINS: usize = 12;

    /// 16 products and as many sums in each vector.
    #[cfg(target_arch = "x86_64")]
    pub(super) const AVX2_OPERATIONS: usize = CHAINS * 32;

    /// # Safety
    ///
    /// The machine must have AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(rounds: usize, x: i16) -> i32 {
        use std::arch::x86_64::*;
        let x = _mm256_set1_epi16(x);
        let mut sums = [_mm256_set1_epi32(0x0001_0001); CHAINS];
        for _ in 0..rounds {
            for s in &mut sums {
                // The sum is a factor too: else the product would be the same in every round, and computed once.
                *s = _mm256_add_epi32(*s, _mm256_madd_epi16(*s, x));
            }
        }
        let all = sums.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b));
        _mm256_extract_epi32::<0>(all)
    }

    pub(super) const PORTABLE_OPERATIONS: usize = CHAINS * 4 * 4;

    #[inline(always)]
    pub(super) fn portable(rounds: usize, x: i16) -> i32 {
        let mut sums = [0x0001_0001i32; CHAINS * 4];
        for _ in 0..rounds {
            for s in &mut sums {
                let (low, high) = (i32::from(*s as i16), i32::from((*s >> 16) as i16));
                *s = s.wrapping_add(low * i32::from(x) + high * i32::from(x));
            }
        }
        sums.iter().fold(0, |a, &b| a.wrapping_add(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_give_figures_of_the_right_size() {
        let pool = Pool::new(2);
        let going = AtomicBool::new(false);
        let start = Instant::now();
        let f32 = multiply_add_f32(&pool, &going).unwrap();
        let int8 = dot_int8(&pool, &going).unwrap();
        let l1 = cache(&pool, &going, 16 << 10).unwrap();
        let memory = main_memory(&pool, &going, 96 << 20).unwrap();
        println!("f32 {f32:?}\nint8 {int8:?}\nL1 {l1:?}\nmemory {memory:?}\nin {:?}", start.elapsed());
        for (name, rate, least, most) in [
            ("f32", &f32, 1e8, 1e14),
            ("int8", &int8, 1e8, 1e15),
            ("L1", &l1, 1e8, 1e14),
            ("memory", &memory, 1e7, 1e13),
        ] {
            assert!(rate.per_s > least && rate.per_s < most, "{name}: {rate:?}");
            assert!(rate.spread.is_finite() && rate.spread >= 0.0 && !rate.how.is_empty(), "{name}: {rate:?}");
        }
    }

    #[test]
    fn work_that_is_asked_for_is_done() {
        // One round from 0 gives y in each lane, the next x * y + y.
        let lanes = Lanes.dispatch() as f32;
        let result = |rounds| Fma { rounds, x: 0.5, y: 1.0 }.dispatch();
        let chains = (result(0).operations / 2) as f32;
        assert_eq!(result(1).sum.to_bits(), chains.to_bits());
        assert_eq!(result(2).sum.to_bits(), (1.5 * chains).to_bits());
        assert!(chains >= 12.0 * lanes);
        // A pair of ones times 3, on top of itself, in every sum.
        assert_eq!(dot::portable(1, 3), 48 * (0x0001_0001 + 6));
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 is there.
            let one_lane = [0, 1, 2].map(|rounds| unsafe { dot::avx2(rounds, 3) });
            assert_eq!(one_lane.map(|s| s.wrapping_mul(4)), [0, 1, 2].map(|rounds| dot::portable(rounds, 3)));
        }
        let mut a = [0.0; 3];
        triad(&mut a, &[1.0, 2.0, 3.0], &[4.0, 6.0, 8.0]);
        assert_eq!(a, [3.0, 5.0, 7.0]);
        let words: Vec<f32> = (0..128).map(f32::from_bits).collect();
        assert_eq!(sum(&words), 127 * 128 / 2);
    }

    #[test]
    fn a_stopped_probe_ends_at_once() {
        let (pool, stopped) = (Pool::new(1), AtomicBool::new(true));
        assert_eq!(multiply_add_f32(&pool, &stopped), Err(ProbeError::Stopped));
        assert_eq!(dot_int8(&pool, &stopped), Err(ProbeError::Stopped));
        assert_eq!(cache(&pool, &stopped, 1 << 10), Err(ProbeError::Stopped));
        assert_eq!(main_memory(&pool, &stopped, 1 << 20), Err(ProbeError::Stopped));
    }
}
