//! Another engine on one model, in a process that stays: JSON lines both ways.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::ours::WARMUP;
use super::ratio::Spread;

/// A worker's process, its model loaded.
pub struct Peer {
    /// The engine's name.
    pub name: &'static str,
    /// What it said when it was ready: `version`, `load_ns`, `memory_bytes`, and `inputs` where it makes them.
    pub hello: Value,
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a worker and waits until its model is loaded.
    pub fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Peer> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", crate::shell::words(command)))?;
        let answers = BufReader::new(process.stdout.take().context("the worker's output")?);
        let mut peer = Peer { name, hello: Value::Null, process, answers };
        peer.hello = peer.answer()?;
        Ok(peer)
    }

    /// A figure of the worker's greeting.
    pub fn figure(&self, field: &str) -> Option<f64> {
        self.hello[field].as_f64()
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("{}: the process ended", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{}: \"{}\"", self.name, line.trim()))
    }

    /// The median of one turn, in nanoseconds.
    pub fn turn(&mut self, runs: u32) -> anyhow::Result<f64> {
        let stdin = self.process.stdin.as_mut().context("the worker's input")?;
        writeln!(stdin, "{}", json!({ "warmup": WARMUP, "runs": runs }))?;
        stdin.flush()?;
        let times: Vec<f64> = serde_json::from_value(self.answer()?["ns"].clone())?;
        Ok(Spread::of(&times).with_context(|| format!("{} gave no times", self.name))?.median)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its input's end is the end of its work.
        drop(self.process.stdin.take());
        self.process.wait().ok();
    }
}
