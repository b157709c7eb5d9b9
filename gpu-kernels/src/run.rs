//! Running steps, and when each was busy.

use std::fmt;
use std::time::Instant;

use crate::{Command, Gpu, GpuError};

/// How steps are timed, by what the adapter can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TimestampStrategy {
    /// One pass, and a stamp between any two steps (Vulkan, DX12).
    InsidePass = 0,
    /// One pass per step, stamped at its bounds (Apple, Web).
    PassPairs = 1,
    /// No stamps: each step is submitted alone and waited for.
    SubmitAndWait = 2,
}

impl TimestampStrategy {
    pub(crate) fn needs(self) -> wgpu::Features {
        match self {
            TimestampStrategy::InsidePass => {
                wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            }
            TimestampStrategy::PassPairs => wgpu::Features::TIMESTAMP_QUERY,
            TimestampStrategy::SubmitAndWait => wgpu::Features::empty(),
        }
    }

    pub(crate) fn best_for(features: wgpu::Features) -> Self {
        let all = [TimestampStrategy::InsidePass, TimestampStrategy::PassPairs];
        all.into_iter().find(|s| features.contains(s.needs())).unwrap_or(TimestampStrategy::SubmitAndWait)
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => TimestampStrategy::InsidePass,
            1 => TimestampStrategy::PassPairs,
            _ => TimestampStrategy::SubmitAndWait,
        }
    }
}

impl fmt::Display for TimestampStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimestampStrategy::InsidePass => "stamps inside one pass",
            TimestampStrategy::PassPairs => "a pass per step, stamped at its bounds",
            TimestampStrategy::SubmitAndWait => "submit and wait (wall time, ± launch overhead)",
        })
    }
}

/// How good a step's times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// From the GPU's own timestamps.
    Timestamp,
    /// Wall time around a submission.
    Wall,
    /// The stamps were zero or out of order: the times say nothing.
    Rejected,
}

/// When a step was busy, in nanoseconds since the caller's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTimes {
    /// Its start.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// How far to trust both.
    pub quality: Quality,
}

/// What a run took. All times are nanoseconds since the caller's epoch, as (start, end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTimes {
    /// Writing the commands.
    pub encode_ns: (u64, u64),
    /// Handing them to the driver.
    pub submit_ns: (u64, u64),
    /// Waiting for the GPU.
    pub wait_ns: (u64, u64),
    /// One per step; empty where the run was not timed.
    pub steps: Vec<StepTimes>,
    /// How far the GPU's times may be off on the caller's clock, all by the same amount.
    pub calibration_error_ns: u64,
    /// How many steps were rejected.
    pub rejected: usize,
    /// How they were timed.
    pub strategy: TimestampStrategy,
}

/// wgpu's largest query set.
const QUERIES: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Runs steps one after the other and waits for the last.
///
/// Timed, each step gets its own times as the adapter can give them; untimed, all steps go in one pass and one submission,
/// which is the run to hold the timed one against.
pub fn run_steps(gpu: &Gpu, steps: &[&[Command]], timed: bool, epoch: Instant) -> Result<RunTimes, GpuError> {
    gpu.check_uncaptured("before a run")?;
    let strategy = gpu.timestamp_strategy();
    let scope = gpu.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let result = match (timed, strategy) {
        (true, TimestampStrategy::SubmitAndWait) => run_one_by_one(gpu, steps, epoch),
        (true, _) => run_stamped(gpu, steps, epoch, strategy),
        (false, _) => run_untimed(gpu, steps, epoch),
    };
    let error = pollster::block_on(scope.pop());
    gpu.check_uncaptured("a run")?;
    match error {
        Some(error) => Err(GpuError::from_wgpu("a run", error)),
        None => result,
    }
}

fn since(epoch: Instant) -> u64 {
    Instant::now().saturating_duration_since(epoch).as_nanos() as u64
}

fn encoder(gpu: &Gpu) -> wgpu::CommandEncoder {
    gpu.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("steps") })
}

fn run_untimed(gpu: &Gpu, steps: &[&[Command]], epoch: Instant) -> Result<RunTimes, GpuError> {
    let start = since(epoch);
    let mut encoder = encoder(gpu);
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        steps.iter().flat_map(|s| s.iter()).for_each(|c| c.encode(&mut pass));
    }
    let buffer = encoder.finish();
    let encoded = since(epoch);
    let submission = gpu.inner.queue.submit([buffer]);
    let submitted = since(epoch);
    gpu.wait(submission)?;
    Ok(RunTimes {
        encode_ns: (start, encoded),
        submit_ns: (encoded, submitted),
        wait_ns: (submitted, since(epoch)),
        steps: Vec::new(),
        calibration_error_ns: 0,
        rejected: 0,
        strategy: gpu.timestamp_strategy(),
    })
}

fn run_one_by_one(gpu: &Gpu, steps: &[&[Command]], epoch: Instant) -> Result<RunTimes, GpuError> {
    let start = since(epoch);
    let buffers: Vec<_> = steps
        .iter()
        .map(|step| {
            let mut encoder = encoder(gpu);
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                step.iter().for_each(|c| c.encode(&mut pass));
            }
            encoder.finish()
        })
        .collect();
    let encoded = since(epoch);
    let mut times = Vec::with_capacity(steps.len());
    for buffer in buffers {
        let start_ns = since(epoch);
        let submission = gpu.inner.queue.submit([buffer]);
        gpu.wait(submission)?;
        times.push(StepTimes { start_ns, end_ns: since(epoch), quality: Quality::Wall });
    }
    Ok(RunTimes {
        encode_ns: (start, encoded),
        submit_ns: (encoded, encoded),
        wait_ns: (encoded, since(epoch)),
        steps: times,
        calibration_error_ns: 0,
        rejected: 0,
        strategy: TimestampStrategy::SubmitAndWait,
    })
}

/// One query set's share of the steps: where its stamps lie in the resolved buffer.
struct Chunk<'a> {
    steps: &'a [&'a [Command]],
    queries: wgpu::QuerySet,
    count: u32,
    offset: u64,
}

fn chunks<'a>(
    gpu: &Gpu,
    steps: &'a [&'a [Command]],
    strategy: TimestampStrategy,
) -> Result<(Vec<Chunk<'a>>, u64), GpuError> {
    let (per_set, extra, each) = match strategy {
        TimestampStrategy::InsidePass => (QUERIES - 1, 1, 1),
        _ => (QUERIES / 2, 0, 2),
    };
    let mut offset = 0u64;
    let mut all = Vec::new();
    for part in steps.chunks(per_set as usize) {
        let count = part.len() as u32 * each + extra;
        all.push(Chunk { steps: part, queries: gpu.query_set(count)?, count, offset });
        offset = (offset + u64::from(count) * 8).next_multiple_of(wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT);
    }
    Ok((all, offset))
}

fn encode_inside_pass(encoder: &mut wgpu::CommandEncoder, chunk: &Chunk<'_>) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.write_timestamp(&chunk.queries, 0);
    for (i, step) in chunk.steps.iter().enumerate() {
        step.iter().for_each(|c| c.encode(&mut pass));
        pass.write_timestamp(&chunk.queries, i as u32 + 1);
    }
}

fn encode_pass_pairs(encoder: &mut wgpu::CommandEncoder, chunk: &Chunk<'_>) {
    for (i, step) in chunk.steps.iter().enumerate() {
        let first = i as u32 * 2;
        let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
            query_set: &chunk.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        step.iter().for_each(|c| c.encode(&mut pass));
    }
}

fn run_stamped(
    gpu: &Gpu,
    steps: &[&[Command]],
    epoch: Instant,
    strategy: TimestampStrategy,
) -> Result<RunTimes, GpuError> {
    let calibration = gpu.calibrate()?;
    let (chunks, bytes) = chunks(gpu, steps, strategy)?;
    let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
    let resolve = gpu.raw_buffer("timestamps", bytes, usage)?;
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let staging = gpu.raw_buffer("timestamps staging", bytes, usage)?;

    let start = since(epoch);
    let mut encoder = encoder(gpu);
    for chunk in &chunks {
        match strategy {
            TimestampStrategy::InsidePass => encode_inside_pass(&mut encoder, chunk),
            _ => encode_pass_pairs(&mut encoder, chunk),
        }
    }
    let work = encoder.finish();
    let encoded = since(epoch);
    let submission = gpu.inner.queue.submit([work]);
    let submitted = since(epoch);
    gpu.wait(submission)?;
    let waited = since(epoch);

    let mut times = Vec::with_capacity(steps.len());
    if bytes > 0 {
        let mut encoder = self::encoder(gpu);
        for chunk in &chunks {
            encoder.resolve_query_set(&chunk.queries, 0..chunk.count, &resolve, chunk.offset);
        }
        encoder.copy_buffer_to_buffer(&resolve, 0, &staging, 0, bytes);
        let submission = gpu.inner.queue.submit([encoder.finish()]);
        let raw = gpu.read_mapped(&staging, bytes, submission)?;
        let ticks: Vec<u64> = raw.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect();
        let pairs = chunks.iter().flat_map(|chunk| {
            let at = (chunk.offset / 8) as usize;
            let ticks = &ticks[at..at + chunk.count as usize];
            (0..chunk.steps.len()).map(move |i| match strategy {
                TimestampStrategy::InsidePass => (ticks[i], ticks[i + 1]),
                _ => (ticks[2 * i], ticks[2 * i + 1]),
            })
        });
        let to_epoch = |t: u64| calibration.to_epoch_ns(t as f64 * gpu.tick_ns(), epoch);
        times = place(pairs, to_epoch, (encoded, waited), calibration.error_ns);
    }
    let rejected = times.iter().filter(|t| t.quality == Quality::Rejected).count();
    if rejected > 0 {
        log::warn!("{}: {rejected} of {} steps had zero or unordered timestamps", gpu.name(), times.len());
    }
    if rejected > 0 && rejected == times.len() && steps.iter().any(|s| s.iter().any(|c| c.dispatches() > 0)) {
        log::warn!("{}: its timestamps are of no use; later runs submit and wait", gpu.name());
        gpu.set_timestamp_strategy(TimestampStrategy::SubmitAndWait);
    }
    Ok(RunTimes {
        encode_ns: (start, encoded),
        submit_ns: (encoded, submitted),
        wait_ns: (submitted, waited),
        steps: times,
        calibration_error_ns: calibration.error_ns,
        rejected,
        strategy,
    })
}

/// Pairs of ticks as times since the epoch. Zero and unordered pairs are rejected and take the place where the step before
/// them ended. The whole run is moved, by the calibration's error at most, into the time between submission and wake-up.
fn place(
    pairs: impl Iterator<Item = (u64, u64)>,
    to_epoch: impl Fn(u64) -> f64,
    window: (u64, u64),
    error_ns: u64,
) -> Vec<StepTimes> {
    let pairs: Vec<_> = pairs.collect();
    let good = |&(a, b): &(u64, u64)| a != 0 && b != 0 && a <= b;
    let first = pairs.iter().filter(|p| good(p)).map(|p| to_epoch(p.0)).fold(f64::INFINITY, f64::min);
    let last = pairs.iter().filter(|p| good(p)).map(|p| to_epoch(p.1)).fold(f64::NEG_INFINITY, f64::max);
    let error = error_ns as f64;
    let early = (window.0 as f64 - first).max(0.0);
    let late = (last - window.1 as f64).max(0.0);
    let shift = if first.is_finite() { early.min(error) - late.min(error) } else { 0.0 };
    let mut at = window.0;
    pairs
        .iter()
        .map(|pair| {
            if !good(pair) {
                return StepTimes { start_ns: at, end_ns: at, quality: Quality::Rejected };
            }
            let start_ns = (to_epoch(pair.0) + shift).max(0.0).round() as u64;
            let end_ns = ((to_epoch(pair.1) + shift).max(0.0).round() as u64).max(start_ns);
            at = end_ns;
            StepTimes { start_ns, end_ns, quality: Quality::Timestamp }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;
    use crate::twin::shared_gpu;

    #[test]
    fn bad_pairs_are_rejected_and_the_rest_kept() {
        let pairs = [(100, 110), (0, 120), (120, 0), (130, 125), (130, 140)];
        let times = place(pairs.into_iter(), |t| t as f64 + 1000.0, (1090, 1200), 5);
        let rejected: Vec<bool> = times.iter().map(|t| t.quality == Quality::Rejected).collect();
        assert_eq!(rejected, [false, true, true, true, false]);
        assert_eq!((times[0].start_ns, times[0].end_ns), (1100, 1110));
        assert_eq!((times[1].start_ns, times[1].end_ns), (1110, 1110));
        assert_eq!((times[4].start_ns, times[4].end_ns), (1130, 1140));
    }

    #[test]
    fn times_move_into_the_run_but_only_by_the_error() {
        let one = |window, error| place([(100, 110)].into_iter(), |t| t as f64, window, error)[0].start_ns;
        assert_eq!(one((103, 200), 5), 103);
        assert_eq!(one((150, 200), 5), 105);
        assert_eq!(one((10, 108), 5), 98);
        assert_eq!(one((10, 200), 5), 100);
    }

    #[test]
    fn every_strategy_orders_steps_and_sees_which_is_longer() {
        if shared_gpu().is_none() {
            return;
        }
        let gpu = Gpu::open(None).unwrap();
        let small = gpu.buffer("small", 64 * 4).unwrap();
        let large = gpu.buffer("large", (8 << 20) * 4).unwrap();
        let short = [kernels::fill::fill(&gpu, &small.whole(), 64, 1).unwrap()];
        let long = [kernels::fill::fill(&gpu, &large.whole(), 8 << 20, 2).unwrap()];
        let steps: Vec<&[Command]> = vec![&short, &long, &short, &long];
        let epoch = Instant::now();
        run_steps(&gpu, &steps, false, epoch).unwrap();
        use TimestampStrategy::*;
        for strategy in [InsidePass, PassPairs, SubmitAndWait] {
            if !gpu.set_timestamp_strategy(strategy) {
                continue;
            }
            let t = run_steps(&gpu, &steps, true, epoch).unwrap();
            assert_eq!((t.strategy, t.steps.len(), t.rejected), (strategy, 4, 0), "{strategy}");
            assert!(t.steps.windows(2).all(|w| w[0].end_ns <= w[1].start_ns), "{strategy}: {:?}", t.steps);
            // What else runs on the machine makes single steps longer, never shorter.
            let mut least = [u64::MAX; 4];
            for _ in 0..5 {
                let steps = run_steps(&gpu, &steps, true, epoch).unwrap().steps;
                least.iter_mut().zip(&steps).for_each(|(l, s)| *l = (*l).min(s.end_ns - s.start_ns));
            }
            assert!(least[1] > least[0] && least[3] > least[2], "{strategy}: {least:?}");
            let (first, last) = (t.steps[0].start_ns, t.steps[3].end_ns);
            assert!(
                first + t.calibration_error_ns >= t.encode_ns.1,
                "{strategy}: starts before it was submitted: {t:?}"
            );
            assert!(last <= t.wait_ns.1 + t.calibration_error_ns, "{strategy}: ends after it was waited for: {t:?}");
            let want = if strategy == SubmitAndWait { Quality::Wall } else { Quality::Timestamp };
            assert!(t.steps.iter().all(|s| s.quality == want));
        }
    }

    #[test]
    fn more_steps_than_one_query_set_holds() {
        let Some(gpu) = shared_gpu() else { return };
        let b = gpu.buffer("counter", 256).unwrap();
        let step = [kernels::fill::fill(gpu, &b.whole(), 4, 7).unwrap()];
        let steps: Vec<&[Command]> = vec![&step; QUERIES as usize + 10];
        let t = run_steps(gpu, &steps, true, Instant::now()).unwrap();
        assert_eq!((t.steps.len(), t.rejected), (steps.len(), 0));
        assert!(t.steps.windows(2).all(|w| w[0].end_ns <= w[1].start_ns));
        assert_eq!(gpu.download(&[b.part(0, 4)]).unwrap()[0], [7, 0, 0, 0]);
    }

    #[test]
    fn a_run_of_nothing_is_fine() {
        let Some(gpu) = shared_gpu() else { return };
        for timed in [false, true] {
            assert!(run_steps(gpu, &[], timed, Instant::now()).unwrap().steps.is_empty());
            assert_eq!(run_steps(gpu, &[&[]], timed, Instant::now()).unwrap().steps.len(), usize::from(timed));
        }
    }
}
