//! `cargo xtask tidy`: the rules of the house that no compiler checks. A rule is one file and one line in [`RULES`].

mod files;
mod imports;
mod shaders;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::shell;

/// Check import directions, file sizes, who owns which shader, and leftovers
#[derive(clap::Args)]
pub struct Args {}

/// A source file.
pub struct File {
    /// From the workspace's root, with `/` between folders.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What is against a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    /// A finding; lines count from 1.
    pub fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

type Rule = fn(&[File]) -> Vec<Finding>;

/// The rules on files. Those on crates are in `imports`.
const RULES: &[Rule] = &[files::sizes, files::leftovers, shaders::owners, shaders::shared];

/// Runs it.
pub fn run(_: &Args) -> anyhow::Result<()> {
    let root = shell::root();
    let files = sources(&root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&files)).collect();
    findings.extend(imports::findings(&root)?);
    findings.sort();
    for f in &findings {
        println!("{f}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files are as they should be", files.len());
            Ok(())
        }
        1 => bail!("tidy: 1 finding"),
        n => bail!("tidy: {n} findings"),
    }
}

/// Every Rust file and shader of the workspace.
fn sources(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && path != shell::target() && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs" || e == "wgsl") {
                files.push(File { path: relative(root, &path), text: std::fs::read_to_string(&path)? });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> String {
    let parts: PathBuf = path.strip_prefix(root).unwrap_or(path).to_owned();
    parts.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}
