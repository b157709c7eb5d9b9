//! `cargo xtask bless`: takes what the views draw now as right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{shell, test};

/// Draw the blessed pictures anew, and say which changed
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_: &Args) -> anyhow::Result<()> {
    let folder = shell::root().join("tests/snapshots");
    let before = pictures(&folder)?;
    let mut command = shell::cargo(["test", "--package", "system-tests", "--test", "views"]);
    command.env("UPDATE_SNAPSHOTS", "1");
    test::prepare(&mut command, false)?;
    shell::run(&mut command)?;
    let after = pictures(&folder)?;
    let mut changes = 0;
    for (path, bytes) in &after {
        let word = match before.get(path) {
            None => "new",
            Some(old) if old != bytes => "changed",
            Some(_) => continue,
        };
        changes += 1;
        println!("{word}: {}", path.strip_prefix(shell::root()).unwrap_or(path).display());
    }
    match changes {
        0 => println!("No picture changed."),
        n => println!("{n} pictures differ: look at each before you commit it."),
    }
    Ok(())
}

/// The blessed pictures by path; those that a failed test leaves beside them are left out.
fn pictures(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let leftover = [".new.png", ".diff.png", ".old.png"].iter().any(|end| name.ends_with(end));
        if name.ends_with(".png") && !leftover {
            found.insert(path.clone(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}
