//! What a device's shaders may use beyond the base of WebGPU. Kernels choose a form by it.

use std::fmt;

/// Which extensions shaders use. The default is the base, which every adapter has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tier {
    /// Sums and maxima over a subgroup, whose size is the adapter's own and may differ between pipelines.
    pub subgroups: bool,
    /// The type `f16`.
    pub f16: bool,
}

impl Tier {
    /// What every adapter has.
    pub const BASE: Tier = Tier { subgroups: false, f16: false };

    /// All that the features allow.
    pub(crate) fn of(features: wgpu::Features) -> Tier {
        Tier {
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
        }
    }

    /// What both have.
    pub fn and(self, other: Tier) -> Tier {
        Tier { subgroups: self.subgroups && other.subgroups, f16: self.f16 && other.f16 }
    }

    /// True if this has all that `needs` has.
    pub fn covers(self, needs: Tier) -> bool {
        self.and(needs) == needs
    }

    /// `base`, or some of `subgroups` and `f16`, separated by commas.
    pub fn parse(text: &str) -> Option<Tier> {
        text.split(',').map(str::trim).try_fold(Tier::BASE, |tier, word| match word {
            "base" => Some(tier),
            "subgroups" => Some(Tier { subgroups: true, ..tier }),
            "f16" => Some(Tier { f16: true, ..tier }),
            _ => None,
        })
    }

    /// What the user allows: all, or what `STRATOSCOPE_GPU_TIER` says.
    pub(crate) fn allowed() -> Tier {
        let all = Tier { subgroups: true, f16: true };
        let Some(text) = std::env::var_os("STRATOSCOPE_GPU_TIER") else { return all };
        let said = text.to_str().and_then(Tier::parse);
        said.unwrap_or_else(|| {
            log::warn!("STRATOSCOPE_GPU_TIER is none of base, subgroups, f16: {}", text.display());
            all
        })
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.subgroups, self.f16) {
            (false, false) => "base",
            (true, false) => "subgroups",
            (false, true) => "f16",
            (true, true) => "subgroups,f16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_read_as_they_are_written() {
        for subgroups in [false, true] {
            for f16 in [false, true] {
                let tier = Tier { subgroups, f16 };
                assert_eq!(Tier::parse(&tier.to_string()), Some(tier));
                assert!(tier.covers(Tier::BASE) && tier.covers(tier));
            }
        }
        assert_eq!(Tier::parse("matrix"), None);
        assert!(!Tier::BASE.covers(Tier { f16: true, ..Tier::BASE }));
    }
}
