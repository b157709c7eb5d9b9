//! Every shader belongs to one Rust file, and every shared piece to the shaders that import it.

use super::{File, Finding};

const KERNEL_SHADERS: &str = "shaders/kernels/";
const SHARED_SHADERS: &str = "shaders/shared/";
const KERNEL_CODE: &str = "gpu-kernels/src/kernels/";

/// `folder/NAME.extension`, directly in the folder, as `NAME`.
fn name<'a>(path: &'a str, folder: &str, extension: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_suffix(extension).filter(|n| !n.contains('/'))
}

/// The lines of a file, from 1, without comments.
fn code(f: &File) -> impl Iterator<Item = (usize, &str)> {
    f.text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.starts_with("//"))
}

/// `shaders/kernels/X.wgsl` is named by `kernel!("X")` in `gpu-kernels/src/kernels/X.rs`, and nowhere else.
pub fn owners(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // (kernel named, file that names it, line)
    let mut claims: Vec<(&str, &File, usize)> = Vec::new();
    for f in files.iter().filter(|f| f.path.starts_with("gpu-kernels/") && f.path.ends_with(".rs")) {
        for (line, text) in code(f) {
            if let Some((_, rest)) = text.split_once("kernel!(\"") {
                claims.push((rest.split('"').next().unwrap_or(rest), f, line));
            }
        }
    }
    for shader in files.iter().filter(|f| f.path.starts_with(KERNEL_SHADERS)) {
        let Some(kernel) = name(&shader.path, KERNEL_SHADERS, ".wgsl") else {
            findings.push(Finding::new(
                &shader.path,
                1,
                format!("a kernel's shader lies directly in {KERNEL_SHADERS}"),
            ));
            continue;
        };
        let owner = format!("{KERNEL_CODE}{kernel}.rs");
        if !claims.iter().any(|(k, f, _)| *k == kernel && f.path == owner) {
            findings.push(Finding::new(
                &shader.path,
                1,
                format!("has no owner: {owner} must hold kernel!(\"{kernel}\")"),
            ));
        }
    }
    for (kernel, f, line) in claims {
        let own = name(&f.path, KERNEL_CODE, ".rs") == Some(kernel);
        let exists = files.iter().any(|s| name(&s.path, KERNEL_SHADERS, ".wgsl") == Some(kernel));
        if !own {
            findings.push(Finding::new(&f.path, line, format!("names the shader of another file: \"{kernel}\"")));
        } else if !exists {
            findings.push(Finding::new(&f.path, line, format!("there is no {KERNEL_SHADERS}{kernel}.wgsl")));
        }
    }
    findings
}

/// `shaders/shared/X.wgsl` is imported by some shader; `X.subgroups.wgsl` takes its place on devices with subgroups.
pub fn shared(files: &[File]) -> Vec<Finding> {
    let imports: Vec<&str> = files
        .iter()
        .filter(|f| f.path.ends_with(".wgsl"))
        .flat_map(code)
        .filter_map(|(_, l)| l.strip_prefix("#import ").map(str::trim))
        .collect();
    files
        .iter()
        .filter_map(|f| Some((f, name(&f.path, SHARED_SHADERS, ".wgsl")?)))
        .filter(|(_, piece)| !imports.contains(&piece.trim_end_matches(".subgroups")))
        .map(|(f, _)| Finding::new(&f.path, 1, "no shader imports it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_shader_has_exactly_its_own_owner() {
        let good = [
            file("shaders/kernels/a.wgsl", ""),
            file("gpu-kernels/src/kernels/a.rs", "/// `kernel!(\"z\")`\nstatic K: Kernel = kernel!(\"a\");\n"),
        ];
        assert_eq!(owners(&good), []);
        for (files, message) in [
            (vec![file("shaders/kernels/a.wgsl", "")], "has no owner"),
            (vec![file("shaders/kernels/deep/a.wgsl", "")], "directly"),
            (vec![file("gpu-kernels/src/kernels/b.rs", "\nkernel!(\"b\")")], "there is no shaders/kernels/b.wgsl"),
        ] {
            let found = owners(&files);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].to_string().contains(message), "{}", found[0]);
        }
        let twice =
            good.into_iter().chain([file("gpu-kernels/src/kernels/b.rs", "\nkernel!(\"a\")")]).collect::<Vec<_>>();
        assert_eq!(
            owners(&twice)[0].to_string(),
            "gpu-kernels/src/kernels/b.rs:2: names the shader of another file: \"a\""
        );
    }

    #[test]
    fn shared_pieces_are_imported() {
        let piece = || file("shaders/shared/index.wgsl", "");
        assert_eq!(shared(&[piece(), file("shaders/kernels/a.wgsl", "#import index\n")]), []);
        assert_eq!(shared(&[piece(), file("shaders/kernels/a.wgsl", "// #import index\n")]).len(), 1);
        let form = || file("shaders/shared/index.subgroups.wgsl", "");
        assert_eq!(shared(&[piece(), form(), file("shaders/kernels/a.wgsl", "#import index\n")]), []);
        assert_eq!(shared(&[form()]).len(), 1);
    }
}
