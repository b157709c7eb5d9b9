//! Times rten on one model, on request.
//!
//!     rten-worker MODEL.onnx THREADS INPUT_DIR
//!
//! Reads the inputs that `bench_inputs.py` left in INPUT_DIR. Prints {"version": ..., "load_ns": ..., "memory_bytes": ...} and answers each
//! line {"warmup": W, "runs": N} on standard input with one line {"ns": [...]}.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use rten::{ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use serde_json::json;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, threads, folder] = &args[..] else { bail!("usage: rten-worker MODEL THREADS INPUT_DIR") };
    let before = peak_bytes();
    let loading = Instant::now();
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    let model = options.load_file(model)?;
    let load_ns = loading.elapsed().as_nanos() as u64;

    let pool = Arc::new(ThreadPool::with_num_threads(threads.parse()?));
    let mut inputs: Vec<(NodeId, Value)> = Vec::new();
    for &id in model.input_ids() {
        let info = model.node_info(id).context("an input has no description")?;
        let name = info.name().context("an input has no name")?;
        inputs.push((id, read(&Path::new(folder).join(format!("{name}.npy")))?));
    }
    let outputs = model.output_ids().to_vec();
    let run = || -> anyhow::Result<u64> {
        let feed = inputs.iter().map(|(id, v)| (*id, v.as_view().into())).collect();
        let mut options = RunOptions::default();
        options.thread_pool = Some(pool.clone());
        let start = Instant::now();
        let outputs = model.run(feed, &outputs, Some(options))?;
        let ns = start.elapsed().as_nanos() as u64;
        drop(outputs);
        Ok(ns)
    };
    run()?;
    println!("{}", json!({ "version": "0.27.0", "load_ns": load_ns, "memory_bytes": peak_bytes().saturating_sub(before) }));
    for line in std::io::stdin().lock().lines() {
        let wanted: serde_json::Value = serde_json::from_str(&line?)?;
        for _ in 0..wanted["warmup"].as_u64().context("warmup")? {
            run()?;
        }
        let times = (0..wanted["runs"].as_u64().context("runs")?).map(|_| run()).collect::<anyhow::Result<Vec<u64>>>()?;
        println!("{}", json!({ "ns": times }));
    }
    Ok(())
}

/// A tensor; rten's integers have 32 bits.
fn read(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let file = npyz::NpyFile::new(&bytes[..])?;
    let shape: Vec<usize> = file.shape().iter().map(|&d| d as usize).collect();
    let npyz::DType::Plain(ty) = file.dtype() else { bail!("{}: no plain array", path.display()) };
    Ok(match (ty.type_char(), ty.size_field()) {
        (npyz::TypeChar::Float, 4) => Value::from_shape(shape, file.into_vec::<f32>()?)?,
        (npyz::TypeChar::Int, 8) => {
            let narrow = file.into_vec::<i64>()?.into_iter().map(i32::try_from).collect::<Result<Vec<i32>, _>>()?;
            Value::from_shape(shape, narrow)?
        }
        (npyz::TypeChar::Int, 4) => Value::from_shape(shape, file.into_vec::<i32>()?)?,
        other => bail!("{}: elements of {other:?}", path.display()),
    })
}

/// The most memory that the process has had resident, where the system tells.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
