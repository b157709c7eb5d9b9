//! What a device can do at best: measured once with probes, then remembered.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::cpu_probe::{self, ProbeError};
use engine::{EngineError, Gpu, Pool, gpu_probe};
use profiler::roofline::{CacheRoof, Ceilings, ComputeRoof};
use profiler::{Meta, Recorder};

use crate::cache_sizes::cache_levels;
use crate::devices::{cpu, cpu_in_words, gpu_in_words};
use crate::runner::open_gpu;
use crate::settings::{Control, DeviceChoice, Settings, StudyError};

/// Ceilings from other probes are measured anew.
const PROBES: u32 = 1;
/// A remembered file larger than this is none of ours.
const MAX_BYTES: u64 = 1 << 20;
/// Above this relative spread of a probe's repeats the ceilings say so.
const NOISY: f64 = 0.05;
/// The last cache where the system does not say.
const ASSUMED_CACHE: u64 = 32 << 20;

/// The device whose ceilings are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In words, as its traces name it.
    pub device: String,
    key: String,
    /// CPU threads; 0 for a GPU.
    threads: usize,
    /// The adapter, if it is a GPU.
    adapter: Option<usize>,
}

impl Target {
    /// The device that a run with these settings would use.
    pub fn of_settings(settings: &Settings) -> Result<Target, StudyError> {
        let adapters = engine::adapters;
        let wanted = match settings.device {
            DeviceChoice::Cpu => None,
            DeviceChoice::Auto => adapters().into_iter().find(|a| !a.is_software),
            DeviceChoice::Gpu(index) => {
                let gpu = match index {
                    Some(i) => adapters().into_iter().find(|a| a.index == i),
                    None => Some(Gpu::open(None).map_err(EngineError::from)?.info().clone()),
                };
                Some(gpu.ok_or_else(|| StudyError::Settings(format!("there is no device {}", settings.device)))?)
            }
        };
        Ok(match wanted {
            Some(adapter) => Target::gpu(&adapter),
            None => Target::cpu(settings.threads.unwrap_or(cpu().cores).max(1)),
        })
    }

    /// The device that a trace was measured on, if this machine has it.
    pub fn of_trace(meta: &Meta) -> Result<Target, StudyError> {
        let here = match meta.device_kind.as_str() {
            "cpu" if meta.threads > 0 => Some(Target::cpu(meta.threads as usize)),
            "gpu" => engine::adapters().iter().map(Target::gpu).find(|t| t.device == meta.device),
            _ => None,
        };
        here.filter(|t| t.device == meta.device).ok_or_else(|| {
            let device = if meta.device.is_empty() { "an unknown device" } else { &meta.device };
            StudyError::Settings(format!(
                "the trace was measured on {device}, which is not here: its ceilings can only be measured on that machine"
            ))
        })
    }

    fn cpu(threads: usize) -> Target {
        let device = cpu_in_words(threads);
        Target { key: format!("{PROBES} {device}"), device, threads, adapter: None }
    }

    fn gpu(a: &engine::AdapterEntry) -> Target {
        let device = gpu_in_words(&a.name, &a.backend);
        Target { key: format!("{PROBES} {device} {}", a.driver), device, threads: 0, adapter: Some(a.index) }
    }

    fn file(&self, folder: &Path) -> PathBuf {
        let name: String = self.key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        folder.join(format!("ceilings-{}.json", &name[..name.len().min(120)]))
    }
}

/// The ceilings of a device: those remembered in `folder`, unless there are none or they are wanted `anew`; then
/// measured, which takes a few seconds, and remembered.
pub fn ceilings(target: &Target, folder: Option<&Path>, anew: bool, control: &Control) -> Result<Ceilings, StudyError> {
    if let Some(known) = folder.filter(|_| !anew).and_then(|f| remembered(target, f)) {
        return Ok(known);
    }
    let mut measured = match target.adapter {
        None => measure_cpu(target.threads, control)?,
        Some(adapter) => measure_gpu(adapter, control)?,
    };
    measured.device.clone_from(&target.device);
    measured.key.clone_from(&target.key);
    measured.measured_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if let Some(folder) = folder
        && let Err(e) = remember(target, &measured, folder)
    {
        // They are as good now; the next time they are measured anew.
        log::warn!("{}: the ceilings can't be remembered: {e}", target.file(folder).display());
    }
    Ok(measured)
}

/// What was measured before, if that is whole and this device's.
pub fn remembered(target: &Target, folder: &Path) -> Option<Ceilings> {
    let file = std::fs::File::open(target.file(folder)).ok()?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let known: Ceilings = serde_json::from_str(&text).ok()?;
    let whole = known.key == target.key
        && known.device == target.device
        && known.threads as usize == target.threads
        && known.bytes_per_s().is_some()
        && known.flop_per_s("f32").is_some();
    whole.then_some(known)
}

/// Writes beside the file and renames.
fn remember(target: &Target, ceilings: &Ceilings, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(&serde_json::to_vec_pretty(ceilings)?)?;
    aside.as_file().sync_all()?;
    aside.persist(target.file(folder)).map_err(|e| e.error)?;
    Ok(())
}

fn measure_cpu(threads: usize, control: &Control) -> Result<Ceilings, StudyError> {
    let failed = |e: ProbeError| match e {
        ProbeError::Stopped => StudyError::Cancelled,
        e => StudyError::Probe(e.to_string()),
    };
    let step = |what: &str, fraction: f32| control.step(&format!("Measuring ceilings: {what}"), Some(fraction), None);
    let (pool, stop) = (Pool::new(threads), control.flag());
    let mut notes = Vec::new();
    let mut compute = Vec::new();
    step("arithmetic", 0.0)?;
    for (i, dtype) in ["f32", "int8"].into_iter().enumerate() {
        let probe = if i == 0 { cpu_probe::multiply_add_f32 } else { cpu_probe::dot_int8 };
        let rate = probe(&pool, stop).map_err(failed)?;
        notes.extend(noise(&format!("{dtype} arithmetic"), rate.spread));
        compute.push(ComputeRoof { dtype: dtype.into(), flop_per_s: rate.per_s, how: rate.how });
    }
    let levels = cache_levels();
    let mut caches = Vec::new();
    for level in &levels {
        let name = format!("L{}", level.level);
        step(&format!("{name} cache"), 0.2 + 0.1 * level.level as f32)?;
        // The first two levels are a core's own, and there is at most a thread for each core.
        let shared = if level.level <= 2 { 1 } else { threads.min(level.shared_by).max(1) };
        let each = level.bytes / shared as u64;
        let rate = cpu_probe::cache(&pool, stop, (each / 2) as usize).map_err(failed)?;
        notes.extend(noise(&name, rate.spread));
        caches.push(CacheRoof { name, bytes: each * threads as u64, bytes_per_s: rate.per_s });
    }
    step("main memory", 0.6)?;
    let last = levels.last().map_or(ASSUMED_CACHE, |l| {
        let caches = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(l.shared_by));
        l.bytes.saturating_mul(caches as u64)
    });
    let bytes = last.saturating_mul(4).clamp(128 << 20, 1 << 30).min(free_memory() / 4);
    if bytes < last.saturating_mul(3) {
        let words =
            "main memory was measured with buffers not much larger than the last cache: its rate may be too high";
        notes.push(words.to_owned());
    }
    let memory = cpu_probe::main_memory(&pool, stop, bytes as usize).map_err(failed)?;
    notes.extend(noise("main memory", memory.spread));
    // A cache that is no faster than memory is not one that explains anything (a virtual machine may describe what it lacks).
    caches.retain(|c| c.bytes_per_s > memory.per_s);
    Ok(Ceilings {
        threads: threads as u32,
        compute,
        bandwidth_bytes_per_s: memory.per_s,
        bandwidth_how: format!("{}, {} MiB", memory.how, bytes >> 20),
        caches,
        notes,
        ..Ceilings::default()
    })
}

fn measure_gpu(adapter: usize, control: &Control) -> Result<Ceilings, StudyError> {
    control.step("Measuring ceilings: opening the GPU", None, None)?;
    let mut off = Recorder::off();
    let gpu = open_gpu(DeviceChoice::Gpu(Some(adapter)), &mut off)?;
    let Some(gpu) = gpu else { return Err(StudyError::Settings(format!("there is no adapter {adapter}"))) };
    let stop = control.flag();
    control.step("Measuring ceilings: arithmetic", Some(0.2), None)?;
    let flops = gpu_probe::matmul_f32(&gpu, stop).map_err(EngineError::from)?.ok_or(StudyError::Cancelled)?;
    control.step("Measuring ceilings: memory", Some(0.6), None)?;
    let copy = gpu_probe::copy_memory(&gpu, stop).map_err(EngineError::from)?.ok_or(StudyError::Cancelled)?;
    let mut notes = vec![
        "a GPU's ceilings are what our own product and copy reach on it: the hardware may have more to give".to_owned(),
    ];
    if gpu.info().is_software {
        notes.push("a software adapter: the CPU does its work, beside everything else".to_owned());
    }
    if gpu.validation_on() {
        notes.push("the Vulkan validation layer is on".to_owned());
    }
    notes.extend(noise("f32 arithmetic", flops.spread));
    notes.extend(noise("memory", copy.spread));
    Ok(Ceilings {
        compute: vec![ComputeRoof { dtype: "f32".into(), flop_per_s: flops.per_s, how: flops.how }],
        bandwidth_bytes_per_s: copy.per_s,
        bandwidth_how: copy.how,
        notes,
        ..Ceilings::default()
    })
}

fn noise(what: &str, spread: f64) -> Option<String> {
    let quiet = spread <= NOISY;
    (!quiet).then(|| {
        format!("{what} varied by {:.0}% while it was measured: quiet the machine and measure again", spread * 100.0)
    })
}

fn free_memory() -> u64 {
    let free = sysinfo::System::new().ok().map_or(0, |mut system| {
        system.refresh_memory();
        system.available_memory()
    });
    if free == 0 { 2 << 30 } else { free }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_once_then_remembered_until_the_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::of_settings(&Settings { threads: Some(1), ..Settings::default() }).unwrap();
        assert_eq!(remembered(&target, folder.path()), None);
        let control = Control::silent();
        let start = std::time::Instant::now();
        let first = ceilings(&target, Some(folder.path()), false, &control).unwrap();
        println!("{first:#?} in {:?}", start.elapsed());
        assert_eq!((first.threads, first.device.as_str()), (1, target.device.as_str()));
        assert!(first.flop_per_s("f32").is_some() && first.flop_per_s("int8").is_some());
        assert!(first.bytes_per_s().is_some() && first.measured_unix_s > 0);
        assert!(first.caches.iter().all(|c| c.bytes_per_s > first.bandwidth_bytes_per_s));
        let second = ceilings(&target, Some(folder.path()), false, &control).unwrap();
        assert_eq!(Some(&second), remembered(&target, folder.path()).as_ref());
        assert!((second.bandwidth_bytes_per_s / first.bandwidth_bytes_per_s - 1.0).abs() < 1e-12);
        assert_eq!((second.caches.len(), &second.notes), (first.caches.len(), &first.notes));
        let file = target.file(folder.path());
        let whole = std::fs::read(&file).unwrap();
        for damage in [&whole[..whole.len() / 2], b"null", b"{}", b"\xff\xfe"] {
            std::fs::write(&file, damage).unwrap();
            assert_eq!(remembered(&target, folder.path()), None);
        }
        let other = String::from_utf8(whole).unwrap().replace("1 thread", "9 thread");
        std::fs::write(&file, other).unwrap();
        assert_eq!(remembered(&target, folder.path()), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying beside it");
    }

    #[test]
    fn a_trace_from_elsewhere_has_no_ceilings_here() {
        let own = Target::of_settings(&Settings { threads: Some(2), ..Settings::default() }).unwrap();
        let meta = Meta { device: own.device.clone(), device_kind: "cpu".into(), threads: 2, ..Meta::default() };
        assert_eq!(Target::of_trace(&meta).unwrap(), own);
        for change in [
            Meta { device: "CPU of another make, 2 threads".into(), ..meta.clone() },
            Meta { threads: 3, ..meta.clone() },
            Meta { threads: 0, ..meta.clone() },
            Meta { device_kind: "tpu".into(), ..meta.clone() },
            Meta::default(),
        ] {
            let why = Target::of_trace(&change).unwrap_err().to_string();
            assert!(why.contains("measured on"), "{why}");
        }
    }

    #[test]
    fn a_cancelled_measurement_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::of_settings(&Settings::default()).unwrap();
        let control = Control::silent();
        control.cancel();
        assert!(matches!(ceilings(&target, Some(folder.path()), true, &control), Err(StudyError::Cancelled)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
