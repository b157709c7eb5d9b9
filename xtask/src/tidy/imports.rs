//! Who imports whom.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

use super::{Finding, relative};

/// One crate of the workspace and which of the others it may import; more of them in its tests.
struct May {
    name: &'static str,
    import: &'static [&'static str],
    in_tests: &'static [&'static str],
}

const fn may(name: &'static str, import: &'static [&'static str], in_tests: &'static [&'static str]) -> May {
    May { name, import, in_tests }
}

/// The directions: a crate imports from those above it, never from those below.
const CRATES: &[May] = &[
    may("stratoscope-graph", &[], &[]),
    may("stratoscope-profiler", &[], &[]),
    may("stratoscope-history", &["stratoscope-profiler"], &[]),
    may("stratoscope-cpu-kernels", &[], &[]),
    may("stratoscope-gpu-kernels", &[], &["stratoscope-cpu-kernels"]),
    may("stratoscope-formats", &["stratoscope-graph"], &[]),
    may(
        "stratoscope-engine",
        &["stratoscope-graph", "stratoscope-cpu-kernels", "stratoscope-gpu-kernels", "stratoscope-profiler"],
        &["stratoscope-formats"],
    ),
    may("stratoscope-peers", &["stratoscope-graph", "stratoscope-profiler"], &[]),
    may(
        "stratoscope-studies",
        &[
            "stratoscope-graph",
            "stratoscope-formats",
            "stratoscope-engine",
            "stratoscope-peers",
            "stratoscope-profiler",
        ],
        &[],
    ),
    may(
        "stratoscope",
        &[
            "stratoscope-graph",
            "stratoscope-formats",
            "stratoscope-engine",
            "stratoscope-profiler",
            "stratoscope-history",
            "stratoscope-studies",
        ],
        &[],
    ),
    may(
        "system-tests",
        &[
            "stratoscope-graph",
            "stratoscope-formats",
            "stratoscope-engine",
            "stratoscope-profiler",
            "stratoscope-history",
            "stratoscope-studies",
            "stratoscope",
        ],
        &[],
    ),
    may("xtask", &[], &[]),
];

/// Foreign crates (a name, or the beginning of names) that only these of ours may name.
const OWNED: &[(&str, &[&str])] = &[
    ("wgpu", &["stratoscope-gpu-kernels", "stratoscope"]),
    ("naga", &["stratoscope-gpu-kernels"]),
    ("egui", &["stratoscope", "system-tests"]),
    ("eframe", &["stratoscope"]),
    ("prost", &["stratoscope-formats", "stratoscope-profiler"]),
    ("puffin", &["stratoscope-profiler", "stratoscope"]),
    ("ort", &["stratoscope-peers"]),
    ("rayon", &["stratoscope-cpu-kernels"]),
    ("rten", &["stratoscope-cpu-kernels"]),
];

/// What a manifest names.
struct Import {
    name: String,
    /// As the manifest calls it.
    key: String,
    tests_only: bool,
    ours: bool,
}

/// What is against the directions.
pub fn findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cargo metadata")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let path = package.manifest_path.as_std_path();
        let manifest = std::fs::read_to_string(path)?;
        let imports: Vec<Import> = package
            .dependencies
            .iter()
            .map(|d| Import {
                name: d.name.clone(),
                key: d.rename.clone().unwrap_or_else(|| d.name.clone()),
                tests_only: d.kind == DependencyKind::Development,
                ours: d.path.is_some(),
            })
            .collect();
        findings.extend(check(&package.name, &relative(root, path), &manifest, &imports));
    }
    Ok(findings)
}

fn check(package: &str, path: &str, manifest: &str, imports: &[Import]) -> Vec<Finding> {
    let Some(rule) = CRATES.iter().find(|c| c.name == package) else {
        return vec![Finding::new(path, 1, format!("say in xtask/src/tidy/imports.rs what {package} may import"))];
    };
    let mut findings = Vec::new();
    for i in imports {
        let name = i.name.as_str();
        let line = line_of(manifest, &i.key);
        if i.ours && !rule.import.contains(&name) && !(i.tests_only && rule.in_tests.contains(&name)) {
            findings.push(Finding::new(path, line, format!("{package} may not import {name}: see ARCHITECTURE.md")));
        }
        let owned = OWNED.iter().find(|(start, _)| !i.ours && name.starts_with(start));
        if let Some((_, owners)) = owned.filter(|(_, owners)| !owners.contains(&package)) {
            findings.push(Finding::new(path, line, format!("only {} may name {name}", owners.join(" and "))));
        }
    }
    findings
}

/// The line of a manifest that names a dependency.
fn line_of(manifest: &str, key: &str) -> usize {
    let names = |l: &str| l.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(|l| names(l.trim())).map_or(1, |i| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n[dependencies]\ngraph.workspace = true\negui = \"1\"\n";

    fn import(name: &str, key: &str, ours: bool, tests_only: bool) -> Import {
        Import { name: name.into(), key: key.into(), tests_only, ours }
    }

    fn found(package: &str, i: Import) -> Vec<String> {
        check(package, "x/Cargo.toml", MANIFEST, &[i]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn directions_hold() {
        let graph = || import("stratoscope-graph", "graph", true, false);
        assert!(found("stratoscope-formats", graph()).is_empty());
        let f = found("stratoscope-profiler", graph());
        assert_eq!(f, ["x/Cargo.toml:4: stratoscope-profiler may not import stratoscope-graph: see ARCHITECTURE.md"]);
        let twin = |tests_only| import("stratoscope-cpu-kernels", "cpu-kernels", true, tests_only);
        assert!(found("stratoscope-gpu-kernels", twin(true)).is_empty());
        assert_eq!(found("stratoscope-gpu-kernels", twin(false)).len(), 1);
        assert_eq!(found("some-new-crate", graph()).len(), 1);
    }

    #[test]
    fn foreign_crates_have_owners() {
        let egui = || import("egui", "egui", false, false);
        assert!(found("stratoscope", egui()).is_empty());
        assert_eq!(
            found("stratoscope-engine", egui()),
            ["x/Cargo.toml:5: only stratoscope and system-tests may name egui"]
        );
        assert_eq!(found("stratoscope-studies", import("prost-types", "prost-types", false, false)).len(), 1);
        assert_eq!(found("stratoscope-engine", import("puffin_http", "puffin_http", false, true)).len(), 1);
    }

    #[test]
    fn no_crate_of_the_table_imports_in_a_circle() {
        // Each imports only from crates that stand before it.
        for (i, c) in CRATES.iter().enumerate() {
            for name in c.import {
                assert!(CRATES[..i].iter().any(|before| before.name == *name), "{} imports {name}", c.name);
            }
        }
    }
}
