//! WGSL sources: `#import`, and what a shader says about itself. The shader is the truth: bindings, workgroup sizes, the
//! layout of its parameters and its constants are read from it through naga and are never repeated in Rust.

use std::collections::{BTreeSet, HashMap};

use crate::{GpuError, Tier};

/// The shared pieces that `#import name` brings in, each once.
pub(crate) const SHARED: &[(&str, &str)] = &[
    ("index", include_str!("../../shaders/shared/index.wgsl")),
    ("numeric", include_str!("../../shaders/shared/numeric.wgsl")),
    ("unary_op", include_str!("../../shaders/shared/unary_op.wgsl")),
    ("strides", include_str!("../../shaders/shared/strides.wgsl")),
    ("gemm_io", include_str!("../../shaders/shared/gemm_io.wgsl")),
    ("matmul_tiles", include_str!("../../shaders/shared/matmul_tiles.wgsl")),
    ("gemv_rows", include_str!("../../shaders/shared/gemv_rows.wgsl")),
    ("reduce_group", include_str!("../../shaders/shared/reduce_group.wgsl")),
];

/// What takes the place of a shared piece where shaders may use subgroups.
const BY_SUBGROUPS: &[(&str, &str)] =
    &[("reduce_group", include_str!("../../shaders/shared/reduce_group.subgroups.wgsl"))];

/// Replaces each `#import name` line by that shared piece in the tier's form, recursively, each piece once.
pub(crate) fn resolve(kernel: &str, source: &str, tier: Tier) -> Result<String, GpuError> {
    let mut out = String::with_capacity(source.len() * 2);
    expand(kernel, source, tier, &mut BTreeSet::new(), &mut out)?;
    Ok(out)
}

fn expand<'a>(
    kernel: &str,
    source: &'a str,
    tier: Tier,
    seen: &mut BTreeSet<&'a str>,
    out: &mut String,
) -> Result<(), GpuError> {
    for line in source.lines() {
        match line.trim().strip_prefix("#import ") {
            None => {
                out.push_str(line);
                out.push('\n');
            }
            Some(name) => {
                let name = name.trim();
                let (name, text) = SHARED.iter().find(|(n, _)| *n == name).ok_or_else(|| {
                    shader_error(kernel, format!("#import {name}: there is no shaders/shared/{name}.wgsl in the list"))
                })?;
                if seen.insert(name) {
                    let by_subgroups = BY_SUBGROUPS.iter().find(|(n, _)| *n == *name && tier.subgroups);
                    expand(kernel, by_subgroups.map_or(text, |(_, t)| t), tier, seen, out)?;
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn shader_error(kernel: &str, why: String) -> GpuError {
    GpuError::Shader { kernel: kernel.to_owned(), why }
}

/// What one shader declares.
#[derive(Debug)]
pub(crate) struct Reflection {
    pub(crate) text: String,
    /// Entry points with their workgroup sizes and the storage bindings they use.
    pub(crate) entries: Vec<Entry>,
    /// Storage bindings by name.
    pub(crate) bindings: HashMap<String, u32>,
    pub(crate) params: Option<Params>,
    pub(crate) constants: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) workgroup: [u32; 3],
    /// The storage bindings it touches.
    pub(crate) bindings: Vec<u32>,
    pub(crate) uses_params: bool,
}

/// The layout of the uniform block `params`.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) binding: u32,
    pub(crate) size: u32,
    /// (name, offset in bytes, size in bytes)
    pub(crate) members: Vec<(String, u32, u32)>,
}

/// Parses and validates a shader, and reads its declarations.
pub(crate) fn reflect(kernel: &str, source: &str, tier: Tier) -> Result<Reflection, GpuError> {
    let text = resolve(kernel, source, tier)?;
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| shader_error(kernel, e.emit_to_string(&text)))?;
    let mut allowed = naga::valid::Capabilities::default() | naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    allowed.set(naga::valid::Capabilities::SUBGROUP, tier.subgroups);
    allowed.set(naga::valid::Capabilities::SHADER_FLOAT16, tier.f16);
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), allowed)
        .validate(&module)
        .map_err(|e| shader_error(kernel, e.emit_to_string(&text)))?;
    let mut bindings = HashMap::new();
    let mut params = None;
    for (_, var) in module.global_variables.iter() {
        let (Some(at), Some(name)) = (var.binding, var.name.as_ref()) else { continue };
        match var.space {
            naga::AddressSpace::Storage { .. } => {
                bindings.insert(name.clone(), at.binding);
            }
            naga::AddressSpace::Uniform => params = Some(read_params(kernel, &module, var, at.binding)?),
            _ => return Err(shader_error(kernel, format!("{name} is neither a storage nor a uniform binding"))),
        }
        if at.group != 0 {
            return Err(shader_error(kernel, format!("{name} is in group {}; kernels use group 0", at.group)));
        }
    }
    let entries = module
        .entry_points
        .iter()
        .enumerate()
        .map(|(i, entry)| {
            let used = |space: fn(naga::AddressSpace) -> bool| {
                let mut used: Vec<u32> = module
                    .global_variables
                    .iter()
                    .filter(|(handle, var)| space(var.space) && !info.get_entry_point(i)[*handle].is_empty())
                    .filter_map(|(_, var)| var.binding.map(|b| b.binding))
                    .collect();
                used.sort_unstable();
                used
            };
            Entry {
                name: entry.name.clone(),
                workgroup: entry.workgroup_size,
                bindings: used(|s| matches!(s, naga::AddressSpace::Storage { .. })),
                uses_params: !used(|s| s == naga::AddressSpace::Uniform).is_empty(),
            }
        })
        .collect();
    let constants = module.overrides.iter().filter_map(|(_, o)| o.name.clone()).collect();
    Ok(Reflection { text, entries, bindings, params, constants })
}

fn read_params(
    kernel: &str,
    module: &naga::Module,
    var: &naga::GlobalVariable,
    binding: u32,
) -> Result<Params, GpuError> {
    let naga::TypeInner::Struct { members, span } = &module.types[var.ty].inner else {
        return Err(shader_error(kernel, "its uniform binding is not a struct".to_owned()));
    };
    let members = members
        .iter()
        .map(|m| (m.name.clone().unwrap_or_default(), m.offset, module.types[m.ty].inner.size(module.to_ctx())))
        .collect();
    Ok(Params { binding, size: *span, members })
}

/// A value for one member of `params`.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    U32(u32),
    I32(i32),
    F32(f32),
    /// Up to eight numbers in `array<vec4<u32>, 2>`.
    U32s(Vec<u32>),
}

impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Value::U32(v)
    }
}
impl From<i32> for Value {
    fn from(v: i32) -> Self {
        Value::I32(v)
    }
}
impl From<f32> for Value {
    fn from(v: f32) -> Self {
        Value::F32(v)
    }
}
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::U32(u32::from(v))
    }
}
impl From<&[u32]> for Value {
    fn from(v: &[u32]) -> Self {
        Value::U32s(v.to_vec())
    }
}

impl Params {
    /// The block's bytes; every member must be given once, and nothing else.
    pub(crate) fn pack(&self, kernel: &str, values: &[(&str, Value)]) -> Result<Vec<u8>, GpuError> {
        let mut bytes = vec![0u8; self.size as usize];
        for (name, value) in values {
            let Some((_, offset, size)) = self.members.iter().find(|(n, ..)| n == name) else {
                return Err(shader_error(kernel, format!("it has no parameter {name}")));
            };
            let words = match value {
                Value::U32(v) => vec![*v],
                Value::I32(v) => vec![*v as u32],
                Value::F32(v) => vec![v.to_bits()],
                Value::U32s(v) => v.clone(),
            };
            if words.len() * 4 > *size as usize {
                return Err(shader_error(
                    kernel,
                    format!("parameter {name} has {size} bytes, {} words given", words.len()),
                ));
            }
            let start = *offset as usize;
            bytes[start..start + words.len() * 4].copy_from_slice(bytemuck::cast_slice(&words));
        }
        let missing = self.members.iter().find(|(n, ..)| !values.iter().any(|(given, _)| given == n));
        match missing {
            Some((name, ..)) => Err(shader_error(kernel, format!("its parameter {name} was not given"))),
            None => Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ALL;

    fn wgsl_files(folder: &str) -> BTreeSet<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders").join(folder);
        std::fs::read_dir(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .filter_map(|f| f.strip_suffix(".wgsl").map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_shader_is_valid_and_owned_by_one_kernel() {
        let mut bad = Vec::new();
        for kernel in ALL {
            let all = Tier { subgroups: true, f16: true };
            for tier in [kernel.needs, all] {
                if let Err(e) = reflect(kernel.name, kernel.source, tier) {
                    bad.push(format!("{tier}: {e}"));
                }
            }
        }
        assert!(bad.is_empty(), "{}", bad.join("\n"));
        let owned: BTreeSet<String> = ALL.iter().map(|k| k.name.to_owned()).collect();
        assert_eq!(owned.len(), ALL.len(), "two kernels share a name");
        assert_eq!(wgsl_files("kernels"), owned);
        let shared = SHARED.iter().map(|(n, _)| (*n).to_owned());
        let forms = BY_SUBGROUPS.iter().map(|(n, _)| format!("{n}.subgroups"));
        assert_eq!(wgsl_files("shared"), shared.chain(forms).collect());
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
        for kernel in ALL {
            let file = folder.join("kernels").join(format!("{}.wgsl", kernel.name));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), kernel.source, "{} includes another file", kernel.name);
        }
        for (name, _) in SHARED {
            let users = ALL.iter().map(|k| k.source).chain(SHARED.iter().map(|s| s.1));
            assert!(users.into_iter().any(|s| s.contains(&format!("#import {name}\n"))), "nothing imports {name}");
        }
    }

    #[test]
    fn a_shader_says_what_it_needs() {
        let source = "struct Params { n: u32, a: f32, shape: array<vec4<u32>, 2> }
            @group(0) @binding(2) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            override OP: u32 = 0u;
            @compute @workgroup_size(32, 2) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if OP == 1u && id.x < params.n { y[id.x] = params.a; }
            }";
        let r = reflect("test", source, Tier::BASE).unwrap();
        assert_eq!(r.entries[0].workgroup, [32, 2, 1]);
        assert_eq!(r.entries[0].bindings, [1]);
        assert_eq!(r.bindings["y"], 1);
        assert!(r.constants.contains("OP"));
        let params = r.params.unwrap();
        assert_eq!((params.binding, params.size), (2, 48));
        let shape = [1u32, 2, 3, 4, 5];
        let good = [("shape", Value::from(&shape[..])), ("n", 7u32.into()), ("a", 1.0f32.into())];
        let bytes = params.pack("test", &good).unwrap();
        assert_eq!(bytes[..4], 7u32.to_ne_bytes());
        assert_eq!(bytes[32..36], 5u32.to_ne_bytes());
        assert!(params.pack("test", &good[..2]).unwrap_err().to_string().contains("parameter a"));
        assert!(params.pack("test", &[("zz", 1u32.into())]).is_err());
    }

    #[test]
    fn wrong_shaders_are_errors_that_name_the_kernel() {
        let e = reflect("broken", "fn main( {", Tier::BASE).unwrap_err();
        assert!(e.to_string().contains("broken"), "{e}");
        assert!(resolve("k", "#import nothing\n", Tier::BASE).unwrap_err().to_string().contains("nothing"));
    }
}
