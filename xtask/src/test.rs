//! `cargo xtask test`: all tests, on a software Vulkan driver, so that a machine without a GPU runs them too and pictures come
//! out the same everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::shell;

/// Run all tests; installs a software Vulkan driver if there is none
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -p stratoscope-engine\n  \
    cargo xtask test --real-gpu -p stratoscope-gpu-kernels")]
pub struct Args {
    /// Run on the machine's own GPU rather than in software (pictures may then differ from the blessed ones)
    #[arg(long)]
    real_gpu: bool,
    /// Passed on to `cargo test`; the whole workspace is tested unless they choose packages
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// The Debian packages that bring a software Vulkan driver.
const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

/// Where Vulkan drivers say that they are there.
const ICD_FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut test = shell::cargo(["test"]);
    if !chooses_packages(&args.args) {
        test.arg("--workspace");
    }
    test.args(&args.args);
    prepare(&mut test, args.real_gpu)?;
    shell::run(&mut test)
}

/// True if arguments of `cargo test` say which packages are meant.
fn chooses_packages(args: &[String]) -> bool {
    let choice = |a: &String| ["-p", "--package", "--workspace", "--all"].iter().any(|o| a.starts_with(o));
    args.iter().take_while(|a| *a != "--").any(|a| choice(a) && a != "--all-targets" && a != "--all-features")
}

/// Gives a test command what GPU tests need: a Vulkan driver and a folder for its sockets.
pub fn prepare(test: &mut Command, real_gpu: bool) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if std::env::var_os("XDG_RUNTIME_DIR").is_none_or(|d| !Path::new(&d).is_dir()) {
        test.env("XDG_RUNTIME_DIR", runtime_folder()?);
    }
    let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|v| std::env::var_os(v).is_some());
    if real_gpu || chosen {
        return Ok(());
    }
    if lavapipe().is_none() {
        install()?;
    }
    match (lavapipe(), drivers().first()) {
        (Some(icd), _) => {
            // The second name is for loaders before 1.3.207.
            test.env("VK_DRIVER_FILES", &icd).env("VK_ICD_FILENAMES", &icd);
        }
        (None, Some(other)) => {
            eprintln!("warning: no software Vulkan driver; tests run on {} and pictures may differ", other.display());
        }
        (None, None) => {
            bail!("there is no Vulkan driver, and GPU tests need one. On Debian: {}", command_line("sudo "))
        }
    }
    Ok(())
}

/// A private folder, as drivers want it.
fn runtime_folder() -> anyhow::Result<PathBuf> {
    let folder = shell::target().join("xdg-runtime");
    std::fs::create_dir_all(&folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(folder)
}

/// The files by which Vulkan drivers say that they are there, in order.
fn drivers() -> Vec<PathBuf> {
    let files = ICD_FOLDERS.iter().filter_map(|f| std::fs::read_dir(f).ok()).flatten().flatten();
    let mut list: Vec<PathBuf> =
        files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    list.sort();
    list
}

/// Mesa's software driver.
fn lavapipe() -> Option<PathBuf> {
    let name = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("lvp_icd"));
    drivers().into_iter().find(name)
}

fn command_line(prefix: &str) -> String {
    format!("{prefix}apt-get install --no-install-recommends {}", PACKAGES.join(" "))
}

/// Installs the software driver where that needs no question; otherwise says how.
fn install() -> anyhow::Result<()> {
    if !(is_root() && shell::has("apt-get")) {
        eprintln!("No software Vulkan driver was found. On Debian: {}", command_line("sudo "));
        return Ok(());
    }
    let quiet = |args: &[&str]| {
        let mut c = Command::new("apt-get");
        c.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
        c
    };
    let wanted = [&["install", "-y", "-q", "--no-install-recommends"], &PACKAGES[..]].concat();
    // The package lists of a fresh machine are empty, and those of an old one may be outdated.
    shell::run(&mut quiet(&["update", "-q"])).and_then(|()| shell::run(&mut quiet(&wanted)))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tested_unless_packages_are_chosen() {
        let chosen = |args: &[&str]| chooses_packages(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert!(chosen(&["-p", "stratoscope"]) && chosen(&["-pstratoscope"]) && chosen(&["--package=x"]));
        assert!(chosen(&["--workspace"]) && chosen(&["--release", "--all"]));
        assert!(!chosen(&[]) && !chosen(&["--release", "--all-targets"]) && !chosen(&["softmax", "--", "-p"]));
    }
}
