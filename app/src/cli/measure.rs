//! The options that all measuring commands share, and how a model is opened for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use graph::Model;
use studies::{Budget, DeviceChoice, Fill, Precision, Settings};

/// The sample that is used when no model is named.
const DEFAULT_SAMPLE: &str = "digits_vit";

#[derive(clap::Args)]
pub struct MeasureArgs {
    /// Where to run: auto, cpu, gpu or gpu:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads [default: one per physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Value of a symbolic dimension; may repeat
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    dims: Vec<(String, usize)>,
    /// How an input is filled: @FILE.npy, @FILE.pb, a number, or "random"; may repeat
    #[arg(long = "input", value_name = "NAME=@FILE", value_parser = parse_input)]
    inputs: Vec<(String, Fill)>,
    /// Precision of the weights: f32, f16, bf16, int8 or int4
    #[arg(long, value_name = "P", default_value = "f32")]
    precision: Precision,
    /// Measured runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Measure until the statistics settle, this long at most [default: 3]
    #[arg(long, value_name = "S", conflicts_with = "runs", value_parser = parse_seconds)]
    seconds: Option<f64>,
    /// Runs before measuring
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: u32,
    /// Run the model's operators one by one
    #[arg(long)]
    no_fusion: bool,
    /// Seed of random inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The most that activations, or one output whose size depends on data, may take: 500MB, 4GiB [default: 80% of what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_limit: Option<u64>,
}

impl MeasureArgs {
    /// As settings.
    pub fn settings(&self) -> Settings {
        let budget = match (self.runs, self.seconds) {
            (Some(n), _) => Budget::Runs(n),
            (None, s) => Budget::Seconds(s.unwrap_or(3.0)),
        };
        Settings {
            device: self.device,
            threads: self.threads.map(|n| n as usize),
            dims: self.dims.iter().cloned().collect(),
            inputs: self.inputs.iter().cloned().collect(),
            precision: self.precision,
            budget,
            warmup: self.warmup,
            fusion: !self.no_fusion,
            seed: self.seed,
            memory_limit: self.memory_limit,
            ..Settings::default()
        }
    }
}

/// Opens a model, or the default sample; says so if the settings name dimensions or inputs that it does not have.
pub fn open_model(path: Option<&Path>, settings: &Settings) -> anyhow::Result<Arc<Model>> {
    let sample = PathBuf::from(format!("sample:{DEFAULT_SAMPLE}"));
    let model = studies::open(path.unwrap_or(&sample))?;
    let symbols = model.graph.symbols();
    if let Some(d) = settings.dims.keys().find(|d| !symbols.contains(d)) {
        bail!("--dim {d}: the model has no such dimension; it has {}", list(&symbols));
    }
    let inputs: Vec<String> = model.graph.inputs.iter().map(|&v| model.graph.value(v).name.to_string()).collect();
    if let Some(i) = settings.inputs.keys().find(|i| !inputs.contains(i)) {
        bail!("--input {i}: the model has no such input; it has {}", list(&inputs));
    }
    Ok(model)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub fn parse_dim(s: &str) -> anyhow::Result<(String, usize)> {
    let (name, n) = s.split_once('=').context("write NAME=N, for instance batch=1")?;
    let n: usize = n.parse().ok().filter(|&n| n > 0).with_context(|| format!("\"{n}\" is no whole number above 0"))?;
    Ok((name.to_owned(), n))
}

pub fn parse_input(s: &str) -> anyhow::Result<(String, Fill)> {
    let (name, fill) = s.split_once('=').context("write NAME=@FILE.npy, NAME=NUMBER or NAME=random")?;
    let fill = match fill.strip_prefix('@') {
        Some(file) => Fill::File(file.into()),
        None if fill == "random" => Fill::Random,
        None => Fill::Constant(
            fill.parse()
                .ok()
                .with_context(|| format!("\"{fill}\" is no number; a file is written with an @: {name}=@{fill}"))?,
        ),
    };
    Ok((name.to_owned(), fill))
}

fn parse_seconds(s: &str) -> anyhow::Result<f64> {
    match s.parse::<f64>() {
        Ok(v) if v > 0.0 && v <= 86_400.0 => Ok(v),
        _ => bail!("\"{s}\" is no number of seconds between 0 and 86400"),
    }
}

/// A size with its unit: `1500000`, `500MB`, `1.5 GiB`.
fn parse_bytes(s: &str) -> anyhow::Result<u64> {
    const UNITS: &[(&str, f64)] = &[
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("tib", 1_099_511_627_776.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("b", 1.0),
        ("", 1.0),
    ];
    let lower = s.trim().to_lowercase();
    let (digits, unit) = lower.split_at(lower.find(|c: char| c.is_alphabetic()).unwrap_or(lower.len()));
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|u| u.1);
    match (digits.trim().parse::<f64>(), factor) {
        (Ok(n), Some(factor)) if n > 0.0 && n * factor < 1e18 => Ok((n * factor) as u64),
        _ => bail!("\"{s}\" is no size: write a number above 0 with MB, GB, MiB or GiB, for instance 4GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        measure: MeasureArgs,
    }

    #[test]
    fn sizes_have_units() {
        let cases = [("1500", 1500), ("500MB", 500_000_000), ("1.5 GiB", 1_610_612_736), ("2kb", 2000), ("7b", 7)];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "0", "-1GB", "GB", "4 parsecs", "nan", "inf", "1e30"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    fn settings(args: &[&str]) -> Result<Settings, clap::Error> {
        Line::try_parse_from([&["x"], args].concat()).map(|l| l.measure.settings())
    }

    #[test]
    fn options_become_settings() {
        let s =
            settings(&["--dim", "batch=2", "--dim", "seq=128", "--input", "x=@a.npy", "--input", "m=1", "--runs", "9"]);
        let s = s.unwrap();
        assert_eq!(s.dims["seq"], 128);
        assert_eq!(s.inputs["x"], Fill::File("a.npy".into()));
        assert_eq!(s.inputs["m"], Fill::Constant(1.0));
        assert_eq!(s.budget, Budget::Runs(9));
        assert!(s.fusion);
        let s = settings(&["--no-fusion", "--precision", "int8", "--device", "gpu:1"]).unwrap();
        assert_eq!((s.fusion, s.precision, s.device), (false, Precision::Int8, DeviceChoice::Gpu(Some(1))));
        assert_eq!(s.budget, Budget::Seconds(3.0));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["--dim", "batch"][..],
            &["--dim", "batch=0"],
            &["--dim", "batch=-1"],
            &["--input", "x=nonsense"],
            &["--input", "x"],
            &["--precision", "int3"],
            &["--device", "tpu"],
            &["--runs", "0"],
            &["--seconds", "NaN"],
            &["--seconds", "-1"],
            &["--runs", "3", "--seconds", "1"],
            &["--threads", "0"],
        ] {
            assert!(settings(bad).is_err(), "{bad:?}");
        }
    }
}
