//! Which tiles this adapter multiplies matrices fastest with: every line of the table, timed for every class of products.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::kernels::matmul::{MatMul, Weights, matmul};
use crate::kernels::tiles::{Class, TABLE, Tile, Tiles};
use crate::{Command, Gpu, GpuError, Quality, run_steps};

/// Timed runs of each tile, after one that compiles.
const REPEATS: usize = 5;

/// What one tile took for one class's product.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Which products it stands for.
    pub class: Class,
    /// Rows, what is summed over, and columns of the product that was timed.
    pub mkn: [u32; 3],
    /// The tile.
    pub tile: &'static Tile,
    /// The shortest run.
    pub ns: u64,
}

/// A product that stands for its class; a software adapter gets a small one.
fn example(class: Class, is_software: bool) -> [u32; 3] {
    match (class, is_software) {
        (Class::Thin, false) => [16, 768, 3072],
        (Class::Small, false) => [128, 768, 768],
        (Class::Medium, false) => [1024, 768, 1536],
        (Class::Large, false) => [2048, 2048, 2048],
        (Class::Thin, true) => [16, 64, 256],
        (Class::Small, true) => [128, 64, 128],
        (Class::Medium, true) => [640, 16, 640],
        (Class::Large, true) => [2048, 4, 2048],
    }
}

/// Times every tile for every class, and gives the fastest of each. `None` if it was stopped.
pub fn tune(gpu: &Gpu, stop: &AtomicBool) -> Result<Option<(Tiles, Vec<Timing>)>, GpuError> {
    let mut best = Tiles::default();
    let mut all = Vec::with_capacity(Class::ALL.len() * TABLE.len());
    for class in Class::ALL {
        let mkn @ [m, k, n] = example(class, gpu.info().is_software);
        let buffer = |rows: u32, cols: u32| gpu.buffer("tuning", u64::from(rows) * u64::from(cols) * 4);
        let [a, b, y] = [buffer(m, k)?.whole(), buffer(k, n)?.whole(), buffer(m, n)?.whole()];
        let steps: Vec<Command> = (0..TABLE.len())
            .map(|line| {
                let gpu = gpu.with_tiles(Tiles::default().with(class, line));
                matmul(&gpu, &MatMul::new(&a, Weights::F32(&b), &y, mkn))
            })
            .collect::<Result<_, _>>()?;
        // The tiles take turns, so that what else the machine does meets them all.
        let mut least = vec![u64::MAX; TABLE.len()];
        for turn in 0..=REPEATS {
            for (step, least) in steps.iter().zip(&mut least) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let run = run_steps(gpu, &[std::slice::from_ref(step)], true, Instant::now())?;
                let mut good = run.steps.iter().filter(|s| s.quality != Quality::Rejected && s.end_ns > s.start_ns);
                if let Some(s) = good.next_back().filter(|_| turn > 0) {
                    *least = (*least).min(s.end_ns - s.start_ns);
                }
            }
        }
        let fastest = (0..TABLE.len()).min_by_key(|&line| least[line]).filter(|&line| least[line] < u64::MAX);
        let Some(fastest) = fastest else {
            let why = "every timestamp was rejected".to_owned();
            return Err(GpuError::Validation { label: "tuning".to_owned(), why });
        };
        best = best.with(class, fastest);
        all.extend(TABLE.iter().zip(&least).map(|(tile, &ns)| Timing { class, mkn, tile, ns }));
    }
    Ok(Some((best, all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::shared_gpu;

    #[test]
    fn examples_are_of_their_class() {
        for class in Class::ALL {
            for is_software in [false, true] {
                let [m, _, n] = example(class, is_software);
                assert_eq!(Class::of(m, n, 1), class);
            }
        }
    }

    #[test]
    fn tuning_picks_the_fastest_of_each_class() {
        let Some(gpu) = shared_gpu() else { return };
        assert_eq!(tune(gpu, &AtomicBool::new(true)).unwrap(), None);
        let (tiles, timings) = tune(gpu, &AtomicBool::new(false)).unwrap().unwrap();
        assert_eq!(timings.len(), Class::ALL.len() * TABLE.len());
        for class in Class::ALL {
            let of_class = timings.iter().filter(|t| t.class == class);
            let fastest = of_class.min_by_key(|t| t.ns).unwrap();
            assert_eq!(tiles.of(class), fastest.tile);
        }
    }
}
