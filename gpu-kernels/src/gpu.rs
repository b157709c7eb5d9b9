//! The device: opened once, shared by clones, and its failures remembered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::adapters::{enumerate, instance_flags, rank};
use crate::calibrate::Calibration;
use crate::kernels::tiles::Tiles;
use crate::pipeline::{Pipelines, UniformArena};
use crate::{AdapterEntry, GpuError, Tier, TimestampStrategy};

/// An open device. Clones share it.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
    tier: Tier,
    binding_limit: u64,
    tiles: Tiles,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    entry: AdapterEntry,
    limits: wgpu::Limits,
    features: wgpu::Features,
    strategy: AtomicU8,
    budget: AtomicU64,
    pub(crate) allocated: Arc<AtomicU64>,
    lost: Arc<Mutex<Option<String>>>,
    uncaptured: Arc<Mutex<Option<String>>>,
    pub(crate) pipelines: Mutex<Pipelines>,
    pub(crate) uniforms: Mutex<UniformArena>,
    pub(crate) calibration: Mutex<Option<Calibration>>,
}

/// A lock whose holder panicked still guards plain data: go on with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked of an adapter where it has it.
fn wanted_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
}

impl Gpu {
    /// Opens the adapter of that number; with none given the best hardware adapter, or a software one where there is no
    /// other. The device gets the adapter's own limits.
    pub fn open(index: Option<usize>) -> Result<Gpu, GpuError> {
        let mut found = enumerate();
        let count = found.len();
        let chosen = match index {
            Some(index) if index < count => index,
            Some(index) if count > 0 => return Err(GpuError::NoSuchAdapter { index, count }),
            _ => {
                let best = found.iter().min_by_key(|(entry, _)| (rank(entry), entry.index));
                best.ok_or(GpuError::NoAdapter)?.0.index
            }
        };
        let (entry, adapter) = found.swap_remove(chosen);
        let features = adapter.features() & wanted_features();
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("stratoscope"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| GpuError::Open { adapter: entry.name.clone(), why: e.to_string() })?;

        let uncaptured = Arc::new(Mutex::new(None));
        let seen = uncaptured.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("wgpu: {error}");
            lock(&seen).get_or_insert_with(|| error.to_string());
        }));
        let lost = Arc::new(Mutex::new(None));
        let seen = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed || !message.is_empty() {
                log::error!("the GPU device was lost: {reason:?} {message}");
            }
            lock(&seen).get_or_insert_with(|| format!("{reason:?} {message}").trim().to_owned());
        });

        let strategy = TimestampStrategy::best_for(features);
        let budget = if entry.is_software { host_memory_available().unwrap_or(0) } else { 0 };
        let inner = Inner {
            device,
            queue,
            entry,
            limits,
            features,
            strategy: AtomicU8::new(strategy as u8),
            budget: AtomicU64::new(budget),
            allocated: Arc::default(),
            lost,
            uncaptured,
            pipelines: Mutex::default(),
            uniforms: Mutex::default(),
            calibration: Mutex::default(),
        };
        let tier = Tier::of(features).and(Tier::allowed());
        let binding_limit = inner.limits.max_storage_buffer_binding_size.min(inner.limits.max_buffer_size);
        Ok(Gpu { inner: Arc::new(inner), tier, binding_limit, tiles: Tiles::default() })
    }

    /// What kernels use of the device. It is all that the device has, or less where `STRATOSCOPE_GPU_TIER` says so.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The same device, with kernels that use no more than this of it.
    pub fn at_tier(&self, tier: Tier) -> Gpu {
        Gpu { tier: Tier::of(self.inner.features).and(tier), ..self.clone() }
    }

    /// Which tiles its matrix products use.
    pub fn tiles(&self) -> Tiles {
        self.tiles
    }

    /// The same device, with other tiles for its matrix products.
    pub fn with_tiles(&self, tiles: Tiles) -> Gpu {
        Gpu { tiles, ..self.clone() }
    }

    /// The most threads that a subgroup has, where kernels may use them.
    pub(crate) fn largest_subgroup(&self) -> Option<u32> {
        self.inner.entry.subgroup_sizes.filter(|_| self.tier.subgroups).map(|s| s.1)
    }

    /// The same device, with bindings of at most so many bytes.
    pub fn with_binding_limit(&self, bytes: u64) -> Gpu {
        Gpu { binding_limit: self.binding_limit.min(bytes), ..self.clone() }
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.inner.entry.name
    }

    /// The adapter as listed.
    pub fn info(&self) -> &AdapterEntry {
        &self.inner.entry
    }

    /// How steps are timed here.
    pub fn timestamp_strategy(&self) -> TimestampStrategy {
        TimestampStrategy::from_code(self.inner.strategy.load(Ordering::Relaxed))
    }

    /// Times steps in another way; refused (`false`) where the adapter cannot.
    pub fn set_timestamp_strategy(&self, strategy: TimestampStrategy) -> bool {
        let possible = self.inner.features.contains(strategy.needs());
        if possible {
            self.inner.strategy.store(strategy as u8, Ordering::Relaxed);
        }
        possible
    }

    /// True where validation layers watch every call, which makes times useless: the trace should say so.
    pub fn validation_on(&self) -> bool {
        instance_flags().contains(wgpu::InstanceFlags::VALIDATION)
    }

    /// The device's limits, which are the adapter's own.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// Binding offsets are multiples of this many bytes.
    pub fn alignment(&self) -> u64 {
        u64::from(self.limits().min_storage_buffer_offset_alignment).max(16)
    }

    /// The largest range one binding may have, in bytes.
    pub fn max_binding_bytes(&self) -> u64 {
        self.binding_limit
    }

    /// Why the device was lost, if it was.
    pub fn is_lost(&self) -> Option<String> {
        lock(&self.inner.lost).clone()
    }

    /// Bytes in buffers that are alive.
    pub fn allocated_bytes(&self) -> u64 {
        self.inner.allocated.load(Ordering::Relaxed)
    }

    /// The memory that buffers may take together, if it is known. Software adapters never report that memory ran out, so
    /// theirs starts as what the machine had free when the device was opened.
    pub fn budget(&self) -> Option<u64> {
        Some(self.inner.budget.load(Ordering::Relaxed)).filter(|&b| b > 0)
    }

    /// Sets the budget; `None` leaves it to the driver.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.inner.budget.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// What the driver's allocator holds: label and bytes of each allocation, where the backend can say, largest first.
    pub fn allocator_report(&self) -> Vec<(String, u64)> {
        let Some(report) = self.inner.device.generate_allocator_report() else { return Vec::new() };
        let mut by_name: HashMap<String, u64> = HashMap::new();
        for a in report.allocations {
            *by_name.entry(a.name).or_default() += a.size;
        }
        let mut all: Vec<_> = by_name.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    pub(crate) fn check_lost(&self) -> Result<(), GpuError> {
        self.is_lost().map_or(Ok(()), |why| Err(GpuError::Lost(why)))
    }

    /// The first error that no scope caught since the last call, under our label.
    pub(crate) fn check_uncaptured(&self, label: &str) -> Result<(), GpuError> {
        self.check_lost()?;
        match lock(&self.inner.uncaptured).take() {
            Some(why) => Err(GpuError::Validation { label: label.to_owned(), why }),
            None => Ok(()),
        }
    }

    /// Waits until a submission is done.
    pub(crate) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let result = self.inner.device.poll(poll);
        self.check_lost()?;
        result
            .map(|_| ())
            .map_err(|e| GpuError::Validation { label: "waiting for the GPU".to_owned(), why: e.to_string() })
    }
}

/// Memory the machine has free for a software adapter, where the system says.
fn host_memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::shared_gpu;

    #[test]
    fn buffers_keep_their_bytes_and_are_counted() {
        let Some(gpu) = shared_gpu() else { return };
        let b = gpu.buffer("weights of a test", 10).unwrap();
        gpu.upload(&b, 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).unwrap();
        let got = gpu.download(&[b.whole(), b.part(4, 3)]).unwrap();
        assert_eq!(got, vec![vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10], vec![5, 6, 7]]);
        assert!(gpu.allocated_bytes() >= 256);
        assert!(gpu.upload(&b, 8, &[0; 4]).is_err(), "past the end");
        assert!(gpu.upload(&b, 2, &[0; 4]).is_err(), "not a multiple of four");
        assert!(gpu.download(&[b.part(0, 1 << 40)]).is_err());
        let report = gpu.allocator_report();
        assert!(report.is_empty() || report.iter().any(|(name, _)| name.contains("weights of a test")), "{report:?}");
    }

    #[test]
    fn sizes_past_limits_and_budget_are_typed_errors() {
        if shared_gpu().is_none() {
            return;
        }
        let gpu = Gpu::open(None).unwrap();
        assert!(matches!(gpu.buffer("huge", u64::MAX), Err(GpuError::TooLarge { .. })));
        gpu.set_budget(Some(1 << 20));
        let kept = gpu.buffer("fits", 1 << 19).unwrap();
        let err = gpu.buffer("layer.3.weight", 1 << 20).unwrap_err();
        assert!(matches!(err, GpuError::OutOfMemory { .. }), "{err}");
        assert!(err.to_string().contains("layer.3.weight"));
        drop(kept);
        assert!(gpu.buffer("fits now", 1 << 20).is_ok());
        assert!(matches!(Gpu::open(Some(999)), Err(GpuError::NoSuchAdapter { index: 999, .. })));
    }

    #[test]
    fn a_lost_device_is_an_error_that_says_so() {
        if shared_gpu().is_none() {
            return;
        }
        let gpu = Gpu::open(None).unwrap();
        gpu.inner.device.destroy();
        // The callback comes with the next poll.
        let _ = gpu.inner.device.poll(wgpu::PollType::Poll);
        assert!(gpu.is_lost().is_some());
        let err = gpu.buffer("x", 16).unwrap_err();
        assert!(matches!(err, GpuError::Lost(_)), "{err}");
    }
}
