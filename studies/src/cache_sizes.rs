//! The processor's caches, as it describes them itself.

/// One level of data cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheLevel {
    /// 1 is the closest.
    pub level: u32,
    /// What one cache of this level holds.
    pub bytes: u64,
    /// Logical processors that share one.
    pub shared_by: usize,
}

/// The data caches, the closest first; none where the system does not say.
pub(crate) fn cache_levels() -> Vec<CacheLevel> {
    let mut levels = described();
    levels.retain(|l| (1..=4).contains(&l.level) && (1 << 10..1 << 36).contains(&l.bytes) && l.shared_by > 0);
    levels.sort_by_key(|l| (l.level, l.bytes));
    levels.dedup_by_key(|l| l.level);
    levels
}

/// Leaf 4 of CPUID on Intel's processors, and the like leaf on AMD's.
#[cfg(target_arch = "x86_64")]
fn described() -> Vec<CacheLevel> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMD: u32 = 0x8000_001d;
    let (last, last_extended) = (__cpuid(0).eax, __cpuid(0x8000_0000).eax);
    let read = |leaf: u32| -> Vec<CacheLevel> {
        (0..16)
            .map(|i| __cpuid_count(leaf, i))
            .take_while(|r| r.eax & 0x1f != 0)
            // 1 is data, 2 instructions, 3 both.
            .filter(|r| matches!(r.eax & 0x1f, 1 | 3))
            .map(|r| {
                let (line, parts, ways) = ((r.ebx & 0xfff) + 1, ((r.ebx >> 12) & 0x3ff) + 1, (r.ebx >> 22) + 1);
                CacheLevel {
                    level: (r.eax >> 5) & 7,
                    bytes: [line, parts, ways].iter().fold(u64::from(r.ecx) + 1, |b, &n| b.saturating_mul(n.into())),
                    shared_by: ((r.eax >> 14) & 0xfff) as usize + 1,
                }
            })
            .collect()
    };
    let of_amd = if last_extended >= AMD { read(AMD) } else { Vec::new() };
    if of_amd.is_empty() && last >= 4 { read(4) } else { of_amd }
}

/// What the kernel says of the first processor.
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
fn described() -> Vec<CacheLevel> {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    (0..16)
        .filter_map(|i| {
            let read = |name: &str| std::fs::read_to_string(folder.join(format!("index{i}/{name}"))).ok();
            if read("type")?.trim() == "Instruction" {
                return None;
            }
            let size = read("size")?;
            let (digits, unit) = size.trim().split_at(size.trim().find(|c: char| !c.is_ascii_digit())?);
            let factor = if unit.starts_with('M') { 1 << 20 } else { 1 << 10 };
            Some(CacheLevel {
                level: read("level")?.trim().parse().ok()?,
                bytes: digits.parse::<u64>().ok()?.saturating_mul(factor),
                shared_by: listed(read("shared_cpu_list")?.trim()),
            })
        })
        .collect()
}

/// How many a list like `0-3,8` names.
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
fn listed(list: &str) -> usize {
    let count = |part: &str| -> Option<usize> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(to.parse::<usize>().ok()?.checked_sub(from.parse().ok()?)? + 1)
    };
    list.split(',').filter_map(count).sum()
}

#[cfg(not(any(target_arch = "x86_64", target_os = "linux")))]
fn described() -> Vec<CacheLevel> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_grow_with_their_level() {
        let levels = cache_levels();
        println!("{levels:?}");
        assert!(levels.windows(2).all(|w| w[0].level < w[1].level && w[0].bytes <= w[1].bytes), "{levels:?}");
        assert!(levels.iter().all(|l| l.bytes >= 4 << 10 && l.shared_by >= 1), "{levels:?}");
    }

    /// The kernel reads the same leaves.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_first_level_is_what_the_kernel_says() {
        let Ok(size) = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index0/size") else { return };
        let kib: u64 = size.trim().trim_end_matches('K').parse().unwrap();
        assert_eq!(cache_levels().first().map(|l| l.bytes), Some(kib << 10));
    }
}
