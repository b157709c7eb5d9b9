//! Which tiles each GPU multiplies matrices fastest with: timed when the user asks for it, then remembered for the adapter and
//! its driver.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use engine::gpu_tiles::Tiles;
use engine::gpu_tune::{Timing, tune as time_tiles};
use engine::{EngineError, Gpu};

use crate::settings::{Control, DeviceChoice, StudyError};

/// A remembered file larger than this is none of ours.
const MAX_BYTES: u64 = 1 << 20;

/// The folder of what was tuned: the one that `STRATOSCOPE_TUNING` names, else the user's own for what can be measured again.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os("STRATOSCOPE_TUNING").filter(|v| !v.is_empty()) {
        Some(folder) => Some(folder.into()),
        None => directories::ProjectDirs::from("", "", "stratoscope").map(|d| d.cache_dir().to_owned()),
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("gpu-tiles.json")
}

/// The tiles mean nothing on another adapter, or with another driver.
fn key(gpu: &Gpu) -> String {
    let a = gpu.info();
    format!("{} {} {}", a.name, a.backend, a.driver)
}

fn read(folder: &Path) -> BTreeMap<String, String> {
    let mut text = String::new();
    let known = std::fs::File::open(file(folder)).and_then(|f| f.take(MAX_BYTES).read_to_string(&mut text));
    known.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The device with the tiles that were found for it before, or with the default ones.
pub(crate) fn tuned(gpu: Gpu, folder: Option<&Path>) -> Gpu {
    let known = folder.and_then(|f| Tiles::parse(read(f).get(&key(&gpu))?));
    known.map_or(gpu.clone(), |tiles| gpu.with_tiles(tiles))
}

/// What one tile reached in one product.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TileRate {
    /// Rows, what is summed over, and columns.
    pub product: String,
    /// Rows, columns and depth of the tile, and the threads that share it.
    pub tile: String,
    /// A multiply-add counts as two.
    pub gflop_per_s: f64,
    /// Products of this kind use it from now on.
    pub fastest: bool,
}

/// Times every tile on a GPU, and remembers the fastest of each kind of product in `folder`.
pub fn tune(device: DeviceChoice, folder: Option<&Path>, control: &Control) -> Result<Vec<TileRate>, StudyError> {
    let DeviceChoice::Gpu(index) = device else {
        return Err(StudyError::Settings("only a GPU can be tuned: name one, as in gpu:0".into()));
    };
    let gpu = Gpu::open(index).map_err(EngineError::from)?;
    control.step(&format!("Tuning {}", gpu.name()), None, None)?;
    let found = time_tiles(&gpu, control.flag()).map_err(EngineError::from)?;
    let (tiles, timings) = found.ok_or(StudyError::Cancelled)?;
    if let Some(folder) = folder {
        let mut all = read(folder);
        all.insert(key(&gpu), tiles.to_string());
        if let Err(e) = remember(folder, &all) {
            log::warn!("{}: the tiles can't be remembered: {e}", file(folder).display());
        }
    }
    let rate = |t: &Timing| TileRate {
        product: t.mkn.map(|d| d.to_string()).join(" x "),
        tile: t.tile.to_string(),
        gflop_per_s: 2.0 * t.mkn.iter().map(|&d| f64::from(d)).product::<f64>() / t.ns.max(1) as f64,
        fastest: tiles.of(t.class) == t.tile,
    };
    Ok(timings.iter().map(rate).collect())
}

/// Writes beside the file and renames.
fn remember(folder: &Path, all: &BTreeMap<String, String>) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(&serde_json::to_vec_pretty(all)?)?;
    aside.as_file().sync_all()?;
    aside.persist(file(folder)).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tuned_is_remembered_and_what_is_damaged_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).is_empty());
        let all = BTreeMap::from([("a GPU".to_owned(), Tiles::default().to_string())]);
        remember(folder.path(), &all).expect("written");
        assert_eq!(read(folder.path()), all);
        std::fs::write(file(folder.path()), "{ \"a GPU\": ").expect("written");
        assert!(read(folder.path()).is_empty());
    }
}
