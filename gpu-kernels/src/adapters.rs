//! The adapters of this machine.

use std::sync::OnceLock;

use crate::Tier;

/// One adapter as the window and the command line list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterEntry {
    /// Its number, for `--device gpu:N`.
    pub index: usize,
    /// The adapter's own name.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12`, ...
    pub backend: String,
    /// `Discrete`, `Integrated`, `Virtual`, `Cpu` or `Other`.
    pub kind: String,
    /// The driver and its version.
    pub driver: String,
    /// True where a CPU does the work (lavapipe, SwiftShader, WARP).
    pub is_software: bool,
    /// What its shaders can use.
    pub tier: Tier,
    /// The smallest and the largest subgroup, where it has them.
    pub subgroup_sizes: Option<(u32, u32)>,
}

impl AdapterEntry {
    fn new(index: usize, info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let tier = Tier::of(features);
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "Discrete",
            wgpu::DeviceType::IntegratedGpu => "Integrated",
            wgpu::DeviceType::VirtualGpu => "Virtual",
            wgpu::DeviceType::Cpu => "Cpu",
            wgpu::DeviceType::Other => "Other",
        };
        AdapterEntry {
            index,
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            kind: kind.to_owned(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
            tier,
            subgroup_sizes: tier.subgroups.then_some((info.subgroup_min_size, info.subgroup_max_size)),
        }
    }
}

/// The flags of our instance: the validation layers cost several times the work they watch, so they are on only where
/// `WGPU_VALIDATION=1` asks for them, in debug builds too.
pub(crate) fn instance_flags() -> wgpu::InstanceFlags {
    wgpu::InstanceFlags::empty().with_env()
}

/// One instance for the whole process: making one loads every driver.
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        let mut descriptor = descriptor.with_env();
        descriptor.flags = instance_flags();
        // Past nine tenths of the memory budget the driver reports, a buffer is an error instead of a swap or a lost device.
        descriptor.memory_budget_thresholds =
            wgpu::MemoryBudgetThresholds { for_resource_creation: Some(90), for_device_loss: None };
        wgpu::Instance::new(descriptor)
    })
}

/// The adapters with their wgpu handles, in the driver's order.
pub(crate) fn enumerate() -> Vec<(AdapterEntry, wgpu::Adapter)> {
    pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all()))
        .into_iter()
        .filter(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .enumerate()
        .map(|(index, adapter)| (AdapterEntry::new(index, &adapter.get_info(), adapter.features()), adapter))
        .collect()
}

/// Every adapter that can compute; empty where there is none.
pub fn adapters() -> Vec<AdapterEntry> {
    enumerate().into_iter().map(|(entry, _)| entry).collect()
}

/// How much an adapter is preferred when the user names none: discrete, then integrated, then software.
pub(crate) fn rank(entry: &AdapterEntry) -> u32 {
    match entry.kind.as_str() {
        "Discrete" => 0,
        "Integrated" => 1,
        "Virtual" => 2,
        "Other" => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_adapters_never_panics_and_numbers_them() {
        for (i, adapter) in adapters().iter().enumerate() {
            assert_eq!(adapter.index, i);
            assert!(!adapter.backend.is_empty() && !adapter.kind.is_empty());
        }
    }

    #[test]
    fn hardware_is_preferred() {
        let entry = |kind: &str| AdapterEntry {
            index: 0,
            name: String::new(),
            backend: String::new(),
            kind: kind.to_owned(),
            driver: String::new(),
            is_software: kind == "Cpu",
            tier: Tier::BASE,
            subgroup_sizes: None,
        };
        assert!(rank(&entry("Discrete")) < rank(&entry("Integrated")));
        assert!(rank(&entry("Integrated")) < rank(&entry("Cpu")));
    }
}
