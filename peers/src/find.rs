//! Where the user's ONNX Runtime is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::{PeerError, process};

/// How the library is called here.
pub const LIBRARY: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// The longest that a Python is asked.
const ASK: Duration = Duration::from_secs(5);
/// Prints the folder of the installed package without importing it.
const QUESTION: &str =
    "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')";

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What the user's environment names: `ORT_DYLIB_PATH`.
    pub named: Option<PathBuf>,
    /// Folders of Python environments: `VIRTUAL_ENV`, `CONDA_PREFIX`.
    pub environments: Vec<PathBuf>,
    /// Pythons to ask.
    pub pythons: Vec<PathBuf>,
    /// Folders in which Pythons are installed; each may have a `lib/python3.x`.
    pub prefixes: Vec<PathBuf>,
    /// Folders of libraries.
    pub folders: Vec<PathBuf>,
}

impl Search {
    /// The places of this machine and its user.
    pub fn of_user() -> Search {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let list = |name: &str| std::env::var_os(name).map(|v| std::env::split_paths(&v).collect()).unwrap_or_default();
        let path: Vec<PathBuf> = list("PATH");
        let names: &[&str] = if cfg!(windows) { &["python.exe"] } else { &["python3", "python"] };
        let on_path = |name: &&str| path.iter().map(|p| p.join(name)).find(|p| p.is_file());
        let mut prefixes: Vec<PathBuf> = Vec::new();
        if let Some(home) = var("HOME") {
            prefixes.extend(["", ".local", "miniconda3", "anaconda3", ".venv", "venv"].map(|f| home.join(f)));
        }
        prefixes.extend(["/usr/local", "/usr", "/opt/homebrew", "/opt/conda"].map(PathBuf::from));
        prefixes.extend(entries(Path::new("/opt")));
        let mut folders: Vec<PathBuf> = list("LD_LIBRARY_PATH");
        folders.extend(list("DYLD_LIBRARY_PATH"));
        folders.extend(
            [
                "/usr/local/lib",
                "/usr/local/lib64",
                "/usr/lib",
                "/usr/lib64",
                "/opt/onnxruntime/lib",
                "/opt/homebrew/lib",
            ]
            .map(PathBuf::from),
        );
        folders.extend(["x86_64", "aarch64"].map(|arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu"))));
        Search {
            named: var("ORT_DYLIB_PATH"),
            environments: ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|v| var(v)).collect(),
            pythons: names.iter().filter_map(on_path).collect(),
            prefixes,
            folders,
        }
    }

    /// The first library in these places.
    pub fn find(&self, cancel: &AtomicBool) -> Result<PathBuf, PeerError> {
        let mut looked = Vec::new();
        if let Some(named) = &self.named {
            match library_at(named) {
                Some(library) => return Ok(library),
                None => looked.push(format!("ORT_DYLIB_PATH={} (no library there)", named.display())),
            }
        } else {
            looked.push("ORT_DYLIB_PATH (not set)".to_owned());
        }
        for prefix in &self.environments {
            match in_prefix(prefix) {
                Some(library) => return Ok(library),
                None => looked.push(format!("{} (no onnxruntime package)", prefix.display())),
            }
        }
        for python in &self.pythons {
            match ask(python, cancel)? {
                Ok(library) => return Ok(library),
                Err(why) => looked.push(format!("{} ({why})", python.display())),
            }
        }
        if self.pythons.is_empty() {
            looked.push("python3 on PATH (none)".to_owned());
        }
        if let Some(library) = self.prefixes.iter().find_map(|p| in_prefix(p)) {
            return Ok(library);
        }
        if let Some(library) = self.folders.iter().find_map(|f| in_folder(f)) {
            return Ok(library);
        }
        let list = |all: &[PathBuf]| all.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        looked.push(format!("Python packages below {}", list(&self.prefixes)));
        looked.push(format!("libraries in {}", list(&self.folders)));
        Err(PeerError::NotFound { looked })
    }
}

/// The library that a path of the user means: the file itself, or the one in a folder, a package or an environment.
pub fn library_at(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    in_folder(path)
        .or_else(|| in_folder(&path.join("lib")))
        .or_else(|| in_package(path))
        .or_else(|| in_package(&path.join("onnxruntime")))
        .or_else(|| in_prefix(path))
}

fn in_package(package: &Path) -> Option<PathBuf> {
    in_folder(&package.join("capi"))
}

/// In the packages of a Python that is installed here.
fn in_prefix(prefix: &Path) -> Option<PathBuf> {
    let pythons = ["lib", "lib64"].map(|lib| entries(&prefix.join(lib))).concat();
    let mut pythons: Vec<PathBuf> = pythons
        .into_iter()
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python3")))
        .collect();
    // Windows has no folder per version.
    pythons.push(prefix.join("Lib"));
    let packages = |python: &PathBuf| ["site-packages", "dist-packages"].map(|p| python.join(p).join("onnxruntime"));
    pythons.iter().rev().flat_map(packages).find_map(|p| in_package(&p))
}

/// The newest library in a folder.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let version = |path: &PathBuf| version(&path.file_name()?.to_string_lossy());
    entries(folder).into_iter().filter_map(|p| Some((version(&p)?, p))).max().map(|(_, p)| p)
}

/// The version in a library's file name, empty for one without; `None` if it is something else.
fn version(name: &str) -> Option<Vec<u32>> {
    let stem = name.strip_prefix("lib").unwrap_or(name).strip_prefix("onnxruntime")?;
    let number = match stem.strip_prefix(".so") {
        Some(rest) => rest,
        None => stem.strip_suffix(".dylib").or_else(|| stem.strip_suffix(".dll"))?,
    };
    number.split('.').filter(|p| !p.is_empty()).map(|p| p.parse().ok()).collect()
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    all.sort();
    all
}

/// Asks a Python where its package is.
fn ask(python: &Path, cancel: &AtomicBool) -> Result<Result<PathBuf, String>, PeerError> {
    let answer = match process::run(Command::new(python).arg("-c").arg(QUESTION), ASK, cancel) {
        Ok(ended) if ended.status.success() => ended.stdout,
        Ok(ended) => return Ok(Err(process::last_lines(&ended.stderr))),
        Err(process::Stopped::Cancelled) => return Err(PeerError::Cancelled),
        Err(e) => return Ok(Err(e.to_string())),
    };
    let package = answer.lines().last().unwrap_or_default().trim();
    if package.is_empty() {
        return Ok(Err("it has no onnxruntime package".to_owned()));
    }
    Ok(in_package(Path::new(package)).ok_or_else(|| format!("no library in {package}/capi")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str) -> PathBuf {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "no library").unwrap();
        path
    }

    #[test]
    fn file_names() {
        let cases = [
            ("libonnxruntime.so", Some(vec![])),
            ("libonnxruntime.so.1.32.0", Some(vec![1, 32, 0])),
            ("libonnxruntime.1.17.dylib", Some(vec![1, 17])),
            ("onnxruntime.dll", Some(vec![])),
            ("libonnxruntime_providers_shared.so", None),
            ("onnxruntime_pybind11_state.so", None),
            ("libonnxruntime.so.1.x", None),
            ("libonnx.so", None),
        ];
        for (name, want) in cases {
            assert_eq!(version(name), want, "{name}");
        }
    }

    #[test]
    fn each_place_is_looked_at_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let no = AtomicBool::new(false);
        let system = put(root, "sys/libonnxruntime.so.1.9.0");
        put(root, "sys/libonnxruntime_providers_shared.so");
        let mut search = Search {
            prefixes: vec![root.join("usr")],
            folders: vec![root.join("none"), root.join("sys")],
            ..Search::default()
        };
        assert_eq!(search.find(&no).unwrap(), system);
        let newer = put(root, "sys/libonnxruntime.so.1.10.0");
        assert_eq!(search.find(&no).unwrap(), newer);
        let package = put(root, "usr/lib/python3.12/dist-packages/onnxruntime/capi/libonnxruntime.so.1.20.0");
        assert_eq!(search.find(&no).unwrap(), package);
        let venv = put(root, "venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.18.0");
        search.environments = vec![root.join("empty"), root.join("venv")];
        assert_eq!(search.find(&no).unwrap(), venv);
        let named = put(root, "mine/libonnxruntime.so");
        for means in [named.clone(), root.join("mine")] {
            search.named = Some(means);
            assert_eq!(search.find(&no).unwrap(), named);
        }
        assert_eq!(library_at(&root.join("venv")), Some(venv.clone()));
        assert_eq!(library_at(&root.join("venv/lib/python3.11/site-packages")), Some(venv));
        assert_eq!(library_at(&root.join("nothing")), None);
    }

    #[test]
    fn nothing_found_says_where_it_was_looked_for_and_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let search = Search {
            named: Some(root.path().join("gone.so")),
            environments: vec![root.path().join("venv")],
            pythons: vec![root.path().join("python3")],
            ..Search::default()
        };
        let why = search.find(&AtomicBool::new(false)).unwrap_err().to_string();
        for part in ["pip install onnxruntime", "--engine onnxruntime:/", "gone.so", "venv", "python3"] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_python_is_asked() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let library = put(root.path(), "odd/onnxruntime/capi/libonnxruntime.so.1.22.1");
        let python = root.path().join("python3");
        let answer = |script: String| {
            std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
            let search = Search { pythons: vec![python.clone()], ..Search::default() };
            search.find(&AtomicBool::new(false))
        };
        let package = root.path().join("odd/onnxruntime");
        assert_eq!(answer(format!("echo {}", package.display())).unwrap(), library);
        assert!(answer("echo".into()).unwrap_err().to_string().contains("it has no onnxruntime package"));
        assert!(answer("echo broken >&2; exit 1".into()).unwrap_err().to_string().contains("broken"));
    }
}
