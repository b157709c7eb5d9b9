//! What this adapter can do at best with our own kernels: arithmetic by a large matrix product, memory by a large copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::kernels::fill::fill;
use crate::kernels::matmul::{MatMul, Weights, matmul};
use crate::kernels::strided_copy::copy;
use crate::{Buffer, Command, Gpu, GpuError, Quality, run_steps};

/// A step shorter than this says too little: the next larger size is taken.
const LEAST_NS: u64 = 2_000_000;
/// Timed steps of a probe, after one that warms up.
const REPEATS: usize = 7;

/// A measured rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Operations or bytes per second: the median of the repeats.
    pub per_s: f64,
    /// Median absolute deviation of the repeats over their median.
    pub spread: f64,
    /// How it was measured, in words.
    pub how: String,
}

/// Matrix products of f32; operations per second, a multiply-add counted as two. `None` if it was stopped.
pub fn matmul_f32(gpu: &Gpu, stop: &AtomicBool) -> Result<Option<Rate>, GpuError> {
    let sizes: &[u32] = if gpu.info().is_software { &[256, 512] } else { &[512, 1024, 2048, 4096] };
    let largest = sizes.len() - 1;
    for (i, &n) in sizes.iter().enumerate() {
        let bytes = u64::from(n) * u64::from(n) * 4;
        let [a, b, y] = [filled(gpu, bytes)?, filled(gpu, bytes)?, gpu.buffer("probe", bytes)?];
        let (a, b, y) = (a.whole(), b.whole(), y.whole());
        let step = matmul(gpu, &MatMul::new(&a, Weights::F32(&b), &y, [n; 3]))?;
        let Some(times) = measure(gpu, stop, &step)? else { return Ok(None) };
        if median(&times) >= LEAST_NS as f64 || i == largest {
            let how = format!("our product of two {n} x {n} f32 matrices");
            return Ok(Some(rate(2.0 * f64::from(n).powi(3), &times, how)));
        }
    }
    Ok(None)
}

/// Copies from one buffer to another; bytes read and written per second. `None` if it was stopped.
pub fn copy_memory(gpu: &Gpu, stop: &AtomicBool) -> Result<Option<Rate>, GpuError> {
    let most = gpu.max_binding_bytes().min(gpu.budget().unwrap_or(u64::MAX) / 8);
    let sizes: &[u64] = if gpu.info().is_software { &[64] } else { &[64, 256, 512] };
    let sizes: Vec<u64> = sizes.iter().map(|mib| mib << 20).filter(|&bytes| bytes <= most).collect();
    let sizes = if sizes.is_empty() { vec![most / 4096 * 4096] } else { sizes };
    for (i, &bytes) in sizes.iter().enumerate() {
        let (from, to) = (filled(gpu, bytes)?, gpu.buffer("probe", bytes)?);
        let step = copy(gpu, &from.whole(), &to.whole(), (bytes / 4) as u32)?;
        let Some(times) = measure(gpu, stop, &step)? else { return Ok(None) };
        if median(&times) >= LEAST_NS as f64 || i + 1 == sizes.len() {
            let how = format!("our copy of {} MiB", bytes >> 20);
            return Ok(Some(rate(2.0 * bytes as f64, &times, how)));
        }
    }
    Ok(None)
}

/// A buffer of ones: a product of zeros may draw less power than real work, and so run at another clock.
fn filled(gpu: &Gpu, bytes: u64) -> Result<Buffer, GpuError> {
    let b = gpu.buffer("probe", bytes)?;
    let ones = fill(gpu, &b.whole(), (bytes / 4) as u32, 1f32.to_bits())?;
    run_steps(gpu, &[&[ones]], false, Instant::now())?;
    Ok(b)
}

/// Nanoseconds of each repeat of a step; `None` if it was stopped.
fn measure(gpu: &Gpu, stop: &AtomicBool, step: &Command) -> Result<Option<Vec<f64>>, GpuError> {
    let mut times = Vec::with_capacity(REPEATS);
    for i in 0..=REPEATS {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let run = run_steps(gpu, &[std::slice::from_ref(step)], true, Instant::now())?;
        let good = run.steps.iter().filter(|s| s.quality != Quality::Rejected && s.end_ns > s.start_ns);
        if i > 0 {
            times.extend(good.map(|s| (s.end_ns - s.start_ns) as f64));
        }
    }
    if times.is_empty() {
        let why = "every timestamp was rejected".to_owned();
        return Err(GpuError::Validation { label: "probe".to_owned(), why });
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(Some(times))
}

fn rate(work: f64, times_ns: &[f64], how: String) -> Rate {
    let rates: Vec<f64> = times_ns.iter().rev().map(|ns| work * 1e9 / ns).collect();
    let per_s = median(&rates);
    let mut off: Vec<f64> = rates.iter().map(|r| (r - per_s).abs()).collect();
    off.sort_unstable_by(f64::total_cmp);
    Rate { per_s, spread: median(&off) / per_s, how }
}

/// Of sorted values; there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::shared_gpu;

    #[test]
    fn probes_give_figures_of_the_right_size() {
        let Some(gpu) = shared_gpu() else { return };
        let going = AtomicBool::new(false);
        let start = Instant::now();
        let flops = matmul_f32(gpu, &going).unwrap().unwrap();
        let bytes = copy_memory(gpu, &going).unwrap().unwrap();
        println!("{}: {flops:?} {bytes:?} in {:?}", gpu.name(), start.elapsed());
        assert!(flops.per_s > 1e6 && flops.per_s < 1e15, "{flops:?}");
        assert!(bytes.per_s > 1e6 && bytes.per_s < 1e14, "{bytes:?}");
        assert!(flops.spread >= 0.0 && flops.how.contains("f32") && bytes.how.contains("MiB"));
        assert_eq!(matmul_f32(gpu, &AtomicBool::new(true)), Ok(None));
        assert_eq!(copy_memory(gpu, &AtomicBool::new(true)), Ok(None));
    }

    #[test]
    fn rates_are_medians_of_the_repeats() {
        let r = rate(1000.0, &[100.0, 200.0, 500.0], String::new());
        assert_eq!(r.per_s.to_bits(), 5e9f64.to_bits());
        // Rates 2, 5 and 10 GB/s: deviations 3, 0, 5.
        assert!((r.spread - 0.6).abs() < 1e-12, "{r:?}");
    }
}
