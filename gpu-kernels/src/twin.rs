//! Every kernel beside its twin: fresh random inputs, odd sizes, one device, and a comparison that is shown to fail.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Instant;

use crate::kernels::{ALL, Elem, Kernel};
use crate::shader::resolve;
use crate::{Binding, Command, Gpu, Tier, run_steps};

/// The tests' device. `None` only where the user said that there is none (`STRATOSCOPE_NO_GPU=1`).
pub(crate) fn shared_gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| {
        if std::env::var_os("STRATOSCOPE_NO_GPU").is_some_and(|v| v == "1") {
            return None;
        }
        Some(
            Gpu::open(None)
                .expect("these tests need an adapter (Debian: mesa-vulkan-drivers), or STRATOSCOPE_NO_GPU=1"),
        )
    })
    .as_ref()
}

/// The same device once for each tier that it has: the base, and all of it.
fn tiers() -> &'static [Gpu] {
    static TIERS: OnceLock<Vec<Gpu>> = OnceLock::new();
    TIERS.get_or_init(|| {
        let Some(gpu) = shared_gpu() else { return Vec::new() };
        let mut all = vec![gpu.at_tier(Tier::BASE), gpu.clone()];
        all.dedup_by_key(|gpu| gpu.tier());
        all
    })
}

/// The forms of a kernel that differ: it runs once for each, at the least tier that has it.
fn forms(kernel: &Kernel) -> Vec<&'static Gpu> {
    let mut seen = BTreeSet::new();
    let able = tiers().iter().filter(|gpu| gpu.tier().covers(kernel.needs));
    able.filter(|gpu| seen.insert(resolve(kernel.name, kernel.source, gpu.tier()).unwrap())).collect()
}

/// xorshift64*.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform between the bounds.
    pub(crate) fn float(&mut self, low: f64, high: f64) -> f32 {
        (low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64) as f32
    }

    /// Uniform from `low` to `high`, both included.
    pub(crate) fn int(&mut self, low: i32, high: i32) -> i32 {
        (i64::from(low) + (self.next() >> 33) as i64 % (i64::from(high) - i64::from(low) + 1)) as i32
    }
}

/// Another one each time; tests print it when they fail.
pub(crate) fn fresh_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

struct Case {
    label: String,
    command: Command,
    output: Binding,
    elem: Elem,
    want: Vec<f64>,
    tolerance: f64,
}

/// What a kernel's cases are written with.
pub(crate) struct Bench {
    pub(crate) gpu: &'static Gpu,
    pub(crate) rng: Rng,
    pub(crate) seed: u64,
    cases: Vec<Case>,
}

impl Bench {
    pub(crate) fn new(gpu: &'static Gpu, seed: u64) -> Self {
        Bench { gpu, rng: Rng::new(seed), seed, cases: Vec::new() }
    }

    /// Floats between the bounds, as the oracle and as the device have them.
    pub(crate) fn floats_in(&mut self, n: usize, low: f64, high: f64) -> (Vec<f64>, Binding) {
        let v: Vec<f32> = (0..n).map(|_| self.rng.float(low, high)).collect();
        let binding = self.words(bytemuck::cast_slice(&v));
        (v.into_iter().map(f64::from).collect(), binding)
    }

    /// Floats between -2 and 2.
    pub(crate) fn floats(&mut self, n: usize) -> (Vec<f64>, Binding) {
        self.floats_in(n, -2.0, 2.0)
    }

    /// Integers between the bounds, both included.
    pub(crate) fn ints(&mut self, n: usize, low: i32, high: i32) -> (Vec<i32>, Binding) {
        let v: Vec<i32> = (0..n).map(|_| self.rng.int(low, high)).collect();
        let binding = self.words(bytemuck::cast_slice(&v));
        (v, binding)
    }

    /// A buffer with these words.
    pub(crate) fn words(&mut self, words: &[u32]) -> Binding {
        let buffer = self.gpu.buffer("test operand", words.len() as u64 * 4).unwrap();
        self.gpu.upload(&buffer, 0, bytemuck::cast_slice(words)).unwrap();
        buffer.whole()
    }

    /// A buffer of NaNs: whatever a kernel leaves unwritten is seen.
    pub(crate) fn out(&mut self, n: usize) -> Binding {
        self.words(&vec![0x7fc0_1234; n])
    }

    /// Runs the command later, and compares its output with what the oracle says, at a relative error.
    pub(crate) fn check(
        &mut self,
        label: impl Into<String>,
        command: Command,
        output: &Binding,
        elem: Elem,
        want: Vec<f64>,
        tolerance: f64,
    ) {
        self.cases.push(Case { label: label.into(), command, output: output.clone(), elem, want, tolerance });
    }
}

/// The first difference that is more than the tolerance: relative to the element and the root mean square of them all.
pub(crate) fn difference(got: &[f64], want: &[f64], tolerance: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} elements, {} wanted", got.len(), want.len()));
    }
    let finite = || want.iter().filter(|w| w.is_finite());
    let rms = (finite().map(|w| w * w).sum::<f64>() / finite().count().max(1) as f64).sqrt();
    got.iter().zip(want).enumerate().find_map(|(i, (&g, &w))| {
        let same = g == w || (g.is_nan() && w.is_nan());
        let near = w.is_finite() && (g - w).abs() <= tolerance * (w.abs() + rms);
        (!same && !near)
            .then(|| format!("element {i} of {}: {g}, wanted {w} (tolerance {tolerance}, rms {rms})", got.len()))
    })
}

fn decode(bytes: &[u8], elem: Elem) -> Vec<f64> {
    match elem {
        Elem::F32 => bytes.chunks_exact(4).map(|c| f64::from(bytemuck::pod_read_unaligned::<f32>(c))).collect(),
        _ => bytes.chunks_exact(4).map(|c| f64::from(bytemuck::pod_read_unaligned::<i32>(c))).collect(),
    }
}

/// A result with one element made wrong by a little more than the tolerance.
fn perturbed(got: &[f64], want: &[f64], at: usize, tolerance: f64) -> Vec<f64> {
    let finite = want.iter().filter(|w| w.is_finite());
    let rms = (finite.clone().map(|w| w * w).sum::<f64>() / finite.count().max(1) as f64).sqrt();
    let mut wrong = got.to_vec();
    let slack = (2.0 * tolerance + 1e-9) * (want[at].abs() + rms) + 1e-9;
    wrong[at] = if want[at].is_finite() { want[at] + slack } else { 0.0 };
    wrong
}

#[test]
fn every_kernel_agrees_with_its_twin() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let only = std::env::var("KERNEL").ok();
    let mut failures = Vec::new();
    let wanted = ALL.iter().filter(|k| only.as_ref().is_none_or(|o| o.split(',').any(|o| o == k.name)));
    for (kernel, gpu) in wanted.flat_map(|k| forms(k).into_iter().map(move |gpu| (k, gpu))) {
        let started = Instant::now();
        let mut bench = Bench::new(gpu, seed);
        if let Err(e) = (kernel.cases)(&mut bench) {
            failures.push(format!("{}: {e}", kernel.name));
            continue;
        }
        assert!(!bench.cases.is_empty(), "{} has no cases", kernel.name);
        let commands: Vec<Vec<Command>> = bench.cases.iter().map(|c| vec![c.command.clone()]).collect();
        let steps: Vec<&[Command]> = commands.iter().map(Vec::as_slice).collect();
        let outputs: Vec<Binding> = bench.cases.iter().map(|c| c.output.clone()).collect();
        let ran = run_steps(gpu, &steps, false, Instant::now()).and_then(|_| gpu.download(&outputs));
        let bytes = match ran {
            Ok(bytes) => bytes,
            Err(e) => {
                failures.push(format!("{}: {e}", kernel.name));
                continue;
            }
        };
        for (case, bytes) in bench.cases.iter().zip(bytes) {
            let got = decode(&bytes, case.elem);
            if let Some(why) = difference(&got, &case.want, case.tolerance) {
                failures.push(format!("{} ({}) {}: {why}", kernel.name, gpu.tier(), case.label));
                continue;
            }
            let at = bench.rng.int(0, case.want.len() as i32 - 1) as usize;
            let wrong = perturbed(&got, &case.want, at, case.tolerance);
            assert!(difference(&wrong, &case.want, case.tolerance).is_some(), "{}: a wrong result passes", case.label);
        }
        println!("{} ({}): {} cases, {:?}", kernel.name, gpu.tier(), bench.cases.len(), started.elapsed());
    }
    assert!(failures.is_empty(), "seed {seed}\n{}", failures.join("\n"));
}

#[test]
fn nan_and_unwritten_elements_never_pass() {
    assert!(difference(&[f64::NAN], &[1.0], 1.0).is_some());
    assert!(difference(&[1.0], &[f64::NAN], 1.0).is_some());
    assert!(difference(&[f64::INFINITY], &[1e30], 1.0).is_some());
    assert!(difference(&[1.0], &[f64::INFINITY], 1.0).is_some());
    assert!(difference(&[1.0, 2.0], &[1.0], 1.0).is_some());
    assert!(difference(&[f64::NAN, 1.0], &[f64::NAN, 1.0], 0.0).is_none());
}
