//! ONNX Runtime's library: found, looked at, and loaded once.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::find::{self, Search};
use crate::session::{self, Session};
use crate::{Engine, EngineSession, OptimisedModel, PeerError, Request};

/// A library that stays loaded until the process ends: it has threads of its own.
struct Loaded {
    path: PathBuf,
    version: String,
    providers: Vec<String>,
    environment: Environment,
    _library: Library,
}

static LOADED: Mutex<Option<Arc<Loaded>>> = Mutex::new(None);

/// ONNX Runtime, from the user's own library.
#[derive(Clone)]
pub struct OnnxRuntime(Arc<Loaded>);

impl OnnxRuntime {
    /// Loads the library at a path (a file, or a folder that holds it), or the one that is found. A process can load one only.
    pub fn load(path: Option<&Path>, cancel: &AtomicBool) -> Result<OnnxRuntime, PeerError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(loaded), None) = (&*loaded, path) {
            return Ok(OnnxRuntime(loaded.clone()));
        }
        let wanted = match path {
            None => Search::of_user().find(cancel)?,
            Some(path) => find::library_at(path).ok_or_else(|| PeerError::NotALibrary {
                path: path.to_owned(),
                why: format!("there is no {} here", find::LIBRARY),
            })?,
        };
        let wanted = std::fs::canonicalize(&wanted).unwrap_or(wanted);
        if let Some(loaded) = &*loaded {
            if loaded.path == wanted {
                return Ok(OnnxRuntime(loaded.clone()));
            }
            let (loaded, version) = (loaded.path.clone(), loaded.version.clone());
            return Err(PeerError::Another { loaded, version, wanted });
        }
        let (library, version) = look_at(&wanted)?;
        let wrong = |why: String| PeerError::NotALibrary { path: wanted.clone(), why };
        // The binding panics where it finds what it did not expect.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let environment = ort::init_from(&wanted)
                .map_err(|e| wrong(e.to_string()))?
                .with_name("stratoscope")
                .with_telemetry(false)
                .with_logger(Arc::new(hear))
                .build()?;
            environment.set_log_level(LogLevel::Warning);
            Ok::<_, PeerError>((environment, available_providers()?))
        }));
        let (environment, providers) =
            opened.unwrap_or_else(|_| Err(wrong("it does not behave as an ONNX Runtime".to_owned())))?;
        log::info!("ONNX Runtime {version} of {}", wanted.display());
        let new = Arc::new(Loaded { path: wanted, version, providers, environment, _library: library });
        *loaded = Some(new.clone());
        Ok(OnnxRuntime(new))
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The execution providers that the library has: `CPUExecutionProvider`.
    pub fn providers(&self) -> &[String] {
        &self.0.providers
    }

    /// The model as this engine rewrites it before it runs.
    pub fn optimised(&self, request: &Request) -> Result<OptimisedModel, PeerError> {
        session::optimised(&self.0.environment, &self.0.providers, request)
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &str {
        "ONNX Runtime"
    }

    fn version(&self) -> &str {
        &self.0.version
    }

    fn open(&self, request: &Request, cancel: &AtomicBool) -> Result<Box<dyn EngineSession>, PeerError> {
        Ok(Box::new(Session::open(&self.0.environment, &self.0.providers, request, cancel)?))
    }
}

type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;

/// Opens a file as a library and asks it for its version: the binding takes for granted that both go well.
fn look_at(path: &Path) -> Result<(Library, String), PeerError> {
    let wrong = |why: String| PeerError::NotALibrary { path: path.to_owned(), why };
    // SAFETY: the user says that this is a library of ONNX Runtime, whose initialisers may run at any time.
    let library = unsafe { Library::new(path) }.map_err(|e| wrong(format!("it can't be loaded as a library: {e}")))?;
    // SAFETY: whatever has this name has ONNX Runtime's stable signature for it.
    let base = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }
        .map_err(|_| wrong("it is no ONNX Runtime: it has no OrtGetApiBase".to_owned()))?;
    // SAFETY: the function takes nothing and answers a pointer to a static structure, or null.
    let base = unsafe { base().as_ref() }.ok_or_else(|| wrong("its OrtGetApiBase answers nothing".to_owned()))?;
    // SAFETY: the structure begins with these two functions in every version.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err(wrong("it has no version".to_owned()));
    }
    // SAFETY: a static string that ends in zero.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    let number = |i: usize| version.split('.').nth(i)?.parse::<u32>().ok();
    if !matches!((number(0), number(1)), (Some(1), Some(minor)) if minor >= ort::MINOR_VERSION) {
        let least = ort::MINOR_VERSION;
        return Err(wrong(format!("it is ONNX Runtime {version}; 1.{least} or later of major version 1 is needed")));
    }
    // SAFETY: a version is asked for that is not above the library's own.
    if unsafe { (base.GetApi)(ort::sys::ORT_API_VERSION) }.is_null() {
        return Err(wrong(format!("ONNX Runtime {version} has no API version {}", ort::sys::ORT_API_VERSION)));
    }
    Ok((library, version))
}

fn available_providers() -> Result<Vec<String>, PeerError> {
    let (mut names, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: both are written before the call returns, or it answers an error.
    let status = unsafe { (ort::api().GetAvailableProviders)(&mut names, &mut count) };
    // SAFETY: the status comes from the call above and is not used again.
    unsafe { ort::Error::result_from_status(status) }?;
    let mut all = Vec::new();
    for i in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: an array of `count` strings that end in zero.
        let name = unsafe { CStr::from_ptr(*names.add(i)) };
        all.push(name.to_string_lossy().into_owned());
    }
    // SAFETY: what the call above gave, once.
    let status = unsafe { (ort::api().ReleaseAvailableProviders)(names, count) };
    // SAFETY: the status comes from the call above and is not used again.
    unsafe { ort::Error::result_from_status(status) }?;
    Ok(all)
}

/// ONNX Runtime's log goes to ours.
fn hear(level: LogLevel, category: &str, _id: &str, _at: &str, message: &str) {
    let level = match level {
        LogLevel::Verbose => log::Level::Trace,
        LogLevel::Info => log::Level::Debug,
        LogLevel::Warning => log::Level::Info,
        LogLevel::Error | LogLevel::Fatal => log::Level::Warn,
    };
    log::log!(target: "onnxruntime", level, "{category}: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let no = AtomicBool::new(false);
        let refused = |path: &Path, says: &str| {
            let Err(why) = OnnxRuntime::load(Some(path), &no).map(|_| ()) else { panic!("{}", path.display()) };
            let why = why.to_string();
            assert!(why.contains(says) && why.contains(&path.display().to_string()), "{why}");
        };
        let text = root.path().join("libonnxruntime.so");
        std::fs::write(&text, "not a library").unwrap();
        refused(&text, "can't be loaded as a library");
        let empty = root.path().join("empty.so");
        std::fs::write(&empty, "").unwrap();
        refused(&empty, "can't be loaded as a library");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.extend((0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
        let garbage = root.path().join("garbage.so");
        std::fs::write(&garbage, &elf).unwrap();
        refused(&garbage, "can't be loaded as a library");
        let folder = root.path().join("none");
        std::fs::create_dir(&folder).unwrap();
        refused(&folder, "there is no");
        refused(&root.path().join("gone.so"), "there is no");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_library_is_refused() {
        let Err(why) = look_at(Path::new("libc.so.6")).map(|_| ()) else { panic!("libc is no ONNX Runtime") };
        assert!(why.to_string().contains("no OrtGetApiBase"), "{why}");
    }
}
