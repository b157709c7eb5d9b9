//! The devices that a study can run on.

use std::sync::OnceLock;

use sysinfo::System;

use crate::settings::DeviceChoice;

/// A device that a study can run on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Device {
    /// How to ask for it.
    pub choice: DeviceChoice,
    /// Its name.
    pub name: String,
    /// The rest, in words: `Vulkan, software, driver Mesa 22.3.6`.
    pub detail: String,
    /// False if it was seen but can't be used; `detail` says why.
    pub usable: bool,
}

/// The processor.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub name: String,
    pub simd: &'static str,
    pub cores: usize,
}

pub(crate) fn cpu() -> &'static Cpu {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(|| {
        let name = System::new().ok().and_then(|mut system| {
            system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
            system.cpus().first().map(|c| c.brand().trim().to_owned())
        });
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        // Hyper-threads share the arithmetic units that kernels saturate: one thread per physical core.
        let cores = System::physical_core_count().unwrap_or(available).clamp(1, available);
        Cpu { name: name.filter(|n| !n.is_empty()).unwrap_or_else(|| "CPU".into()), simd: simd(), cores }
    })
}

/// The processor with so many threads, as traces name it.
pub(crate) fn cpu_in_words(threads: usize) -> String {
    let (c, plural) = (cpu(), if threads == 1 { "" } else { "s" });
    format!("CPU {} ({}), {threads} thread{plural}", c.name, c.simd)
}

/// An adapter, as traces name it.
pub(crate) fn gpu_in_words(name: &str, backend: &str) -> String {
    format!("{name} ({backend})")
}

fn simd() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "AVX2, FMA";
        }
        "SSE2"
    }
    #[cfg(target_arch = "aarch64")]
    {
        "NEON"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "portable"
    }
}

/// The devices: the CPU first, then each GPU adapter.
pub fn devices() -> Vec<Device> {
    let c = cpu();
    let plural = if c.cores == 1 { "" } else { "s" };
    let mut all = vec![Device {
        choice: DeviceChoice::Cpu,
        name: c.name.clone(),
        detail: format!("CPU, {} core{plural}, {}", c.cores, c.simd),
        usable: true,
    }];
    all.extend(engine::adapters().into_iter().map(|a| Device {
        choice: DeviceChoice::Gpu(Some(a.index)),
        name: a.name.clone(),
        detail: gpu_detail(&a),
        usable: true,
    }));
    all
}

/// How an adapter is reached, and what its shaders use.
fn gpu_detail(a: &engine::AdapterEntry) -> String {
    let mut detail = format!("{} ({}), driver {}", a.backend, a.kind, a.driver);
    if let Some((least, most)) = a.subgroup_sizes {
        let sizes = if least == most { least.to_string() } else { format!("{least} to {most}") };
        detail.push_str(&format!(", subgroups of {sizes}"));
    }
    if a.tier.f16 {
        detail.push_str(", f16");
    }
    detail
}

/// The process's resident memory in bytes; 0 if the system does not say.
pub(crate) struct ResidentMemory {
    system: Option<System>,
    pid: Option<sysinfo::Pid>,
}

impl ResidentMemory {
    pub fn new() -> Self {
        ResidentMemory { system: System::new().ok(), pid: sysinfo::get_current_pid().ok() }
    }

    pub fn bytes(&mut self) -> u64 {
        let (Some(pid), Some(system)) = (self.pid, &mut self.system) else { return 0 };
        let what = sysinfo::ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::Some(&[pid]), false, what);
        system.process(pid).map_or(0, |p| p.memory())
    }
}
