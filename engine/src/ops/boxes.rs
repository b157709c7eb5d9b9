//! NonMaxSuppression.

use std::cmp::Ordering;
use std::sync::Mutex;

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Choosing among boxes.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "NonMaxSuppression", opsets: (10, NEWEST), read }];

#[derive(Debug)]
struct NonMaxSuppression {
    /// Boxes are centre x, centre y, width, height; else two corners, y before x.
    centred: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    match a.int_or("center_point_box", 0)? {
        v @ (0 | 1) => Ok(Box::new(NonMaxSuppression { centred: v == 1 })),
        v => Err(OpError::invalid(format!("center_point_box = {v}"))),
    }
}

/// A box by its corners, with its area.
#[derive(Clone, Copy, Debug)]
struct Area {
    low: [f32; 2],
    high: [f32; 2],
    area: f32,
}

impl Area {
    fn new(b: &[f32], centred: bool) -> Area {
        let (a, c) = if centred {
            let (w, h) = (b[2] / 2.0, b[3] / 2.0);
            ([b[0] - w, b[1] - h], [b[0] + w, b[1] + h])
        } else {
            ([b[0], b[1]], [b[2], b[3]])
        };
        let (low, high) = ([a[0].min(c[0]), a[1].min(c[1])], [a[0].max(c[0]), a[1].max(c[1])]);
        Area { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }

    /// True if the two overlap by more than `threshold` of their union; never for boxes that are not numbers.
    fn overlaps(&self, o: &Area, threshold: f32) -> bool {
        let side = |i: usize| (self.high[i].min(o.high[i]) - self.low[i].max(o.low[i])).max(0.0);
        let shared = side(0) * side(1);
        let union = self.area + o.area - shared;
        shared > 0.0 && union > 0.0 && shared / union > threshold
    }
}

/// The boxes that are kept, best first.
fn keep(boxes: &[Area], scores: &[f32], most: usize, overlap: f32, least: Option<f32>) -> Vec<usize> {
    let passes = |&i: &usize| !scores[i].is_nan() && least.is_none_or(|l| scores[i] > l);
    let mut order: Vec<usize> = (0..boxes.len()).filter(passes).collect();
    let best = |a: &usize, b: &usize| scores[*b].partial_cmp(&scores[*a]).unwrap_or(Ordering::Equal).then(a.cmp(b));
    order.sort_unstable_by(best);
    let (mut kept, mut areas): (Vec<usize>, Vec<Area>) = (Vec::new(), Vec::new());
    for i in order {
        if kept.len() >= most {
            break;
        }
        if !areas.iter().any(|a| a.overlaps(&boxes[i], overlap)) {
            kept.push(i);
            areas.push(boxes[i]);
        }
    }
    kept
}

impl Operator for NonMaxSuppression {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (boxes, scores) = (inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]));
        match (boxes, scores) {
            ([b, n, 4], [sb, _, sn]) if b == sb && n == sn => Ok(vec![Fact::dynamic(DType::I64)]),
            _ => Err(OpError::invalid(format!("boxes of {boxes:?} with scores of {scores:?}"))),
        }
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::I64])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (boxes, scores, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        let most = match cx.ints(2)? {
            Some(v) => usize::try_from(floats::one(&v, "max_output_boxes_per_class")?).unwrap_or(0),
            None => 0,
        };
        let overlap = floats::scalar(cx, 3)?.unwrap_or(0.0) as f32;
        if !(0.0..=1.0).contains(&overlap) {
            return Err(OpError::invalid(format!("an iou_threshold of {overlap}, it must be 0 to 1")));
        }
        let least = floats::scalar(cx, 4)?.map(|v| v as f32);
        let (&[pictures, n, _], &[_, classes, _]) = (boxes.shape, scores.shape) else {
            return Err(OpError::invalid("boxes and scores must have 3 dimensions"));
        };
        let areas: Vec<Area> = boxes.f32()?.chunks_exact(4).map(|b| Area::new(b, self.centred)).collect();
        let scores = scores.f32()?;
        // Each class of each picture is on its own.
        let found: Vec<Mutex<Vec<usize>>> = (0..pictures * classes).map(|_| Mutex::default()).collect();
        if most > 0 {
            pool.run(found.len(), &|i| {
                let of = &areas[i / classes * n..][..n];
                let kept = keep(of, &scores[i * n..][..n], most, overlap, least);
                *found[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = kept;
            });
        }
        let mut out: Vec<i64> = Vec::new();
        for (i, kept) in found.into_iter().enumerate() {
            for b in kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                out.extend([(i / classes) as i64, (i % classes) as i64, b as i64]);
            }
        }
        cx.set(0, Tensor::from_vec(&[out.len() / 3, 3], out))
    }

    fn kernel(&self) -> String {
        "non-max suppression".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_that_are_no_numbers_suppress_nothing() {
        let list = [[0.0, 0.0, 1.0, 1.0], [f32::NAN; 4], [0.0, 0.1, 1.0, 1.1], [5.0, 5.0, 4.0, 4.0]];
        let areas: Vec<Area> = list.iter().map(|b| Area::new(b, false)).collect();
        assert_eq!(keep(&areas, &[0.9, 0.8, 0.7, f32::NAN], 9, 0.5, None), [0, 1]);
        assert_eq!(keep(&areas, &[0.9, 0.8, 0.7, 0.95], 9, 0.5, Some(0.75)), [3, 0, 1]);
        assert_eq!(keep(&areas, &[0.5; 4], 2, 0.9, None), [0, 1]);
    }
}
